"""Judges what a storm left behind: the tables, the calls that the service received, and what the processes said."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.service import Call
from tests.chaos import kinds

# As jobs_app/worker/ says them; nothing here loads Django.
_LEASE_LOST = "the lease ran out"
_NO_ANSWER = "no answer within"
_ANSWERED = "the answer that it waited for"
_RETRIED_FOR = {kinds.NEVER: _NO_ANSWER, kinds.JUST: _NO_ANSWER, kinds.AGAIN: _ANSWERED}  # but for lost leases


@dataclass(frozen=True, slots=True)
class RequestEnd:
    token: str
    status: str
    error: str
    kind: str = kinds.PLAIN.name
    shortfall: int = 0
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    key: str  # its idempotency key
    attempt: int
    status: str
    error: str
    checks: int = 0
    if_fails: str = "stop"
    found: Any = None  # what it returned, or was answered, for its job; of an answer: its mark

    @property
    def job(self) -> str:
        return self.key.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """`late`: it must be."""

    mark: str
    outcome: str
    effect: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """A notification. `subject`: the token of the request that ended."""

    token: str
    subject: str
    status: str


def lost_requests(acknowledged: Iterable[str], requests: Sequence[RequestEnd]) -> Iterator[str]:
    """Nothing that was acknowledged is lost, nothing is left open, each has the end of its kind."""
    there = {request.token for request in requests}
    for token in acknowledged:
        if token not in there:
            yield f"request {token} was acknowledged and is gone"
    for request in requests:
        failed = kinds.BY_NAME[request.kind].failed if request.kind in kinds.BY_NAME else None
        is_right = request.status == ("Failed" if failed else "Completed")
        if not is_right or (failed and not request.error.startswith(f"{failed} failed: ")):
            yield f"request {request.token} is {request.status}: {request.error[:200]}"


def wrong_calls(calls: Sequence[Call], attempts: Sequence[AttemptEnd]) -> Iterator[str]:
    """Each attempt calls once, and once more for each time it waited. Each job is called, and tried again only when its
    lease was lost, or when an answer did not come or said so.
    """
    rows = {(row.key, row.attempt): row for row in attempts}
    by_attempt = Counter((call.key, int(call.attempt)) for call in calls)
    by_key: dict[str, list[int]] = defaultdict(list)
    for (key, attempt), count in by_attempt.items():
        by_key[key].append(attempt)
        row = rows.get((key, attempt))
        if row is None:
            yield f"{key} attempt {attempt} called and has no row"
        elif not row.checks <= count <= row.checks + (not _was_waiting(row)):
            yield f"{key} attempt {attempt} called {count} times, and waited {row.checks} times"
    for row in attempts:
        if row.status == "completed" and (row.key, row.attempt) not in by_attempt:
            yield f"{row.key} attempt {row.attempt} is completed and never called"
        if row.status == "retry" and not _may_be_retried(row):
            yield f"{row.key} attempt {row.attempt} was tried again: {row.error[:200]}"
    for key, called in by_key.items():
        for attempt in sorted(called)[:-1]:
            again = rows.get((key, attempt))
            if again is not None and not (again.status == "retry" and _may_be_retried(again)):
                yield f"{key} was called again after attempt {attempt}, {again.status}: {again.error[:200]}"


def _may_be_retried(row: AttemptEnd) -> bool:
    return row.error.startswith((_LEASE_LOST, _RETRIED_FOR.get(row.job, _LEASE_LOST)))


def _was_waiting(row: AttemptEnd) -> bool:
    """Whether it ended while it waited, not in a run of its callback, nor with its process."""
    return bool(row.checks) and (isinstance(row.found, str) or row.error.startswith((_NO_ANSWER, _ANSWERED)))


def wrong_ends(requests: Sequence[RequestEnd], attempts: Sequence[AttemptEnd]) -> Iterator[str]:
    """Every job ended as its kind of request allows, its shortfall is right, and no finding is lost from the extras."""
    latest: dict[str, dict[str, AttemptEnd]] = defaultdict(dict)
    for row in sorted(attempts, key=lambda row: row.attempt):
        latest[row.key.partition(":")[0]][row.key] = row
    for request in requests:
        jobs, kind = latest[request.token].values(), kinds.BY_NAME[request.kind]
        failed = [job for job in jobs if job.status == "failure"]
        for job in jobs:
            is_right = job.status == "completed" or (job in failed and job.job in kinds.MAY_FAIL)
            if not is_right and not kind.stops:
                yield f"{job.key} attempt {job.attempt} is {job.status} at the end: {job.error[:200]}"
            elif (
                job.status == "completed"
                and request.extras.get(job.key.partition(":")[2].replace(":", " ")) != job.found
            ):
                yield f"{job.key} attempt {job.attempt} found {job.found!r}, which its request lacks"
        short = sum(job.if_fails == "continue" for job in failed)
        if request.shortfall != short:
            yield f"request {request.token} has the shortfall {request.shortfall}; {short} jobs failed"


def wrong_answers(
    acknowledged: Iterable[str], answers: Sequence[AnswerEnd], attempts: Sequence[AttemptEnd]
) -> Iterator[str]:
    """None is lost, none is left, each that was taken ended one attempt, as it says. No attempt was ended by two."""
    ended: dict[str, list[AttemptEnd]] = defaultdict(list)
    for row in attempts:
        if isinstance(row.found, str):
            ended[row.found].append(row)
        elif row.error.startswith(_ANSWERED):
            yield f"{row.key} attempt {row.attempt} was ended by no answer: {row.error[:200]}"
    taken: Counter[str] = Counter()
    for answer in answers:
        of_it = ended[answer.mark]
        if not answer.effect or (answer.late and answer.effect != "late"):
            yield f"answer {answer.mark} is {answer.effect or 'pending'}"
        if answer.effect == "taken":
            taken[answer.mark] += 1
            if [row.status for row in of_it] != [answer.outcome]:
                yield f"answer {answer.mark}, {answer.outcome}, is taken; it ended {of_it}"
    for mark, rows in ended.items():
        if rows and taken[mark] != 1:
            yield f"{rows[0].key} attempt {rows[0].attempt} was ended by an answer that is taken {taken[mark]} times"
    there = {answer.mark for answer in answers}
    yield from (f"answer {mark} was acknowledged and is gone" for mark in acknowledged if mark not in there)


def wrong_notifications(requests: Iterable[RequestEnd], told: Iterable[Told], calls: Iterable[Call]) -> Iterator[str]:
    """Of each end one was placed, it is done, and its receiver was called with it."""
    by_subject: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        by_subject[one.subject].append(one)
    called = {call.key.partition(":")[0] for call in calls}
    for request in requests:
        of_it = by_subject.pop(request.token, [])
        if [(one.status, one.token in called) for one in of_it] != [("Completed", True)]:
            yield f"request {request.token} was told of by {of_it}"
    yield from (f"{subject} was told of, which is no request" for subject in by_subject)


def repeated(calls: Sequence[Call], attempts: Sequence[AttemptEnd]) -> int:
    """Jobs that were called more often than they ended in a run of their callback, or waited after one."""
    asked: Counter[str] = Counter()
    for row in attempts:
        asked[row.key] += row.checks + (not row.error.startswith(_LEASE_LOST) and not _was_waiting(row))
    return sum(count > asked[key] for key, count in Counter(call.key for call in calls).items())
