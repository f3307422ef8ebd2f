"""Sums of what the passes wrote into their rows, and moments as a cursor gives them; for metrics.py."""

from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.dialect import dialect, marks

CRON_PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
WORKER = "run_worker"  # the three in a loop; it has not ended while all is well
PASSES = (*CRON_PASSES, WORKER)
COUNTS = (
    "started",
    "refused",
    "requests_completed",
    "requests_failed",
    "claimed",
    "completed",
    "retry",
    "failure",
    "lease_lost",
    "too_late",
)
_SETTLED_AFTER = timedelta(minutes=5)  # no transaction that ends a pass lasts so long
_FOLD_EVERY = timedelta(minutes=10)
_FOLD_AT_ONCE = timedelta(days=30)  # so that a statement ends in time, however long the history is


class PassTotals:
    """Sums of what the passes counted. Rows that can no longer change are read once and kept as a sum.

    Every web worker so comes to the same figures. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._folded = dict.fromkeys(COUNTS, 0)
        self._folded_until: datetime | None = None

    def read(self, connection: BaseDatabaseWrapper) -> dict[str, int]:
        with self._lock:
            begin, now = self._folded_until or _first_end(connection), _now(connection)
            self._folded_until = self._fold(connection, begin, now - _SETTLED_AFTER)
            recent = _sums(connection, "(ended_at > %s OR ended_at IS NULL)", [self._folded_until])
            return _added(self._folded, recent)

    def _fold(self, connection: BaseDatabaseWrapper, begin: datetime, until: datetime) -> datetime:
        """Adds the rows that ended after `begin`; answers up to when. What a lost connection leaves undone is next."""
        while until - begin > _FOLD_EVERY:
            end = min(until, begin + _FOLD_AT_ONCE)
            newly = _sums(connection, "ended_at > %s AND ended_at <= %s", [begin, end])
            self._folded, self._folded_until, begin = _added(self._folded, newly), end, end
        return begin


def _first_end(connection: BaseDatabaseWrapper) -> datetime:
    """A moment before any of the passes ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, MIN(ended_at) FROM passes GROUP BY name", [])
        firsts = [aware(first) for _, first in cursor.fetchall() if first is not None]
    return min(firsts, default=_now(connection)) - _FOLD_EVERY


def _sums(connection: BaseDatabaseWrapper, where: str, moments: list[datetime]) -> dict[str, int]:
    columns = ", ".join(f"SUM(JSON_EXTRACT(counts, '$.{count}'))" for count in COUNTS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM passes {dialect('default').force('passes_name_ended')} "
            f"WHERE name IN ({marks(PASSES)}) AND {where}",
            [*PASSES, *(connection.ops.adapt_datetimefield_value(moment) for moment in moments)],
        )
        return {count: int(value or 0) for count, value in zip(COUNTS, cursor.fetchone(), strict=True)}


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {count: one[count] + other[count] for count in COUNTS}


def _now(connection: BaseDatabaseWrapper) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {dialect('default').now}", [])
        return aware(cursor.fetchone()[0])


def aware(moment: Any) -> datetime:
    """As a driver gives it: a text on SQLite, else naive; UTC on both."""
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).replace(tzinfo=UTC)


def seconds_since(moment: Any, now: Any) -> float:
    return max(0.0, (aware(now) - aware(moment)).total_seconds()) if moment is not None else 0.0
