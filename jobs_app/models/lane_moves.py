"""The moves of jobs that need a permit: look at the lanes, claim from one, empty one that nobody names any more.

A due job of a limit waits in its lane: due at one moment far away, so that no claim reads past it. Who holds the row of
its limit gives permits. Rules: jobs_app/limit_rules.py; guards and locks: docs/moves.md.
"""

from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import connections, models, transaction

from jobs_app.db.dialect import dialect, literal, marks, numbers
from jobs_app.limit_rules import LimitRule
from jobs_app.models.limit import Limit

Row = TypeVar("Row", bound=models.Model)

_ROWS_PER_TRANSACTION = 500


class Lane(NamedTuple):
    """A limit as a look found it. `until_next`: seconds to the next permit's time, below 0 when it is over.

    `is_open`: its breaker, whose time is not over; `is_half_open`: it is, so one job may try. `running`: by permits.
    `first`, `last`: ids of those that wait; None when nothing does.
    """

    until_next: float
    is_open: bool
    is_half_open: bool
    running: int
    first: int | None = None
    last: int | None = None

    def permits(self, rule: LimitRule, most: int) -> int:
        """How many may begin now, of `most` at most."""
        if self.is_open or (self.is_half_open and self.running):
            return 0
        by_rate = rule.permits(self.until_next)
        by_concurrency = None if rule.concurrency is None else rule.concurrency - self.running
        counts = (most, by_rate, by_concurrency, 1 if self.is_half_open else None)
        return max(0, min(count for count in counts if count is not None))


class FromLane(NamedTuple):
    """`ids`: claimed. `paused`: ids of paused names that stood before them."""

    ids: list[int]
    paused: list[int]


class LaneMoves(models.QuerySet[Row]):
    """Part of JobQuerySet: what needs a permit gets into its lane by `claim` and `insert_jobs`."""

    def look_at_lanes(self, names: Collection[str]) -> dict[str, Lane]:
        """Of these limits, by one statement that locks nothing."""
        sql = dialect(self.db)
        in_lane = f"FROM jobs j {sql.force('jobs_status_due')} WHERE j.due_at = l.lane AND j.status"
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT l.name, {_state(sql)}, (SELECT COUNT(*) {in_lane} = 'inprogress'), "
                f"(SELECT j.id {in_lane} = 'new' ORDER BY j.id LIMIT 1), "
                f"(SELECT j.id {in_lane} = 'new' ORDER BY j.id DESC LIMIT 1) "
                f"FROM limits l WHERE l.name IN ({marks(names)})",
                [*names],
            )
            return {name: _lane(*row) for name, *row in cursor.fetchall()}

    def claim_from_lane(
        self, rule: LimitRule, claim: str, most: int, lease_seconds: float, paused: Collection[str] = ()
    ) -> FromLane:
        """`new` -> `inprogress`, the oldest first, as many as get a permit; none while another process gives permits.

        `claim`: a new UUID for this transaction.
        """
        sql = dialect(self.db)
        with transaction.atomic(using=self.db, savepoint=False), connections[self.db].cursor() as cursor:
            cursor.execute(f"SELECT {_state(sql)} FROM limits l WHERE name = %s {sql.skip_locked}", [rule.name])
            if not (state := cursor.fetchone()):
                return FromLane([], [])
            in_lane = f"FROM jobs {sql.force('jobs_status_due')} WHERE due_at = {literal(rule.lane)} AND status"
            # After the lock, and a statement of its own: it has to see what the holder before us committed.
            cursor.execute(f"SELECT COUNT(*) {in_lane} = 'inprogress'", [])
            lane = _lane(*state, *cursor.fetchone())
            if not (permits := lane.permits(rule, most)):
                return FromLane([], [])
            cursor.execute(
                f"SELECT id, name {in_lane} = 'new' ORDER BY id LIMIT %s {sql.skip_locked}",
                [_ROWS_PER_TRANSACTION if paused else permits],
            )
            rows = cursor.fetchall()
            if ids := [id_ for id_, name in rows if name not in paused][:permits]:
                cursor.execute(
                    f"UPDATE jobs {sql.by_id} SET status = 'inprogress', claimed_by = %s, started_at = {sql.now}, "
                    f"lease_until = {sql.now_plus} WHERE id IN ({numbers(ids)}) AND status = 'new'",
                    [claim, lease_seconds],
                )
                probe = claim if lane.is_half_open else None
                _use_permits(cursor, sql, rule, len(ids), probe)
        return FromLane(ids, [id_ for id_, name in rows if name in paused])

    def empty_lanes(self) -> int:
        """What waits for a limit that WRK_LIMITS does not name any more is due now; answers how many, at most 500."""
        lanes = Limit.objects.using(self.db).exclude(name__in=settings.WRK_LIMITS).values_list("lane", flat=True)
        sql = dialect(self.db)
        with transaction.atomic(using=self.db, savepoint=False), connections[self.db].cursor() as cursor:
            for lane in lanes:
                cursor.execute(
                    f"SELECT id FROM jobs {sql.force('jobs_status_due')} WHERE status = 'new' "
                    f"AND due_at = {literal(lane)} ORDER BY id LIMIT {_ROWS_PER_TRANSACTION} {sql.skip_locked}",
                    [],
                )
                if ids := [row[0] for row in cursor.fetchall()]:
                    cursor.execute(f"UPDATE jobs {sql.by_id} SET due_at = {sql.now} WHERE id IN ({numbers(ids)})", [])
                    return len(ids)
        return 0


def _state(sql: Any) -> str:
    """Columns of `_lane`, of the row `l`."""
    until_next = sql.microseconds.format(sql.now, "l.next_at")
    return f"{until_next}, COALESCE(l.open_until > {sql.now}, 0), l.open_until IS NOT NULL"


def _lane(until_next: int, is_open: bool, has_opened: bool, *counts: Any) -> Lane:
    return Lane(until_next / 1_000_000, bool(is_open), bool(has_opened and not is_open), *counts)


def _use_permits(cursor: Any, sql: Any, rule: LimitRule, count: int, probe: str | None) -> None:
    """Under the limit's lock."""
    changed = {}
    if rule.rate:
        since = f"CASE WHEN next_at > {sql.now} THEN next_at ELSE {sql.now} END"
        changed["next_at"] = sql.plus.format(since, f"{count * rule.interval:.6f}")
    if probe:
        changed["probe"] = f"'{probe}'"
    if changed:
        columns = ", ".join(f"{column} = {value}" for column, value in changed.items())
        cursor.execute(f"UPDATE limits SET {columns} WHERE name = %s", [rule.name])
