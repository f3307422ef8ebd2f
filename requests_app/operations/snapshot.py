"""Reads a window of `requests` and `jobs` as both stood at one moment, for verify.py, which knows what they should be.

Raw rows, no models: a table that is to be verified may hold what no field could read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import connections, transaction

from jobs_app.db.dialect import dialect, literal
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models.pause import PARKED_FROM
from jobs_app.registry import limits_of, names
from requests_app.recipes.steps import MAX_STEPS_BYTES

_REQUESTS, _JOBS = 200, 4000  # in one window, more or less; a request is always read whole
_ANSWERS = 1000  # that have no request; more would only repeat the finding


class VerifiedRequest(NamedTuple):
    """`steps`: JSON text; None when it is NULL, or too long to read. Times: as the driver gives them."""

    id: int
    token: str
    step: int
    shortfall: int
    status: str
    has_error: bool
    due_at: Any
    created_at: Any
    started_at: Any
    completed_at: Any
    steps: str | None
    receipt: int = 0


class VerifiedJob(NamedTuple):
    request_id: int
    name: str
    step: int
    status: str
    if_fails: str
    attempt: int
    due_at: Any
    created_at: Any
    started_at: Any
    completed_at: Any
    claimed_by: str | None
    lease_until: Any
    is_astray: bool  # parked, and nothing says that its name is or was paused: nobody would bring it back
    is_in_lane: bool
    is_unseen: bool  # waits in a lane that no pass looks at: nobody would give it a permit
    last_attempt: int
    answer_by: Any
    has_waits_for: bool
    checks: int


class VerifiedAnswer(NamedTuple):
    request_id: int
    id: int
    step: int
    job: str
    attempt: int | None
    outcome: str
    effect: str
    created_at: Any


class Window(NamedTuple):
    """`last`: the last id of a request that was read; None when that was the end. `now`: the database's clock."""

    requests: list[VerifiedRequest]
    jobs: list[VerifiedJob]
    answers: list[VerifiedAnswer]
    last: int | None
    now: Any


def read_window(after: int, using: str) -> Window:
    """The requests with ids above `after`, all jobs of these ids, and all answers to them but for late ones."""
    with snapshot(using) as cursor:
        last = _last_of_window(cursor, after, using)
        ids, bound = ("{0} > %s", [after]) if last is None else ("{0} > %s AND {0} <= %s", [after, last])
        cursor.execute(
            "SELECT id, token, step, shortfall, status, TRIM(error) <> '', due_at, created_at, started_at, "
            f"completed_at, CASE WHEN LENGTH(steps) <= {MAX_STEPS_BYTES} THEN steps END, receipt FROM requests "
            f"WHERE {ids.format('id')}",
            bound,
        )
        in_lane = f"due_at >= {literal(LANES_FROM)}"
        requests = [VerifiedRequest(*row) for row in cursor.fetchall()]
        cursor.execute(
            "SELECT request_id, name, step, status, if_fails, attempt, due_at, created_at, started_at, completed_at, "
            f"claimed_by, lease_until, {_is_astray()}, {in_lane}, status = 'new' AND {in_lane} AND {_is_unseen()}, "
            f"last_attempt, answer_by, waits_for IS NOT NULL, checks FROM jobs WHERE {ids.format('request_id')}",
            bound,
        )
        jobs = [VerifiedJob(*row) for row in cursor.fetchall()]
        cursor.execute(
            "SELECT r.id, a.id, a.step, a.job, a.attempt, a.outcome, a.effect, a.created_at FROM requests r "
            f"JOIN answers a ON a.token = r.token WHERE a.effect <> 'late' AND {ids.format('r.id')} ORDER BY a.id",
            bound,
        )
        answers = [VerifiedAnswer(*row) for row in cursor.fetchall()]
        cursor.execute(f"SELECT {dialect(using).now}", [])
        return Window(requests, jobs, answers, last, cursor.fetchone()[0])


def read_answers_to_nobody(using: str) -> tuple[list[tuple[str, VerifiedAnswer]], Any]:
    """(token, answer) of the first that are not taken and have no request; and the database's clock."""
    sql = dialect(using)
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT a.token, a.id, a.step, a.job, a.attempt, a.outcome, a.effect, a.created_at, {sql.now} "
            f"FROM answers a {sql.force('answers_effect')} LEFT JOIN requests r ON r.token = a.token "
            f"WHERE a.effect = '' AND r.id IS NULL ORDER BY a.id LIMIT {_ANSWERS}",
            [],
        )
        rows = cursor.fetchall()
    return [(row[0], VerifiedAnswer(0, *row[1:-1])) for row in rows], rows[0][-1] if rows else None


def _is_astray() -> str:
    parked = f"due_at >= {literal(PARKED_FROM)} AND due_at < {literal(LANES_FROM)}"
    return f"status = 'new' AND {parked} AND name NOT IN (SELECT name FROM paused_jobs)"


def _is_unseen() -> str:
    """Of a row in a lane: of no limit that a job has, and of none before, whose lane is emptied."""
    given = [literal(rule.lane) for rule in {*limits_of(names()).values()}]
    not_given = f"due_at NOT IN ({', '.join(given)}) AND " if given else ""
    return f"{not_given}due_at NOT IN (SELECT lane FROM limits)"


@contextmanager
def snapshot(using: str) -> Iterator[Any]:
    """A cursor whose statements all see one moment. It locks no row; on SQLite, writers wait until it is done.

    Inside a caller's transaction it sees what that one sees.
    """
    connection = connections[using]
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(using=using), connection.cursor() as cursor:
        # For this transaction only: by READ COMMITTED, as everywhere else, each statement sees its own moment.
        if is_outermost and connection.vendor == "mysql":
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield cursor


def _last_of_window(cursor: Any, after: int, using: str) -> int | None:
    """Where a window ends that neither many requests nor many attempts, nor many orphans, make too large."""
    lasts = []
    for table, column, index, size in (
        ("requests", "id", "PRIMARY", _REQUESTS),
        ("jobs", "request_id", "jobs_attempt", _JOBS),
    ):
        cursor.execute(
            f"SELECT {column} FROM {table} {dialect(using).force(index)} WHERE {column} > %s "
            f"ORDER BY {column} LIMIT 1 OFFSET {size - 1}",
            [after],
        )
        lasts += cursor.fetchall()
    return min((row[0] for row in lasts), default=None)
