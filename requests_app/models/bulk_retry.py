"""Requests that failed alike, by their `error_kind`: which there are, and the move that takes many of them up again.

Part of RequestQuerySet (request.py). The move's lock order: docs/moves.md.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from django.db import connection, models, transaction

from jobs_app.db.dialect import dialect, from_driver, numbers
from jobs_app.db.statements import fetch_all, fetch_ids
from jobs_app.models import Job
from requests_app.models.operator_moves import OperatorMoves
from requests_app.models.retry_pace import RetryPace
from requests_app.models.status import RequestStatus

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one


@dataclass(frozen=True, slots=True)
class Selection:
    """Which `Failed` requests are meant: those of this kind that failed from `since` to `until`.

    `until` is the start of a run: what fails again during it is not taken up twice.
    """

    kind: str
    until: datetime
    since: datetime | None = None


@dataclass(slots=True)
class Summary:
    """`actions`: how many of each. `first`, `last`: when they failed."""

    actions: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None


class FailedRequest(NamedTuple):
    """As read under its lock."""

    id: int
    token: str
    action: str
    step: int


class RetriedBatch(NamedTuple):
    """`requests`: taken up. `locked`: left, since other sessions hold them. `due`: when the first and the last are."""

    requests: Sequence[FailedRequest]
    locked: int
    due: Sequence[datetime]


class BulkRetryMoves(OperatorMoves[Row]):
    def ids_of_kind(self, selection: Selection, limit: int, after: int = 0) -> list[int]:
        """So many ids above `after`, ascending. Read without locks: the move guards again."""
        return fetch_ids(*self._select_kind("id", selection, limit, after))

    def summarize_kind(self, selection: Selection, limit: int) -> Summary:
        """Of the first `limit` of them."""
        sql, values = self._select_kind("action, completed_at", selection, limit)
        grouped = (
            f"SELECT action, COUNT(*), MIN(completed_at), MAX(completed_at) FROM ({sql}) AS selected GROUP BY action"
        )
        if not (rows := fetch_all(grouped, values)):
            return Summary()
        actions = Counter({action: number for action, number, *_ in rows})
        first, last = min(first for *_, first, _ in rows), max(last for *_, last in rows)
        return Summary(actions, from_driver(first), from_driver(last))

    # Moves -----------------------------------------------------------------------------------------------------------
    def bulk_retry(self, ids: Collection[int], selection: Selection, seconds_between: float) -> RetriedBatch:
        """As `retry_failed`, of those that still belong to it, by id, each due some seconds after the one before.

        The first follows the last of the batch before, whichever process took that up. Locked ones are left out.
        """
        with transaction.atomic(savepoint=False):
            requests = self._lock_kind(ids, selection.kind)
            missed = set(ids) - {request.id for request in requests}
            failed = self.filter(
                id__in=missed, error_kind=selection.kind, status=RequestStatus.FAILED, scrubbed_at=None
            )
            locked = failed.count() if missed else 0
            if not requests:
                return RetriedBatch([], locked, [])
            places = RetryPace.objects.take(selection.kind, len(requests), seconds_between)
            delays = dict(zip((request.id for request in requests), places.delays, strict=True))
            self._reopen(requests, delays)
            Job.objects.insert_again(delays, delays)
            RetryPace.objects.leave(selection.kind, places.delays[-1] + seconds_between)
            return RetriedBatch(requests, locked, places.due)

    def _lock_kind(self, ids: Collection[int], kind: str) -> list[FailedRequest]:
        """In SQL of ours, since the index has to be named: by that of the kind, rows are locked in another order."""
        sql = dialect()
        rows = fetch_all(
            f"SELECT id, token, action, step FROM requests {sql.by_id} WHERE id IN ({numbers(sorted(ids))}) "
            f"AND status = 'Failed' AND error_kind = %s AND scrubbed_at IS NULL ORDER BY id {sql.skip_locked}",
            [kind],
        )
        return [FailedRequest(*row) for row in rows]

    def _select_kind(self, columns: str, selection: Selection, limit: int, after: int = 0) -> tuple[str, list[Any]]:
        """By id through the index of the kind, which the optimizers would leave for another one."""
        adapt = connection.ops.adapt_datetimefield_value
        since = "AND completed_at >= %s " if selection.since else ""
        sql = (
            f"SELECT {columns} FROM requests {dialect().force('requests_error_kind')} WHERE error_kind = %s "
            f"AND id > %s AND status = 'Failed' AND scrubbed_at IS NULL AND completed_at <= %s {since}"
            "ORDER BY id LIMIT %s"
        )
        moments = [adapt(moment) for moment in (selection.until, selection.since) if moment]
        return sql, [selection.kind, after, *moments, limit]
