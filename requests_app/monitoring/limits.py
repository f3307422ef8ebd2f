"""The state of each limit of WRK_LIMITS: its breaker, what waits for its permits and what runs by them.

By one statement, each number a range of one index and bounded; without limits by none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import dialect, from_driver, literal
from jobs_app.db.statements import fetch_all
from jobs_app.limit_rules import LimitRule
from jobs_app.models import Job
from jobs_app.models.breaker import MOST_OPEN_SECONDS
from requests_app.monitoring.backlog import MOST_COUNTED

MOST_BEFORE = 10_000  # of those that wait before one job


class Breaker(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class LimitState:
    """`failures`: ends in a row without an answer; `reason`: what the last of them said. `probe`: the claim of the job
    that tries its service. `opened_at`, `open_until`: None while its breaker is closed.

    `waiting`: jobs for a permit, `running`: by one; each up to MOST_COUNTED. `oldest`: when the first that waits was
    made; not of one that looks for an answer, which is made long before. `now`: the database's.
    """

    rule: LimitRule
    failures: int
    probe: str | None
    reason: str
    waiting: int
    running: int
    opened_at: datetime | None
    open_until: datetime | None
    oldest: datetime | None
    now: datetime

    @property
    def breaker(self) -> Breaker:
        if self.rule.breaker is None or self.open_until is None:  # what a breaker did that is none any more is over
            return Breaker.CLOSED
        seconds = (self.open_until - self.now).total_seconds()
        return Breaker.OPEN if 0 < seconds <= MOST_OPEN_SECONDS else Breaker.HALF_OPEN  # as a claim has it


def read_limits(connection: BaseDatabaseWrapper, rules: Iterable[LimitRule]) -> list[LimitState]:
    """One for each rule, in their order. Without a row, since no worker has started with it, it is closed."""
    by_name = {rule.name: rule for rule in rules}
    if not by_name:
        return []
    parts, bound = map(_of_one, by_name.values()), [value for name in by_name for value in (name, name)]
    rows = fetch_all(" UNION ALL ".join(parts), bound, on=connection)
    found = {name: _state(by_name[name], row) for name, *row in rows}
    return [found[name] for name in by_name]


def _of_one(rule: LimitRule) -> str:
    sql = dialect()
    in_lane = f"FROM jobs {sql.force('jobs_status_due')} WHERE due_at = {literal(rule.lane)} AND status"
    waiting, running = (
        f"(SELECT COUNT(*) FROM (SELECT 1 {in_lane} = '{status}' LIMIT {MOST_COUNTED}) AS counted)"
        for status in ("new", "inprogress")
    )
    made = "CASE WHEN answer_by IS NULL THEN created_at END"
    return (
        f"SELECT %s, COALESCE(l.failures, 0), l.probe, COALESCE(l.reason, ''), {waiting}, {running}, l.opened_at, "
        f"l.open_until, (SELECT {made} {in_lane} = 'new' ORDER BY id LIMIT 1), {sql.now} "
        "FROM (SELECT 1 AS one) AS one_row LEFT JOIN limits l ON l.name = %s"
    )


def _state(rule: LimitRule, row: Sequence[Any]) -> LimitState:
    failures, probe, reason, waiting, running, *moments, now = row
    opened_at, open_until, oldest = (from_driver(at) if at else None for at in moments)
    return LimitState(rule, failures, probe, reason, waiting, running, opened_at, open_until, oldest, from_driver(now))


def count_before(connection: BaseDatabaseWrapper, job: Job) -> int:
    """How many of its lane get a permit before it; one more than MOST_BEFORE when there are more."""
    before = (
        f"SELECT 1 FROM jobs {dialect().force('jobs_status_due')} WHERE status = 'new' "
        f"AND due_at = {literal(job.due_at)} AND id < %s LIMIT {MOST_BEFORE + 1}"
    )
    [[count]] = fetch_all(f"SELECT COUNT(*) FROM ({before}) AS counted", [job.pk], on=connection)
    return int(count)
