"""The most frequent of the latest errors, counted by their fingerprints.

A fingerprint is an error's first line without what differs from one error to the next, or may be personal data.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from jobs_app.db.dialect import dialect, from_driver
from jobs_app.registry import definition
from jobs_app.telemetry.printable import first_line
from requests_app.formatting import shortened

LATEST = 500  # of each kind
_MOST_SHOWN = 10
_CHARACTERS = 160
_CALL = re.compile(r"[\w-]+ [A-Z]{3,7} /[a-z/{}_-]*(?=:)")  # as our clients write it, without an id
_ANSWERED = re.compile(r"\banswered (\d{3})\b")
_NO_JSON = re.compile(r"\bthe answer is not a JSON object\b")
_REPLACED = (  # in this order; looked for at the beginning of a word only, or a long word would take its square
    (re.compile(r"(?<![^\s\"'<>:,;])[^\s\"'<>:,;]+@[^\s\"'<>:,;]+"), "<e-mail>"),
    (re.compile(r"(?<!\w)([\"'`])(?:\\.|(?!\1).)*(?:\1|$)"), '"…"'),
    (re.compile(r"(?<![\w-])[\w-]*\d[\w-]*(?:[.:/]\d[\w-]*)*"), "#"),
)


class Ended(NamedTuple):
    """One row that ended badly. `kind`: failure, retry or refused. `where`: its job's name, or the request's action."""

    kind: str
    where: str
    error: str
    request_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class FrequentError:
    """`request_id`: the latest request that has it. `at`: when that was due."""

    count: int
    kind: str
    where: str
    text: str
    request_id: int
    at: datetime


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
        found.append(FrequentError(len(rows), kind, where, text, latest.request_id, latest.at))
    return sorted(found, key=lambda error: (error.count, error.at), reverse=True)[:_MOST_SHOWN]


def fingerprint(error: str) -> str:
    """The first line, without what differs between two such errors: numbers, names in quotes, e-mail addresses."""
    line = first_line(error)
    call = _CALL.match(line)
    ours, line, code = (call[0], line[call.end() :], "") if call else ("", line, "")
    if answered := _ANSWERED.search(line):  # what a service says besides is its own text
        line, code = line[: answered.start(1)], answered[1]
    elif no_json := _NO_JSON.search(line):
        line = line[: no_json.end()]
    for pattern, replacement in _REPLACED:
        line = pattern.sub(replacement, line)
    return shortened(ours + line + code, _CHARACTERS)


def _place(where: str) -> str:
    """A job's name is ours; any other text was a caller's."""
    return where if definition(where) else fingerprint(where)


def _latest() -> list[Ended]:
    """One statement: of each kind the newest by their due times, through an index."""
    sql = dialect("default")
    jobs = (
        "SELECT * FROM (SELECT status, name, SUBSTR(error, 1, 600) AS error, request_id, due_at FROM jobs "
        f"{sql.force('jobs_status_due')} WHERE status = %s ORDER BY due_at DESC, id DESC LIMIT {LATEST}) AS latest"
    )
    refused = (
        "SELECT 'refused', action, error, id, due_at FROM (SELECT action, SUBSTR(error, 1, 600) AS error, id, due_at, "
        f"started_at FROM requests {sql.force('requests_status_due')} WHERE status = 'Failed' "
        f"ORDER BY due_at DESC, id DESC LIMIT {LATEST}) AS failed WHERE started_at IS NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"{jobs} UNION ALL {jobs} UNION ALL {refused}", ["failure", "retry"])
        return [Ended(*row)._replace(at=from_driver(row[-1])) for row in cursor.fetchall()]
