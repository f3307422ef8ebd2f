"""Retries by hand all requests that failed alike, spread over time so that their service can take it.

In batches, each one transaction, so it may be killed at any time: what is not taken up yet is still `Failed`, and
a row (`RetryPace`) has the time of the next one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db import transaction

from jobs_app.db.transactions import BATCH, RECONNECT_SECONDS, Locked, run_transaction
from jobs_app.models import tally
from requests_app.models import Intervention, Request, RequestStatus, RetryPace
from requests_app.models.bulk_retry import RetriedBatch, Selection
from requests_app.monitoring import events, tallies
from requests_app.operations.explain import explain
from requests_app.operations.interventions import Refused

DEFAULT_PACE = "10/s"


@dataclass(slots=True)
class Taken:
    """What a run has done so far. `due_from`, `due_until`: when the first and the last that it took up are due."""

    retried: int = 0
    locked: int = 0
    due_from: datetime | None = None
    due_until: datetime | None = None

    def add(self, batch: RetriedBatch) -> None:
        self.retried += len(batch.requests)
        self.locked += batch.locked
        if batch.due:
            self.due_from, self.due_until = self.due_from or batch.due[0], batch.due[-1]


def kind_of(token: str) -> tuple[int, str]:
    """The request's id and error kind. Raises Refused, Request.DoesNotExist."""
    request = Request.objects.without_json().get(token=token)
    if request.status != RequestStatus.FAILED:
        raise Refused(
            f"retry_request: only what failed like a Failed request can be retried; this one is {request.status}: name "
            f"one that is Failed. {explain(request)}"
        )
    if request.scrubbed_at:
        raise Refused("retry_request: it is scrubbed, and has no error kind any more: name another that failed like it")
    if not request.error_kind:
        raise Refused(
            "retry_request: it failed before requests had error kinds: retry it, and each like it, by its token "
            "(retry_request -, with one token a line)"
        )
    return request.pk, request.error_kind


def bulk_retry(
    selection: Selection,
    seconds_between: float,
    *,
    by: str,
    reason: str,
    last: int | None = None,
    limit: int | None = None,
) -> Iterator[RetriedBatch]:
    """Takes them up, the oldest first; yields what became of each batch, once it is committed.

    `last`: the id of the one to take up after all others, so that the command that names it can be given again.
    """

    def batch(ids: Sequence[int]) -> RetriedBatch:
        with transaction.atomic():
            retried = Request.objects.bulk_retry(ids, selection, seconds_between)
            _leave_traces(retried, by, reason)
            return retried

    run_transaction(partial(RetryPace.objects.open, selection.kind), seconds=RECONNECT_SECONDS)
    for ids in _pages(selection, last, limit):
        yield from _each(ids, batch)


def _pages(selection: Selection, last: int | None, limit: int | None) -> Iterator[list[int]]:
    left, after, has_last = limit, 0, False
    while left != 0:
        size = BATCH if left is None else min(BATCH, left)
        page = run_transaction(partial(Request.objects.ids_of_kind, selection, size, after), seconds=RECONNECT_SECONDS)
        if ids := [id_ for id_ in page if id_ != last]:
            yield ids
        has_last |= len(ids) < len(page)
        left = None if left is None else left - len(ids)
        if len(page) < size:
            break
        after = page[-1]
    if last is not None and has_last and left != 0:
        yield [last]


def _each(ids: Sequence[int], batch: Callable[[Sequence[int]], RetriedBatch]) -> Iterator[RetriedBatch]:
    """Of a batch in which another session holds a row that it needs, each request by itself."""
    try:
        retried = run_transaction(partial(batch, ids), seconds=RECONNECT_SECONDS)
    except Locked:
        if len(ids) == 1:
            yield RetriedBatch([], 1, [])
            return
        for id_ in ids:
            yield from _each([id_], batch)
    else:
        yield retried


def _leave_traces(retried: RetriedBatch, by: str, reason: str) -> None:
    """What a retry by hand of each one leaves."""
    traces = [
        Intervention(request_id=request.id, verb="retry_request", by=by, reason=reason) for request in retried.requests
    ]
    Intervention.objects.bulk_create(traces)
    events.log_interventions(traces, retried.requests)
    tally.add(tallies.count_intervention("retry_request", len(retried.requests)))
