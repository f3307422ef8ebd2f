"""Pausing job names: what `pause_job` and `resume_job` do, and what every pass does for paused and resumed names.

The due jobs of a paused name are parked, and brought back when it is resumed: jobs_app/models/pause.py.
"""

from collections.abc import Callable
from functools import partial

from django.db import transaction

from jobs_app.db.transactions import RECONNECT_SECONDS, run_transaction
from jobs_app.models import Job, JobIntervention
from jobs_app.models.attempts import Poll
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.pause import PausedJob
from jobs_app.registry import definition, names
from jobs_app.telemetry.events import log_paused


class UnknownJob(Exception):
    """No job has this name. Its text is a sentence for the operator."""


def pause_job(name: str, *, by: str, reason: str) -> bool:
    """Its jobs wait from now on, without using up attempts; what runs may end. False: it is paused already.

    A name without a callback in this release may be paused while it has open rows. Raises UnknownJob, DatabaseAway.
    """
    _demand_known(name)
    trace = JobIntervention(job=name, verb="pause_job", by=by, reason=reason)
    won = _intervene(trace, partial(PausedJob.objects.pause, name, by=by, reason=reason))
    while run_transaction(partial(Job.objects.park, [name]), seconds=RECONNECT_SECONDS):
        pass
    return won


def resume_job(name: str, *, by: str, reason: str) -> bool:
    """Its jobs may run again, the oldest first. False: it is not paused. Raises UnknownJob, DatabaseAway."""
    _demand_known(name)
    trace = JobIntervention(job=name, verb="resume_job", by=by, reason=reason)
    won = _intervene(trace, partial(PausedJob.objects.resume, name))
    while run_transaction(partial(Job.objects.bring_back, [name]), seconds=RECONNECT_SECONDS):
        pass
    return won


def apply_pauses(poll: Poll, run: RunRecord) -> None:
    """Parks due jobs of paused names, brings those of resumed names back, empties stray lanes: one batch of each."""
    if poll.paused and poll.has_due:
        run.transact(partial(Job.objects.park, poll.paused))
    if poll.resumed:
        run.transact(partial(Job.objects.bring_back, poll.resumed))
    if poll.has_strays:
        run.transact(Job.objects.empty_lanes)


def _intervene(trace: JobIntervention, move: Callable[[], bool]) -> bool:
    """The move and its row in `job_interventions`, or neither. False: there was nothing to do, nor was it done here."""

    def work() -> bool:
        with transaction.atomic():
            if move():
                trace.place()
            elif not trace.is_placed():
                return False
            log_paused(trace.verb, trace.job, trace.by)
        return True

    return run_transaction(work, seconds=RECONNECT_SECONDS)


def _demand_known(name: str) -> None:
    # The servers compare without the spaces at the end, and would take "noop " for another release's name.
    if definition(name) is None and (name != name.strip() or not run_transaction(partial(_has_rows, name))):
        raise UnknownJob(f'no job is registered as "{name}" and none of that name waits; known: {", ".join(names())}')


def _has_rows(name: str) -> bool:
    paused = PausedJob.objects.filter(name=name).exists()
    return paused or Job.objects.open().filter(name=name).exists()
