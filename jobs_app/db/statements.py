"""Runs a statement of SQL of our own, in whatever transaction is open."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper


def fetch_all(sql: str, values: Sequence[Any] = (), *, on: BaseDatabaseWrapper | None = None) -> list[Any]:
    """A tuple for each row. `on`: a connection other than the thread's own, such as a probe's."""
    with (on or connection).cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def fetch_ids(sql: str, values: Sequence[Any] = ()) -> list[int]:
    return [id_ for (id_,) in fetch_all(sql, values)]


def execute(sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
    """Returns how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.rowcount)
