"""Inserts the jobs of a step: what both passes do."""

from collections.abc import Callable, Mapping
from functools import partial

import structlog
from django.db import IntegrityError

from jobs_app.db.faults import fault_line
from jobs_app.models import Job
from jobs_app.models.attempts import ClaimOnInsert, NewJob
from jobs_app.models.inserts import insert_jobs
from jobs_app.models.pass_run import RunRecord
from jobs_app.registry import max_attempts
from requests_app.recipes.steps import if_fails_of

log = structlog.stdlib.get_logger(__name__)


def insert_step(
    steps: dict[int, tuple[int, tuple[str, ...]]], claim: ClaimOnInsert | None, *, may_exist: bool = False
) -> None:
    """`new` jobs: request id -> (step, job names). A name that this release lacks waits for one that has it."""
    there = Job.objects.existing(list(steps)) if may_exist else set()
    budgets = {name: max_attempts(name) for name in {name for _, job_names in steps.values() for name in job_names}}
    jobs = [
        NewJob(request_id, step, name, budgets[name], if_fails=if_fails_of(name))
        for request_id, (step, job_names) in steps.items()
        for name in job_names
        if (request_id, step, name) not in there
    ]
    insert_jobs(jobs, claim)


def again_if_rows_exist(run: RunRecord, work: Callable[..., Mapping[str, int]]) -> Mapping[str, int]:
    """A duplicate key says that somebody inserted a step's rows already: look which, and insert the others."""
    try:
        return run.transact(work)
    except IntegrityError as error:
        log.warning("step_is_there_already", fault=fault_line(error))
        return run.transact(partial(work, may_exist=True))
