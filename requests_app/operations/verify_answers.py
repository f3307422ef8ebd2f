"""What is wrong with a job that waits or has waited, and with an answer, for verify.py. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from jobs_app.db.dialect import from_driver
from jobs_app.models.answer import AnswerOutcome, Effect
from jobs_app.models.attempts import ENDED, JobStatus
from requests_app.formatting import clock_utc
from requests_app.models.status import FINAL
from requests_app.monitoring.pass_health import is_late
from requests_app.operations.snapshot import VerifiedAnswer, VerifiedJob, VerifiedRequest


def faults_of_wait(job: VerifiedJob) -> Iterator[str]:
    """An attempt that waits or has waited for an answer keeps what its callback said, however it ends."""
    if job.has_waits_for != (job.answer_by is not None):
        one, other = ("waits_for", "answer_by") if job.has_waits_for else ("answer_by", "waits_for")
        yield f"its {one} is set and its {other} is not set"
    if job.answer_by is not None and job.checks < 1:
        yield f"its answer_by is set and its checks are {job.checks}"


def fault_of_answer(
    answer: VerifiedAnswer, request: VerifiedRequest, attempts: Sequence[VerifiedJob], now: datetime
) -> str | None:
    """`attempts`: of its job, in any order."""
    if answer.effect == Effect.TAKEN:
        ended = any(job.status in ENDED for job in attempts)
        return None if ended else f"its answer {answer.id} is taken and no attempt has ended"
    since, why = _to_be_taken_since(answer, request, attempts)
    if since is None or not is_late("run_inprogress_requests", from_driver(since), now):
        return None
    return f"its answer {answer.id} is not taken since {clock_utc(from_driver(since))} and {why}"


def _to_be_taken_since(
    answer: VerifiedAnswer, request: VerifiedRequest, attempts: Sequence[VerifiedJob]
) -> tuple[Any, str]:
    """The moment from which a pass would have taken it or marked it late; None for one that rightly waits."""
    if request.status in FINAL:
        return max(filter(None, (answer.created_at, request.completed_at))), f"its request is {request.status}"
    latest = max(attempts, key=lambda job: job.attempt, default=None)
    if latest is None or latest.status != JobStatus.NEW or latest.answer_by is None or _is_early(answer, latest):
        return None, ""
    # What came early may be taken since the callback was called and waited.
    return max(filter(None, (answer.created_at, latest.started_at))), "its job waits"


def _is_early(answer: VerifiedAnswer, latest: VerifiedJob) -> bool:
    """Meant for an attempt that is still to come."""
    of_one = answer.outcome != AnswerOutcome.COMPLETED and answer.attempt is not None
    return of_one and (answer.attempt or 0) > latest.attempt
