"""The moves of jobs that need a permit: look at the lanes, claim from one, empty one that nobody names any more.

A due job of a limit waits in its lane: due at one moment far away, so that no claim reads past it. Who holds the row of
its limit gives permits. Rules: jobs_app/limit_rules.py; guards and locks: docs/moves.md.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import models, transaction

from jobs_app.db.dialect import dialect, literal
from jobs_app.db.statements import execute, fetch_all, fetch_ids
from jobs_app.db.transactions import BATCH
from jobs_app.limit_rules import LimitRule
from jobs_app.models.breaker import MOST_OPEN_SECONDS
from jobs_app.models.claims import claim_locked
from jobs_app.models.limit import Limit
from jobs_app.registry import definition, limits

Row = TypeVar("Row", bound=models.Model)


class Lane(NamedTuple):
    """What a look found of a limit. `until_next`: seconds until the next permit's time, below 0 when that is past.

    `is_open`: its breaker is. `is_half_open`: the time of its breaker is over, so one job may try. `running`: how many
    jobs run by a permit. `first`: the lowest id of those that wait; None when nothing does.
    """

    until_next: float
    is_open: bool
    is_half_open: bool
    running: int
    first: int | None = None

    def permits(self, rule: LimitRule, most: int, slack: float = 0.0) -> int:
        """How many may begin now, of `most` at most. `slack`: as the rule has it."""
        if self.is_open or (self.is_half_open and self.running):
            return 0
        by_rate = rule.permits(self.until_next, slack)
        by_concurrency = None if rule.concurrency is None else rule.concurrency - self.running
        counts = (most, by_rate, by_concurrency, 1 if self.is_half_open else None)
        return max(0, min(count for count in counts if count is not None))


class FromLane(NamedTuple):
    """`ids`: claimed. `paused`: ids of paused names that stood before them."""

    ids: list[int]
    paused: list[int]


class PermitClaims(models.QuerySet[Row]):
    """Part of JobQuerySet: what needs a permit gets into its lane by `claim` and `insert_jobs`."""

    def look_at_lanes(self, names: Collection[str]) -> dict[str, Lane]:
        """Of these limits, by one statement that locks nothing.

        Each lane is given as a constant: MySQL would sort all that wait in one that it reads from the limit's row.
        """
        in_lane = f"FROM jobs j {dialect().force('jobs_status_due')} WHERE j.due_at = {{}} AND j.status"
        lanes = [in_lane.format(literal(LimitRule(name).lane)) for name in names]
        looks = (
            f"SELECT l.name, {_state()}, (SELECT COUNT(*) {lane} = 'inprogress'), "
            f"(SELECT j.id {lane} = 'new' ORDER BY j.id LIMIT 1) FROM limits l WHERE l.name = %s"
            for lane in lanes
        )
        rows = fetch_all(" UNION ALL ".join(looks), [*names])
        return {name: _lane(settings.WRK_LIMITS.get(name), *row) for name, *row in rows}

    def claim_from_lane(
        self,
        rule: LimitRule,
        claim: str,
        most: int,
        lease_seconds: float,
        paused: Collection[str] = (),
        *,
        upto: int | None = None,
        slack: float = 0.0,
    ) -> FromLane:
        """`new` -> `inprogress`, the oldest first, as many as get a permit; none while another process gives permits.

        `claim`: a new UUID for this transaction. `upto`: the last id that may be claimed. `slack`: so many
        seconds later than `rule.late` they may begin.
        """
        sql = dialect()
        with transaction.atomic(savepoint=False):
            found = fetch_all(f"SELECT {_state()} FROM limits l WHERE name = %s {sql.skip_locked}", [rule.name])
            if not found:
                return FromLane([], [])
            in_lane = f"FROM jobs {sql.force('jobs_status_due')} WHERE due_at = {literal(rule.lane)} AND status"
            # After the lock, and a statement of its own: it has to see what the holder before us committed.
            [[running]] = fetch_all(f"SELECT COUNT(*) {in_lane} = 'inprogress'")
            lane = _lane(rule, *found[0], running)
            if not (permits := lane.permits(rule, most, slack)):
                return FromLane([], [])
            may = "" if upto is None else f"AND id <= {upto:d} "
            oldest = fetch_all(
                f"SELECT id, name {in_lane} = 'new' {may}ORDER BY id LIMIT %s {sql.skip_locked}",
                [BATCH if paused else permits],
            )
            rows = self._without_strays(rule, oldest)
            if ids := [id_ for id_, name in rows if name not in paused][:permits]:
                claim_locked(ids, claim, lease_seconds)
                probe = claim if lane.is_half_open else None
                _use_permits(rule, len(ids) * rule.interval + slack, probe)
        return FromLane(ids, [id_ for id_, name in rows if name in paused])

    def empty_lanes(self) -> int:
        """What waits for a limit that no job or WRK_LIMITS has any more is due; returns how many, at most 500."""
        sql, strays = dialect(), Limit.objects.exclude(name__in=limits())
        if not (lanes := [literal(lane) for lane in strays.values_list("lane", flat=True)]):
            return 0
        with transaction.atomic(savepoint=False):
            ids = fetch_ids(
                f"SELECT id FROM jobs {sql.force('jobs_status_due')} WHERE status = 'new' "
                f"AND due_at IN ({', '.join(lanes)}) LIMIT {BATCH} {sql.skip_locked}"
            )
            if ids:
                self._make_due_again(ids)
            return len(ids)

    def _without_strays(self, rule: LimitRule, rows: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """The locked rows (id, name) that have this limit. Those that have another one by now, or none, become due.

        A job that this release does not know stays: the release that knows it has put it there.
        """
        strays = {id_ for id_, name in rows if (known := definition(name)) and known.own_limit != rule.name}
        if strays:
            self._make_due_again(strays)
        return [row for row in rows if row[0] not in strays]

    def _make_due_again(self, ids: Collection[int]) -> None:
        """Locked `new` rows. Due since they were inserted, so that a pass that has begun finds them."""
        self.filter(id__in=ids).update(due_at=models.F("created_at"))


def _state() -> str:
    """Columns of `_lane`, of the row `l`. A breaker that is open for longer than it can be was set by another clock."""
    sql = dialect()
    until_next = sql.microseconds.format(sql.now, "l.next_at")
    is_open = f"l.open_until > {sql.now} AND l.open_until <= {sql.later.format(MOST_OPEN_SECONDS)}"
    return f"{until_next}, COALESCE({is_open}, 0), l.open_until IS NOT NULL"


def _lane(rule: LimitRule | None, until_next: int, is_open: bool, has_opened: bool, *counts: Any) -> Lane:
    """A breaker that WRK_LIMITS does not name any more counts as closed, whatever its row says."""
    breaks = rule is not None and rule.breaker is not None
    is_open, has_opened = bool(breaks and is_open), bool(breaks and has_opened)
    return Lane(until_next / 1_000_000, is_open, has_opened and not is_open, *counts)


def _use_permits(rule: LimitRule, seconds: float, probe: str | None) -> None:
    """Under the limit's lock. `seconds`: by which the schedule moves on, rounded up to the clock's resolution."""
    sql, changed = dialect(), {}
    if rule.rate:
        holds = f"next_at > {sql.now} AND next_at <= {sql.later.format(f'{rule.furthest:.6f}')}"
        ticks = math.ceil(seconds * sql.ticks - 1e-3)
        since = f"CASE WHEN {holds} THEN next_at ELSE {sql.now} END"
        changed["next_at"] = sql.plus.format(since, f"{ticks / sql.ticks:.6f}")
    if probe:
        changed["probe"] = f"'{probe}'"
    if changed:
        columns = ", ".join(f"{column} = {value}" for column, value in changed.items())
        execute(f"UPDATE limits SET {columns} WHERE name = %s", [rule.name])
