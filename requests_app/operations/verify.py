"""Says what is wrong in the tables; changes nothing. `manage.py verify` prints it.

Every rule is about one request with its jobs, every move is one transaction, and a window of both tables is read as it
stood at one moment (snapshot.py). So no state of a healthy system at work is ever a finding.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS

from jobs_app.db.dialect import from_driver
from jobs_app.db.transactions import RECONNECT_SECONDS, run_transaction
from jobs_app.models.attempts import ENDED, OPEN, IfFails, JobStatus
from requests_app.models import RequestStatus
from requests_app.models.receipt_moves import ReceiptState
from requests_app.models.status import FINAL
from requests_app.operations.snapshot import (
    VerifiedAnswer,
    VerifiedJob,
    VerifiedRequest,
    read_answers_to_nobody,
    read_window,
)
from requests_app.operations.verify_answers import fault_of_untaken, faults_of_answers, faults_of_wait
from requests_app.operations.verify_limits import faults_of_limit, read_rows
from requests_app.recipes.steps import Step, StepsError, if_fails_of, read_steps

Row = TypeVar("Row", VerifiedJob, VerifiedAnswer)

_NO_SUCCESSOR = (JobStatus.RETRY, JobStatus.CANCELLED)


class Backwards(str):
    """What is wrong with the order of two times: it can be the clock, and then nothing else is wrong."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where: always the request, and the step, the job and the attempt as far as it is about one.

    Or, of a limit, the limit alone.
    """

    token: str
    what: str
    step: int | None = None
    job: str = ""
    attempt: int | None = None
    limit: str = ""

    def __str__(self) -> str:
        named = {"request": self.token, "step": self.step, "job": self.job or None, "attempt": self.attempt}
        if self.limit:
            named = {"limit": self.limit}
        return (
            f"{' '.join(f'{word} {_shown(value)}' for word, value in named.items() if value is not None)}: {self.what}"
        )


@dataclass(slots=True)
class ReadCount:
    """How many rows were read so far."""

    requests: int = 0
    jobs: int = 0


def findings(
    count: ReadCount, on_window: Callable[[], None] = lambda: None, using: str = DEFAULT_DB_ALIAS
) -> Iterator[Finding]:
    """All that is wrong: of limits, then by request id ascending, then of answers that have no request.

    `on_window` is called after each window read.
    """
    limits = run_transaction(partial(read_rows, using), seconds=RECONNECT_SECONDS)
    yield from (Finding("", what, limit=limit.name) for limit in limits for what in faults_of_limit(limit))
    after: int | None = -1
    while after is not None:
        window = run_transaction(partial(read_window, after, using), seconds=RECONNECT_SECONDS)
        after = window.last
        count.requests, count.jobs = count.requests + len(window.requests), count.jobs + len(window.jobs)
        known = {request.id: request for request in window.requests}
        jobs, answers = _by_request(window.jobs), _by_request(window.answers)
        for id_ in sorted(known.keys() | jobs.keys()):
            rows = jobs.get(id_, [])
            if id_ in known:
                yield from findings_of(known[id_], rows)
                yield from _of_answers(known[id_], rows, answers.get(id_, []), from_driver(window.now))
            else:
                yield from _orphans(rows)
        on_window()
    yield from _of_answers_to_nobody(using)


def _by_request(rows: Iterable[Row]) -> dict[int, list[Row]]:
    ordered = sorted(rows, key=attrgetter("request_id"))
    return {id_: list(of_request) for id_, of_request in groupby(ordered, key=attrgetter("request_id"))}


def _orphans(jobs: Iterable[VerifiedJob]) -> Iterator[Finding]:
    for job in jobs:
        yield Finding(f"(none with id {job.request_id})", "its request is gone", job.step, job.name, job.attempt)


# The rules -----------------------------------------------------------------------------------------------------------
def findings_of(request: VerifiedRequest, jobs: Sequence[VerifiedJob]) -> Iterator[Finding]:
    """What is wrong with one request and its jobs, as they stood at one moment.

    All that its times say is one finding: a clock that was set back once leaves many, in a healthy request.
    """
    backwards = []
    for finding in _findings_of(request, jobs):
        if isinstance(finding.what, Backwards):
            backwards.append(finding)
        else:
            yield finding
    if backwards:
        first, more = backwards[0], len(backwards) - 1
        many = f" (and {more} more of its times are in such an order)" if more else ""
        what = f"{first.what}{many}: the database's clock was set back meanwhile, or somebody wrote these times"
        yield replace(first, what=what)


def _findings_of(request: VerifiedRequest, jobs: Sequence[VerifiedJob]) -> Iterator[Finding]:
    for what in _of_request(request):
        yield Finding(request.token, what)
    by_job: dict[tuple[int, str], list[VerifiedJob]] = {}
    for job in sorted(jobs, key=lambda job: (job.step, job.name, job.attempt)):
        by_job.setdefault((job.step, job.name), []).append(job)
        for what in (*_of_job(job), *_of_job_in_request(job, request)):
            yield Finding(request.token, what, job.step, job.name, job.attempt)
    for attempts in by_job.values():
        yield from _of_attempts(request, attempts)
    if request.started_at is not None and request.status != RequestStatus.QUEUING:
        yield from _of_steps(request, by_job)


def _of_request(request: VerifiedRequest) -> Iterator[str]:
    if request.status not in RequestStatus.values:
        yield f"its status {request.status} is unknown"
    if (request.completed_at is not None) != (request.status in FINAL):
        yield f"it is {request.status} and its completed_at is {'not ' if request.completed_at is None else ''}set"
    if request.status == RequestStatus.FAILED and not request.has_error:
        yield "it is Failed and its error is empty"
    if request.started_at is None and request.status in (RequestStatus.INPROGRESS, RequestStatus.COMPLETED):
        yield f"it is {request.status} and was never started"
    if request.status in FINAL and request.receipt == ReceiptState.WANTED:
        yield f"it is {request.status} and no receipt of it is due: a release without receipts ended it"
    yield from _times(request)


def _of_job(job: VerifiedJob) -> Iterator[str]:
    if job.status not in JobStatus.values:
        yield f"its status {job.status} is unknown"
    if (job.completed_at is not None) != (job.status in ENDED):
        yield f"it is {job.status} and its completed_at is {'not ' if job.completed_at is None else ''}set"
    leased = [value is not None for value in (job.claimed_by, job.lease_until)]
    if job.status == JobStatus.INPROGRESS and not all(leased):
        yield "it is inprogress and without a claim and a lease"
    if job.status != JobStatus.INPROGRESS and any(leased):
        yield f"it is {job.status} and with a claim or a lease"
    if job.status == JobStatus.NEW and job.started_at is not None and job.answer_by is None:
        yield "it is new and was started"
    if job.is_astray:
        yield "it is parked and its name is not paused"
    if job.is_unseen:
        yield "it waits for a permit of a limit that never was"
    if job.started_at is None and job.status in (JobStatus.INPROGRESS, JobStatus.RETRY, JobStatus.FAILURE):
        yield f"it is {job.status} and was never started"
    if job.attempt > job.last_attempt:
        yield f"its last allowed attempt is {job.last_attempt}"
    yield from faults_of_wait(job)
    yield from _times(job)


def _times(row: VerifiedRequest | VerifiedJob) -> Iterator[str]:
    """All are the database's clock, which set the later one after it had set, or compared, the earlier one."""
    moments = [("created", row.created_at), ("started", row.started_at), ("completed", row.completed_at)]
    for (before, at), (after, later) in pairwise((word, at) for word, at in moments if at is not None):
        if later < at:
            yield Backwards(f"it was {after} before it was {before}")
    waited = isinstance(row, VerifiedJob) and row.answer_by is not None  # an answer may end it before its next check
    by_permit = isinstance(row, VerifiedJob) and row.is_in_lane  # it is due in its lane, far away, until it ends
    if row.started_at is not None and row.started_at < row.due_at and not waited and not by_permit:
        yield Backwards("it was started before it was due")


def _of_job_in_request(job: VerifiedJob, request: VerifiedRequest) -> Iterator[str]:
    # A cancelled request's running jobs end and are recorded; a failed or completed one has none left.
    allowed = (JobStatus.INPROGRESS,) if request.status == RequestStatus.CANCELLED else ()
    if request.status in FINAL and job.status in OPEN and job.status not in allowed:
        yield f"it is {job.status} and its request is {request.status}"
    if request.started_at is None or request.status == RequestStatus.QUEUING:
        yield "it was made before its request was picked up"
    elif job.created_at < request.started_at:
        yield Backwards("it was made before its request was started")
    if request.status in (RequestStatus.COMPLETED, RequestStatus.FAILED) and _later(job, request.completed_at):
        yield Backwards(f"it ended after its request was {request.status}")


def _of_attempts(request: VerifiedRequest, attempts: Sequence[VerifiedJob]) -> Iterator[Finding]:
    """Of one job, oldest first."""
    for expected, job in enumerate(attempts, start=1):
        if job.attempt != expected:
            what = f"{'a hole or a double' if expected > 1 else 'not the first'}: attempt {expected} should stand here"
            yield Finding(request.token, what, job.step, job.name, job.attempt)
            break
    for job, successor in pairwise(attempts):
        if job.status in (*OPEN, JobStatus.COMPLETED):
            what = f"it is {job.status} and attempt {successor.attempt} follows it"
            yield Finding(request.token, what, job.step, job.name, job.attempt)
        elif job.completed_at is not None and successor.created_at < job.completed_at:
            what = Backwards("it was made before the attempt before it had ended")
            yield Finding(request.token, what, job.step, job.name, successor.attempt)


def _of_steps(request: VerifiedRequest, by_job: dict[tuple[int, str], list[VerifiedJob]]) -> Iterator[Finding]:
    """Against the steps that a request which was picked up must have."""
    try:
        steps = _steps(request.steps or "null")
    except StepsError as error:
        if request.status != RequestStatus.FAILED:  # else that is why
            yield Finding(request.token, f"its steps cannot be read: {error}")
        return
    if not 0 <= request.step < len(steps):
        yield Finding(request.token, f"its step {request.step} is none of its {len(steps)} steps")
        return
    for (step, name), attempts in by_job.items():
        if step >= len(steps) or name not in steps[step].jobs:
            yield Finding(request.token, "no such job stands in its steps", step, name, attempts[-1].attempt)
        elif step > request.step:
            what = f"it was made while its request is at step {request.step}"
            yield Finding(request.token, what, step, name, attempts[-1].attempt)
    yield from _of_reach(request, by_job, steps)
    latest = {place: attempts[-1] for place, attempts in by_job.items()}
    yield from _of_shortfall(request, latest)
    for step in range(request.step + 1):
        done = step < request.step or request.status == RequestStatus.COMPLETED
        yield from _of_step(request, step, [(name, latest.get((step, name))) for name in steps[step].jobs], done=done)
    yield from _order_of_steps(request, by_job, latest)
    if request.status == RequestStatus.COMPLETED and request.step != len(steps) - 1:
        yield Finding(request.token, f"it is Completed at step {request.step} of {len(steps)} steps")


def _of_reach(
    request: VerifiedRequest, by_job: dict[tuple[int, str], list[VerifiedJob]], steps: Sequence[Step]
) -> Iterator[Finding]:
    """Every attempt has what its job has in the steps."""
    reaches = {(index, job): if_fails_of(job) for index, step in enumerate(steps) for job in step.jobs}
    for place, attempts in by_job.items():
        reach = reaches.get(place, attempts[0].if_fails)
        if strange := next((job for job in attempts if job.if_fails != reach), None):
            what = f"its if_fails is {strange.if_fails} and its steps say {reach}"
            yield Finding(request.token, what, strange.step, strange.name, strange.attempt)


def _of_shortfall(request: VerifiedRequest, latest: dict[tuple[int, str], VerifiedJob]) -> Iterator[Finding]:
    last = request.step if request.status == RequestStatus.COMPLETED else request.step - 1
    short = sum(_may_be_passed(job) for (step, _), job in latest.items() if step <= last)
    if request.shortfall != short:
        yield Finding(request.token, f"its shortfall is {request.shortfall} and it went on without {short} jobs")


def _may_be_passed(job: VerifiedJob) -> bool:
    """Whether it failed and its request goes on without it."""
    return job.status == JobStatus.FAILURE and job.if_fails == IfFails.CONTINUE


def _of_step(
    request: VerifiedRequest, step: int, latest: Sequence[tuple[str, VerifiedJob | None]], *, done: bool
) -> Iterator[Finding]:
    """The latest attempts of the jobs of the current step or an earlier one. `done`: the request is past it."""
    failed = {job.if_fails for _, job in latest if job is not None and job.status == JobStatus.FAILURE}
    is_stopped = IfFails.STOP in failed
    if request.status == RequestStatus.FAILED and not done and not failed - {IfFails.CONTINUE}:
        yield Finding(request.token, "it is Failed and no job of its step failed", step)
    for name, job in latest:
        if job is None:
            yield Finding(request.token, "it has no row", step, name)
        elif done and job.status != JobStatus.COMPLETED and not _may_be_passed(job):
            what = f"its latest attempt is {job.status} and its request is past it"
            yield Finding(request.token, what, step, name, job.attempt)
        elif request.status == RequestStatus.INPROGRESS and not is_stopped and job.status in _NO_SUCCESSOR:
            yield Finding(request.token, f"it is {job.status} and no attempt follows it", step, name, job.attempt)
        elif request.status == RequestStatus.INPROGRESS and is_stopped and job.status == JobStatus.NEW:
            yield Finding(request.token, "it is new and a job of its step has failed", step, name, job.attempt)


def _order_of_steps(
    request: VerifiedRequest,
    by_job: dict[tuple[int, str], list[VerifiedJob]],
    latest: dict[tuple[int, str], VerifiedJob],
) -> Iterator[Finding]:
    ended: dict[int, Any] = {}
    for (step, _), job in latest.items():
        if job.completed_at is not None:
            ended[step] = max(job.completed_at, ended.get(step, job.completed_at))
    for (step, name), (first, *_) in by_job.items():
        if step - 1 in ended and first.created_at < ended[step - 1]:
            what = Backwards(f"it was made before step {step - 1} was completed")
            yield Finding(request.token, what, step, name, first.attempt)


def _of_answers(
    request: VerifiedRequest, jobs: Sequence[VerifiedJob], answers: Sequence[VerifiedAnswer], now: datetime
) -> Iterator[Finding]:
    for answer, what in faults_of_answers(request, jobs, answers, now):
        yield Finding(request.token, what, answer.step, answer.job)


def _of_answers_to_nobody(using: str) -> Iterator[Finding]:
    """Those whose request was purged, or never placed: a pass marks them late."""
    found, now = run_transaction(partial(read_answers_to_nobody, using), seconds=RECONNECT_SECONDS)
    for token, answer in found:
        if what := fault_of_untaken(answer, answer.created_at, "it has no request", from_driver(now)):
            yield Finding(token, what, answer.step, answer.job)


def _later(job: VerifiedJob, moment: Any) -> bool:
    return moment is not None and job.completed_at is not None and bool(job.completed_at > moment)


@lru_cache(maxsize=64)  # most requests have their recipe's steps
def _steps(text: str) -> tuple[Step, ...]:
    return read_steps(text)


def _shown(value: object) -> str:
    """In one line, whatever characters a token is made of."""
    text = str(value)
    return text if text.isprintable() else ascii(text)
