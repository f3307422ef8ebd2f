"""Finds requests for people: by a token or a subject, and by several filters together. Newest first, and bounded.

Returns ids. Each statement names its indexes: the optimizers would read a million rows to find the few.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs_app.db.dialect import dialect, marks
from jobs_app.db.statements import fetch_all, fetch_ids
from requests_app.models.subjects import kept_as
from requests_app.recipes import NOTIFY

MOST_FOUND = 500  # of a list of 1,000 ids MariaDB makes a table and sorts
_TOKENS = 200  # in one statement
MOST_READ = 5_000  # entries of each filter's index, newest first, of which those are chosen that the others want too


def find(text: str, most: int = MOST_FOUND) -> list[int]:
    """Requests that have this token, or are about this subject (plain); a subject that was hashed too."""
    force = dialect().force("requests_subject")
    subjects = kept_as(text)
    parts = ["SELECT id FROM requests WHERE token = %s"]
    parts += [
        f"SELECT id FROM (SELECT id FROM requests {force} WHERE subject = %s ORDER BY id DESC LIMIT {most:d}) AS s{n}"
        for n in range(len(subjects))
    ]
    return _newest(" UNION ALL ".join(parts), [text.strip(), *subjects], most) if subjects[0] else []


class RequestAbout(NamedTuple):
    id: int
    token: str
    status: str


def requests_about(subject: str) -> list[RequestAbout]:
    """All that are about this subject (plain), and behind them the notifications of their ends."""
    if not subject.strip():
        return []
    # A notification's subject is a token, which may look like somebody's subject.
    is_none = f"NOT (action = '{NOTIFY}' AND LENGTH(extras) > LENGTH('{{}}'))"
    found = _about(kept_as(subject), is_none)
    tokens = [kept for one in found for kept in kept_as(one.token)]
    pages = (tokens[start : start + _TOKENS] for start in range(0, len(tokens), _TOKENS))
    return found + [one for page in pages for one in _about(page, f"action = '{NOTIFY}'")]


def _about(subjects: Sequence[str], where: str) -> list[RequestAbout]:
    """By id: else SQLite, where no index can be named, would read the table."""
    force = dialect().force("requests_subject")
    rows = fetch_all(
        f"SELECT id, token, status FROM requests {force} WHERE subject IN ({marks(subjects)}) AND {where} ORDER BY id",
        list(subjects),
    )
    return [RequestAbout(*row) for row in rows]


def find_rows(table: str, wanted: Mapping[str, Sequence[str]], most: int = MOST_FOUND) -> list[int]:
    """Of a table, what has one of the wanted values in one of these columns, each by its index: `table_column`."""
    rows = [(column, value) for column, values in wanted.items() for value in values]
    parts = [
        f"SELECT id FROM (SELECT id FROM {table} {dialect().force(f'{table}_{column}')} "
        f"WHERE {column} = %s ORDER BY id DESC LIMIT {most:d}) AS s{number}"
        for number, (column, _) in enumerate(rows)
    ]
    return _newest(" UNION ALL ".join(parts), [value for _, value in rows], most)


@dataclass(frozen=True, slots=True)
class Filter:
    """What it demands, in SQL with its values; and the index that finds these rows, in this order."""

    where: str
    values: tuple[Any, ...]
    index: str
    order: str


def find_together(filters: Sequence[Filter], most: int = MOST_FOUND) -> list[int]:
    """Requests that all of these filters want: complete when one of them wants no more than MOST_READ."""
    parts, values = [], list[Any]()
    for number, one in enumerate(filters):
        others = [other for other in filters if other is not one]
        parts.append(
            f"SELECT id FROM (SELECT id, status, action, created_at, shortfall, error_kind, placed_by FROM requests "
            f"{dialect().force(one.index)} WHERE {one.where} ORDER BY {one.order} LIMIT {MOST_READ}) "
            f"AS f{number} WHERE {' AND '.join(other.where for other in others)}"
        )
        values += [*one.values, *(value for other in others for value in other.values)]
    return _newest(" UNION ".join(parts), values, most)


def _newest(union: str, values: list[Any], most: int) -> list[int]:
    return list(dict.fromkeys(fetch_ids(f"{union} ORDER BY id DESC LIMIT {most}", values)))
