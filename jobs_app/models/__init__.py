"""The tables of the jobs' side, by which Django finds them. Each file has one table, or one part of the jobs' moves."""

from jobs_app.models.answer import Answer as Answer
from jobs_app.models.audit_event import AuditEvent as AuditEvent
from jobs_app.models.job import Job as Job
from jobs_app.models.limit import Limit as Limit
from jobs_app.models.pass_run import PassRun as PassRun
from jobs_app.models.pause import JobIntervention as JobIntervention
from jobs_app.models.pause import PausedJob as PausedJob
from jobs_app.models.tally import Tally as Tally
