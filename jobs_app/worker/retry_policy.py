"""Decides from an attempt's outcome how it is recorded: whether another follows, when, and how many may follow."""

import random
from typing import assert_never

from django.conf import settings

from jobs_app.models.attempts import ClaimedJob, JobStatus, Result
from jobs_app.outcomes import (
    Completed,
    Failed,
    NotStarted,
    Outcome,
    Retried,
    Stopped,
    Waiting,
    storable_error,
)
from jobs_app.registry import definition

# A successor must be due after the moment it is inserted, or the pass that inserts it could claim it; SQLite's clock
# has milliseconds.
_LEAST_DELAY_SECONDS = 0.002


def result_of(job: ClaimedJob, outcome: Outcome, ran: int | None = None) -> Result:
    """The result to record. A `Retried` last attempt becomes a failure; a `Stopped` one does not use up an attempt.

    `ran`: microseconds that the callback took, if it began.
    """
    match outcome:
        case Completed(extras):
            return Result(job, JobStatus.COMPLETED, extras=extras, ran_microseconds=ran)
        case Failed(error, answer):
            return Result(job, JobStatus.FAILURE, storable_error(error), ran_microseconds=ran, answer=_kept(answer))
        case NotStarted(after_seconds):
            return Result(job, JobStatus.NEW, delay_seconds=after_seconds)
        case Stopped(error):
            return _again(job, error, "", 0.0, job.last_attempt + 1, ran)
        case Waiting(waits_for, within, check):
            return Result(job, JobStatus.NEW, storable_error(waits_for), ran_microseconds=ran, wait=(within, check))
        case Retried():
            result = _retried(job, outcome, ran)
            return result._replace(is_unanswered=outcome.is_unanswered, is_unavailable=outcome.is_unavailable)
        case _:
            assert_never(outcome)


def backoff_seconds(name: str, attempt: int, after: float | None = None, at_least: float | None = None) -> float:
    """Seconds from `attempt` to the next one: `after`, or full jitter over a doubling range, but `at_least` so many.

    Never more than the cap. A service that asks for no wait at all (`Retry-After: 0`) gets our backoff all the same:
    else all attempts would be used up in a moment.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    cap: float = settings.WRK_JOB_BACKOFF_CAP_SECONDS
    if after is not None:
        return max(0.0, min(cap, after))
    known = definition(name)
    own = known.backoff_seconds if known else None
    base = settings.WRK_JOB_BACKOFF_BASE_SECONDS if own is None else own
    drawn = random.uniform(0, min(cap, base * 2 ** min(attempt - 1, 64)))  # noqa: S311 - jitter is no secret
    return max(drawn, min(cap, at_least or 0.0))


def _kept(answer: str) -> str | None:
    return storable_error(answer) if answer.strip() else None


def _retried(job: ClaimedJob, outcome: Retried, ran: int | None) -> Result:
    if job.attempt < job.last_attempt:
        delay = backoff_seconds(job.name, job.attempt, outcome.after, outcome.at_least)
        return _again(job, outcome.error, outcome.answer, delay, job.last_attempt, ran)
    attempts = "1 attempt" if job.attempt == 1 else f"{job.attempt} attempts"
    said = storable_error(f"gave up after {attempts}: {outcome.error}")
    return Result(job, JobStatus.FAILURE, said, ran_microseconds=ran, answer=_kept(outcome.answer), gave_up=True)


def _again(
    job: ClaimedJob, error: str, answer: str, delay_seconds: float, last_attempt: int, ran: int | None
) -> Result:
    return Result(
        job,
        JobStatus.RETRY,
        storable_error(error),
        delay_seconds=max(_LEAST_DELAY_SECONDS, delay_seconds),
        last_attempt=last_attempt,
        ran_microseconds=ran,
        answer=_kept(answer),
    )
