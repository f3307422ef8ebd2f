"""What is wrong with a job that waits or has waited, and with an answer, for verify.py. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from jobs_app.db.dialect import from_driver
from jobs_app.models.answer import AnswerOutcome, Effect
from jobs_app.models.attempts import ENDED, JobStatus
from requests_app.formatting import clock_utc
from requests_app.models.status import FINAL, RequestStatus
from requests_app.monitoring.pass_health import is_late
from requests_app.operations.snapshot import VerifiedAnswer, VerifiedJob, VerifiedRequest
from requests_app.recipes.steps import StepsError, read_steps


def faults_of_wait(job: VerifiedJob) -> Iterator[str]:
    """An attempt that waits or has waited for an answer keeps what its callback said, however it ends."""
    if job.has_waits_for != (job.answer_by is not None):
        one, other = ("waits_for", "answer_by") if job.has_waits_for else ("answer_by", "waits_for")
        yield f"its {one} is set and its {other} is not set"
    if job.answer_by is not None and job.checks < 1:
        yield f"its answer_by is set and its checks are {job.checks}"


def faults_of_answers(
    request: VerifiedRequest, jobs: Sequence[VerifiedJob], answers: Sequence[VerifiedAnswer], now: datetime
) -> Iterator[tuple[VerifiedAnswer, str]]:
    """Of all answers to a request but the late ones. Each that is taken has ended an attempt that waited."""
    ended = Counter((job.step, job.name) for job in jobs if job.answer_by is not None and job.status in ENDED)
    for answer in answers:
        place = answer.step, answer.job
        if answer.effect == Effect.TAKEN:
            if not ended[place]:
                yield answer, f"its answer {answer.id} is taken and no attempt that waited has ended by it"
            ended[place] -= 1
        elif what := fault_of_untaken(answer, *_to_be_taken_since(answer, request, jobs), now):
            yield answer, what


def fault_of_untaken(answer: VerifiedAnswer, since: Any, why: str, now: datetime) -> str | None:
    """`since`: the moment from which a pass would have taken it or marked it late; None: it rightly waits."""
    if since is None or not is_late("run_inprogress_requests", from_driver(since), now):
        return None
    return f"its answer {answer.id} is not taken since {clock_utc(from_driver(since))} and {why}"


def _to_be_taken_since(
    answer: VerifiedAnswer, request: VerifiedRequest, jobs: Sequence[VerifiedJob]
) -> tuple[Any, str]:
    if request.status in FINAL:
        return _last(answer.created_at, request.completed_at), f"its request is {request.status}"
    if request.status == RequestStatus.QUEUING:
        return None, ""
    if answer.step < request.step:
        ended = [job.completed_at for job in jobs if job.step == answer.step]
        return _last(answer.created_at, *ended), "its step is over"
    if not _is_named(answer, request):
        return _last(answer.created_at, request.started_at), "its request has no such job"
    attempts = [job for job in jobs if (job.step, job.name) == (answer.step, answer.job)]
    latest = max(attempts, key=lambda job: job.attempt, default=None)
    return _of_latest(answer, latest) if latest else (None, "")


def _of_latest(answer: VerifiedAnswer, latest: VerifiedJob) -> tuple[Any, str]:
    if latest.status in ENDED:
        return _last(answer.created_at, latest.completed_at), "its job has ended"
    if answer.outcome != AnswerOutcome.COMPLETED and answer.attempt is not None and answer.attempt != latest.attempt:
        is_over = answer.attempt < latest.attempt
        return (_last(answer.created_at, latest.created_at) if is_over else None), "its attempt has ended"
    if latest.status != JobStatus.NEW or latest.answer_by is None:
        return None, ""
    # What came early may be taken since the callback was called and waited.
    return _last(answer.created_at, latest.started_at), "its job waits"


def _is_named(answer: VerifiedAnswer, request: VerifiedRequest) -> bool:
    """Whether its request has such a job, as far as its steps can be read."""
    try:
        steps = read_steps(request.steps or "null")
    except StepsError:
        return True
    return answer.step < len(steps) and answer.job in steps[answer.step].jobs


def _last(*moments: Any) -> Any:
    return max(moment for moment in moments if moment is not None)
