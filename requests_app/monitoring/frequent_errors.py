"""The most frequent of the latest errors, counted by their fingerprints."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from jobs_app.db.dialect import dialect, from_driver
from jobs_app.db.statements import fetch_all
from jobs_app.registry import definition
from requests_app.models.fingerprints import fingerprint

LATEST = 500  # of each kind
_MOST_SHOWN = 10
_MOST_FAILED_BY = 2_000  # characters of a request's error, which has a line for each job that failed


class FailedRow(NamedTuple):
    """One row that ended badly. `kind`: failure, retry or refused. `where`: its job's name, or the request's action.

    `error_kind`, `failed_by`: of its request, if that is Failed.
    """

    kind: str
    where: str
    error: str
    request_id: int
    at: datetime
    error_kind: str = ""
    failed_by: str = ""


@dataclass(frozen=True, slots=True)
class FrequentError:
    """`request_id`: the latest request that has it. `at`: when that was due.

    `error_kind`: of the latest request that is Failed by it.
    """

    count: int
    kind: str
    where: str
    text: str
    request_id: int
    at: datetime
    error_kind: str


def frequent_errors() -> list[FrequentError]:
    return most_frequent(_latest())


def most_frequent(ended: Iterable[FailedRow]) -> list[FrequentError]:
    """The ten most frequent, by kind, place and text; of equally many the latest first."""
    groups: dict[tuple[str, str, str], list[FailedRow]] = {}
    for row in ended:
        groups.setdefault((row.kind, _place(row.where), fingerprint(row.error)), []).append(row)
    found = []
    for (kind, where, text), rows in groups.items():
        latest = max(rows, key=lambda row: row.at)
        failed = (row.error_kind for row in sorted(rows, key=lambda row: row.at, reverse=True) if _failed_by(row))
        error = FrequentError(len(rows), kind, where, text, latest.request_id, latest.at, next(failed, ""))
        found.append(error)
    return sorted(found, key=lambda error: (error.count, error.at), reverse=True)[:_MOST_SHOWN]


def _failed_by(row: FailedRow) -> bool:
    """Whether its request is Failed by this error, or gave up after it: not by a later one, since it was retried."""
    if not row.error_kind or row.kind == "refused":
        return bool(row.error_kind)
    named = {fingerprint(f"{row.where} failed: {gave_up}{row.error}") for gave_up in ("", "gave up after 2 attempts: ")}
    return any(fingerprint(line) in named for line in row.failed_by.splitlines())


def _place(where: str) -> str:
    """A job's name is ours; any other text was a caller's."""
    return where if definition(where) else fingerprint(where)


def _latest() -> list[FailedRow]:
    """One statement: of each kind the newest by their due times, through an index."""
    sql = dialect()
    jobs = (
        f"SELECT latest.*, r.error_kind, SUBSTR(r.error, 1, {_MOST_FAILED_BY}) FROM "
        "(SELECT status, name, SUBSTR(error, 1, 600) AS error, request_id, due_at FROM jobs "
        f"{sql.force('jobs_status_due')} WHERE status = %s ORDER BY due_at DESC, id DESC LIMIT {LATEST}) AS latest "
        "JOIN requests r ON r.id = latest.request_id"
    )
    refused = (
        "SELECT 'refused', action, error, id, due_at, error_kind, '' FROM "
        "(SELECT action, SUBSTR(error, 1, 600) AS error, id, due_at, error_kind, "
        f"started_at FROM requests {sql.force('requests_status_due')} WHERE status = 'Failed' "
        f"ORDER BY due_at DESC, id DESC LIMIT {LATEST}) AS failed WHERE started_at IS NULL"
    )
    rows = fetch_all(f"{jobs} UNION ALL {jobs} UNION ALL {refused}", ["failure", "retry"])
    return [FailedRow(*row)._replace(at=from_driver(row[4])) for row in rows]
