"""Which jobs wait for an answer, and which answers are there and not taken, each by one bounded statement.

No index has `answer_by`: the claims would pay for it. Jobs that wait are looked for among those that are `new`, in the
order of their due times: the oldest that are due, and of those due later the latest, since a backoff is short.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import dialect, from_driver, literal
from jobs_app.db.statements import fetch_all, fetch_ids
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models.pause import PARKED_FROM

MOST_READ = 10_000  # `new` jobs of each kind, and untaken answers; 60 ms in all when there are as many
_MOST_LISTED = 500  # ten pages; of a list of 1,000 ids MariaDB makes a table and sorts


@dataclass(frozen=True, slots=True)
class AwaitedAnswers:
    """Jobs that wait. `by_name`: how many. `later`: those not due, for a look or their end. `past`: no answer came.

    `oldest`: when its attempt was made. `is_cut`: there may be more, behind the rows that were read.
    """

    by_name: dict[str, int]
    later: int
    past: int
    oldest: datetime | None
    is_cut: bool

    @property
    def count(self) -> int:
        return sum(self.by_name.values())


@dataclass(frozen=True, slots=True)
class UntakenAnswers:
    """Answers that their jobs wait for now. `since`: when the oldest could have been taken first."""

    count: int
    since: datetime | None
    now: datetime


# Jobs ----------------------------------------------------------------------------------------------------------------
def read_awaited(connection: BaseDatabaseWrapper) -> AwaitedAnswers:
    is_past = f"answer_by <= {dialect().now}"
    rows = fetch_all(
        "SELECT kind, name, COUNT(*), COUNT(answer_by), MIN(CASE WHEN answer_by IS NOT NULL THEN created_at END), "
        f"COUNT(CASE WHEN {is_past} THEN 1 END) FROM ({_new_jobs()}) AS new_jobs GROUP BY kind, name",
        on=connection,
    )
    by_name, read = dict[str, int](), dict[str, int]()
    for kind, name, count, waiting, *_ in rows:
        read[kind] = read.get(kind, 0) + count
        if waiting:
            by_name[name] = by_name.get(name, 0) + waiting
    oldest = [from_driver(row[4]) for row in rows if row[4]]
    return AwaitedAnswers(
        by_name=by_name,
        later=sum(row[3] for row in rows if row[0] == "later"),
        past=sum(row[5] for row in rows),
        oldest=min(oldest, default=None),
        is_cut=any(count >= MOST_READ for count in read.values()),
    )


def awaiting_requests(*, only_past: bool = False) -> list[int]:
    """Ids of requests that have such a job, up to 500; those that are due for a look, or past, come first."""
    where = f"answer_by <= {dialect().now}" if only_past else "answer_by IS NOT NULL"
    return list(
        set(fetch_ids(f"SELECT request_id FROM ({_new_jobs()}) AS new_jobs WHERE {where} LIMIT {_MOST_LISTED}"))
    )


def _new_jobs() -> str:
    now, parked_from, lanes_from = dialect().now, literal(PARKED_FROM), literal(LANES_FROM)
    kinds = (
        ("due", f"due_at <= {now}", "ASC"),
        ("later", f"due_at > {now} AND due_at < {parked_from}", "DESC"),
        ("paused", f"due_at >= {parked_from} AND due_at < {lanes_from}", "ASC"),
        ("in_lanes", f"due_at >= {lanes_from}", "ASC"),
    )
    return " UNION ALL ".join(
        f"SELECT * FROM (SELECT '{kind}' AS kind, request_id, name, answer_by, created_at FROM jobs "
        f"{dialect().force('jobs_status_due')} WHERE status = 'new' AND {where} "
        f"ORDER BY due_at {order}, id {order} LIMIT {MOST_READ}) AS {kind}_jobs"
        for kind, where, order in kinds
    )


# Answers -------------------------------------------------------------------------------------------------------------
def read_untaken(connection: BaseDatabaseWrapper) -> UntakenAnswers:
    """Not those that came early: their job has not begun, or runs, and they stay untaken by right."""
    sql = dialect()
    # An early one can be taken since its job waits, so after its first call: of a job that has made one, the last.
    since = "CASE WHEN j.checks <= 1 AND j.started_at > a.created_at THEN j.started_at ELSE a.created_at END"
    [[count, since_, now]] = fetch_all(
        f"SELECT COUNT(*), MIN({since}), {sql.now} FROM (SELECT token, step, job, attempt, outcome, created_at "
        f"FROM answers {sql.force('answers_effect')} WHERE effect = '' ORDER BY id LIMIT {MOST_READ}) AS a "
        "JOIN requests r ON r.token = a.token "
        f"JOIN jobs j {sql.force('jobs_attempt')} ON j.request_id = r.id AND j.step = a.step AND j.name = a.job "
        "WHERE j.status = 'new' AND j.answer_by IS NOT NULL "
        "AND (a.attempt IS NULL OR a.attempt = j.attempt OR a.outcome = 'completed')",
        on=connection,
    )
    return UntakenAnswers(count, from_driver(since_) if since_ else None, from_driver(now))
