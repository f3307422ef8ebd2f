"""Limits of services: the table `limits`, and the moves of jobs that need a permit.

A due job of a limit waits in its lane: due at one moment far away, so that no claim reads past it. Who holds the row of
its limit gives permits. Rules: jobs_app/limit_rules.py; guards and locks: docs/moves.md.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from enum import Enum, auto
from typing import Any, ClassVar, NamedTuple, TypeVar

import structlog
from django.conf import settings
from django.db import connections, models, transaction

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow
from jobs_app.db.dialect import dialect, literal, marks, numbers
from jobs_app.limit_rules import LimitRule
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.registry import limits_of
from jobs_app.telemetry.printable import first_line

Row = TypeVar("Row", bound=models.Model)  # Job, whose file imports this one
log = structlog.stdlib.get_logger(__name__)

MOST_OPEN_SECONDS = 900.0
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


class LimitMoves(models.QuerySet[Row]):
    """Part of JobQuerySet: the moves of jobs that need a permit. Their lane: `Claims.claim`, `insert_jobs`."""

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


class _Says(Enum):
    """What an attempt's end says of its service."""

    NOTHING = auto()  # it was not asked, or we cut the attempt short
    ANSWERED = auto()
    SILENT = auto()  # no answer, or a 5xx
    UNCLEAR = auto()  # a bug, a timeout of ours, or it asked for patience


def _says(result: Result) -> _Says:
    if result.ran_microseconds is None:
        return _Says.NOTHING
    if result.is_unavailable:
        return _Says.SILENT
    if result.status != JobStatus.RETRY:
        return _Says.ANSWERED
    was_stopped = result.last_attempt > result.job.last_attempt  # a restart of ours
    return _Says.NOTHING if was_stopped else _Says.UNCLEAR


class LimitQuerySet(models.QuerySet["Limit"]):
    def ensure(self, rules: Iterable[LimitRule]) -> None:
        """A row for each: who gives permits locks it."""
        self.bulk_create([Limit(name=rule.name, lane=rule.lane) for rule in rules], ignore_conflicts=True)

    def count_ends(self, results: Sequence[Result]) -> None:
        """Opens and closes breakers by how these attempts ended, in the transaction that records them.

        Without a statement for jobs without a breaker; while all is well by one that locks nothing.
        """
        rules = {name: rule for name, rule in limits_of(r.job.name for r in results).items() if rule.breaker}
        if not rules:
            return
        by_limit: dict[str, list[Result]] = {}
        for result in results:
            if result.job.name in rules and _says(result) is not _Says.NOTHING:
                by_limit.setdefault(rules[result.job.name].name, []).append(result)
        found = self.filter(name__in=by_limit).values_list("name", "failures", "open_until")
        ill = {name for name, failures, open_until in found if failures or open_until}
        ill |= {name for name, ends in by_limit.items() if any(_says(end) is _Says.SILENT for end in ends)}
        by_name = {rule.name: rule for rule in rules.values()}
        for name in sorted(ill):
            self._judge(by_name[name], by_limit[name])

    def _judge(self, rule: LimitRule, ends: Sequence[Result]) -> None:
        if not (limit := self.select_for_update().filter(name=rule.name).first()):
            return
        if limit.open_until is None:
            self._count(limit, rule, ends)
        elif probes := [end for end in ends if end.job.claim == limit.probe]:  # others began before it opened
            self._judge_probe(limit, probes[-1])

    def _count(self, limit: "Limit", rule: LimitRule, ends: Sequence[Result]) -> None:
        in_a_row = next((n for n, end in enumerate(reversed(ends)) if _says(end) is not _Says.SILENT), None)
        failures = limit.failures + len(ends) if in_a_row is None else in_a_row
        if failures >= (rule.breaker or failures + 1):
            silent = [end for end in ends if _says(end) is _Says.SILENT]
            self._open(limit, failures, limit.openings + 1, first_line(silent[-1].error))
        elif failures != limit.failures:
            self.filter(name=rule.name).update(failures=failures)

    def _judge_probe(self, limit: "Limit", probe: Result) -> None:
        """Its success closes the breaker. Silent, it opens it for twice the time; unclear, for the same time again."""
        says = _says(probe)
        if says is _Says.ANSWERED:
            self.filter(name=limit.name).update(
                failures=0, openings=0, opened_at=None, open_until=None, probe=None, reason=""
            )
            log.warning("limit_closed", limit=limit.name)
        else:
            more = 1 if says is _Says.SILENT else 0
            self._open(limit, limit.failures + more, limit.openings + more, first_line(probe.error))

    def _open(self, limit: "Limit", failures: int, openings: int, reason: str) -> None:
        seconds = min(MOST_OPEN_SECONDS, settings.WRK_BREAKER_SECONDS * 2.0 ** min(openings - 1, 32))
        self.filter(name=limit.name).update(
            failures=failures,
            openings=openings,
            opened_at=limit.opened_at or UtcNow(),
            open_until=UtcNow() + timedelta(seconds=seconds),
            probe=None,
            reason=reason,
        )
        log.warning("limit_opened", limit=limit.name, seconds=seconds, failures=failures)


class Limit(models.Model):
    """One limit over all processes, as WRK_LIMITS names it. Its row's lock is held while permits are given.

    `next_at`: when the next permit would be due if they were spaced evenly (GCRA's theoretical arrival time).
    `lane`: the due time of its jobs that wait for a permit, or run by one. `failures`: ends in a row without an answer.
    Its breaker is closed while `open_until` is NULL, open before it, half-open after it: then `probe` is the claim of
    the one job that tries. `openings`: how often in a row it opened. `reason`: what the last of these ends said.
    """

    name = ByteCharField(max_length=50, primary_key=True)
    lane = models.DateTimeField()
    next_at = models.DateTimeField(db_default=UtcNow())
    failures = models.IntegerField(db_default=0)
    openings = models.IntegerField(db_default=0)
    opened_at = models.DateTimeField(null=True, blank=True)
    open_until = models.DateTimeField(null=True, blank=True)
    probe = models.CharField(max_length=36, null=True, blank=True)  # noqa: DJ001 - no claim is NULL, as of jobs
    reason = models.TextField(blank=True, db_default="")

    objects: ClassVar[LimitQuerySet] = LimitQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "limits"
        constraints: ClassVar = [
            SqliteTypes(
                name="limits_types",
                moments=("lane", "next_at", "opened_at", "open_until"),
                integers=("failures", "openings"),
            ),
        ]

    def __str__(self) -> str:
        return str(self.name)
