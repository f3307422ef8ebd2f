"""Log events of jobs. Ordinary ends are logged at DEBUG only: thousands of lines a second would cost the most."""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import structlog
from django.db import transaction

from jobs_app.db.faults import fault_line
from jobs_app.models.attempts import ClaimedJob, JobStatus, Result
from jobs_app.models.tally import OTHER
from jobs_app.registry import definition
from jobs_app.telemetry.audit import audit
from jobs_app.telemetry.listener import pass_on_attempts
from jobs_app.tracing import traceparent

log = structlog.stdlib.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)

_LEVELS = {JobStatus.RETRY: logging.INFO, JobStatus.FAILURE: logging.INFO}
_known_actions: set[str] = set()


def know_actions(actions: Iterable[str]) -> None:
    """Of these the log says the name. Rows may bring any other, which may hold anything."""
    _known_actions.update(actions)


def log_ended_attempts(results: Sequence[Result], *, lease_expired: bool = False) -> None:
    """`lease_expired`: whoever ran them fell silent."""
    pass_on_attempts(results)
    event = "job_lease_lost" if lease_expired else "job_ended"
    lowest = _stdlib_log.getEffectiveLevel()
    for result in results:
        level = _LEVELS.get(result.status, logging.DEBUG)
        if level >= lowest:
            outcome = "waiting" if result.wait else result.status.value
            log.log(level, event, **_job_fields(result.job), outcome=outcome, **_took(result))


def log_too_late(results: Iterable[Result]) -> None:
    """Their lease was lost meanwhile: the result changes nothing."""
    for result in results:
        log.warning("job_result_too_late", **_job_fields(result.job), outcome=result.status.value, **_took(result))


def log_locked(results: Iterable[Result]) -> None:
    """They are recorded as soon as the other session lets go of their rows."""
    for result in results:
        log.warning("job_result_locked", **_job_fields(result.job), outcome=result.status.value)


def log_answer_kept(token: str, step: int, job: str, attempt: int, *, outcome: str, caller_trace: str) -> None:
    """By its URL. Who answers by an INSERT is heard of when the answer is taken."""
    log.info(
        "answer_kept",
        token=token,
        step=step,
        job=job if definition(job) else OTHER,
        attempt=attempt,
        outcome=outcome,
        traceparent=traceparent(token, step, job, attempt, caller_trace),
    )


def log_paused(verb: str, name: str, by: str) -> None:
    """Once it is committed. Not the reason: people write names into it."""
    transaction.on_commit(partial(audit, log.info, verb, job=name, by=by))


def log_not_storable(result: Result, error: BaseException) -> None:
    log.error("job_end_not_storable", **_job_fields(result.job), fault=fault_line(error))


def _job_fields(job: ClaimedJob) -> dict[str, Any]:
    return {
        "token": job.token,
        "action": job.action if job.action in _known_actions else OTHER,
        "step": job.step,
        "job": job.name if definition(job.name) else OTHER,
        "attempt": job.attempt,
        "traceparent": traceparent(job.token, job.step, job.name, job.attempt, job.caller_trace),
    }


def _took(result: Result) -> dict[str, float]:
    return {} if result.ran_microseconds is None else {"seconds": round(result.ran_microseconds / 1_000_000, 3)}
