"""The most frequent of the latest errors, counted by their fingerprints."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from jobs_app.db.dialect import dialect, from_driver
from jobs_app.registry import definition
from requests_app.fingerprints import fingerprint

LATEST = 500  # of each kind
_MOST_SHOWN = 10


class Ended(NamedTuple):
    """One row that ended badly. `kind`: failure, retry or refused. `where`: its job's name, or the request's action.

    `error_kind`: of its request, if that is Failed.
    """

    kind: str
    where: str
    error: str
    request_id: int
    at: datetime
    error_kind: str = ""


@dataclass(frozen=True, slots=True)
class FrequentError:
    """`request_id`: the latest request that has it. `at`: when that was due. `error_kind`: of the latest Failed one."""

    count: int
    kind: str
    where: str
    text: str
    request_id: int
    at: datetime
    error_kind: str


def frequent_errors() -> list[FrequentError]:
    return most_frequent(_latest())


def most_frequent(ended: Iterable[Ended]) -> list[FrequentError]:
    """The ten most frequent, by kind, place and text; of equally many the latest first."""
    groups: dict[tuple[str, str, str], list[Ended]] = {}
    for row in ended:
        groups.setdefault((row.kind, _place(row.where), fingerprint(row.error)), []).append(row)
    found = []
    for (kind, where, text), rows in groups.items():
        latest = max(rows, key=lambda row: row.at)
        of_failed = max((row for row in rows if row.error_kind), key=lambda row: row.at, default=latest)
        error = FrequentError(len(rows), kind, where, text, latest.request_id, latest.at, of_failed.error_kind)
        found.append(error)
    return sorted(found, key=lambda error: (error.count, error.at), reverse=True)[:_MOST_SHOWN]


def _place(where: str) -> str:
    """A job's name is ours; any other text was a caller's."""
    return where if definition(where) else fingerprint(where)


def _latest() -> list[Ended]:
    """One statement: of each kind the newest by their due times, through an index."""
    sql = dialect("default")
    jobs = (
        "SELECT latest.*, (SELECT error_kind FROM requests r WHERE r.id = latest.request_id) FROM "
        "(SELECT status, name, SUBSTR(error, 1, 600) AS error, request_id, due_at FROM jobs "
        f"{sql.force('jobs_status_due')} WHERE status = %s ORDER BY due_at DESC, id DESC LIMIT {LATEST}) AS latest"
    )
    refused = (
        "SELECT 'refused', action, error, id, due_at, error_kind FROM "
        "(SELECT action, SUBSTR(error, 1, 600) AS error, id, due_at, error_kind, "
        f"started_at FROM requests {sql.force('requests_status_due')} WHERE status = 'Failed' "
        f"ORDER BY due_at DESC, id DESC LIMIT {LATEST}) AS failed WHERE started_at IS NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"{jobs} UNION ALL {jobs} UNION ALL {refused}", ["failure", "retry"])
        return [Ended(*row)._replace(at=from_driver(row[4])) for row in cursor.fetchall()]
