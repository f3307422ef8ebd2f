"""Judges what a storm left behind: the tables, the calls that the service received, and what the processes said."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from demo.service import Call

_LEASE_LOST = "the lease ran out"  # as jobs_app/worker/runner.py says it; nothing here loads Django


@dataclass(frozen=True, slots=True)
class RequestEnd:
    token: str
    status: str
    error: str


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    key: str  # its idempotency key
    attempt: int
    status: str
    error: str


def lost_requests(acknowledged: Iterable[str], requests: Sequence[RequestEnd]) -> Iterator[str]:
    """Nothing that was acknowledged is lost, nothing is left open, nothing failed."""
    there = {request.token for request in requests}
    for token in acknowledged:
        if token not in there:
            yield f"request {token} was acknowledged and is gone"
    for request in requests:
        if request.status != "Completed":
            yield f"request {request.token} is {request.status}: {request.error[:200]}"


def wrong_calls(calls: Sequence[Call], attempts: Sequence[AttemptEnd]) -> Iterator[str]:
    """Each attempt calls at most once, each job is called, and again only after its attempt's process was gone."""
    rows = {(row.key, row.attempt): row for row in attempts}
    by_attempt = Counter((call.key, int(call.attempt)) for call in calls)
    by_key: dict[str, list[int]] = defaultdict(list)
    for (key, attempt), count in by_attempt.items():
        by_key[key].append(attempt)
        if count > 1:
            yield f"{key} attempt {attempt} called {count} times"
        if (key, attempt) not in rows:
            yield f"{key} attempt {attempt} called and has no row"
    for row in attempts:
        if row.status == "completed" and (row.key, row.attempt) not in by_attempt:
            yield f"{row.key} attempt {row.attempt} is completed and never called"
    for key, called in by_key.items():
        for attempt in sorted(called)[:-1]:
            again = rows.get((key, attempt))
            if again is not None and not (again.status == "retry" and again.error.startswith(_LEASE_LOST)):
                yield f"{key} was called again after attempt {attempt}, {again.status}: {again.error[:200]}"


def repeated(calls: Sequence[Call]) -> int:
    """Jobs that were called more than once."""
    return sum(count > 1 for count in Counter(call.key for call in calls).values())
