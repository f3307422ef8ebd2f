"""The test database as the kit needs it: on SQLite a file, and after each test as empty as before."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from django.db import connection, connections

_MEMORY = Path("/dev/shm")  # noqa: S108 - the database has a folder of its own in it
_ROOM_BYTES = 256 * 1024**2  # a container has 64 MB there


def sqlite_in_a_file() -> Callable[[], None]:
    """Unless the settings name a test database themselves. Returns what removes it."""
    test = connections["default"].settings_dict.setdefault("TEST", {})
    if connection.vendor != "sqlite" or test.get("NAME"):
        return lambda: None
    in_memory = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    folder = tempfile.mkdtemp(prefix="tasker-test-", dir=_MEMORY if in_memory else None)
    test["NAME"] = f"{folder}/test.sqlite3"
    return lambda: shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def tables_emptied_again() -> Iterator[None]:
    """Tables without a row before have none afterwards. A flush of all takes 100 times as long."""
    before = _tables_with_rows()
    try:
        yield
    finally:
        with connection.constraint_checks_disabled(), connection.cursor() as cursor:
            for table in _tables_with_rows() - before:
                cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def _tables_with_rows() -> set[str]:
    tables = _tables()
    looks = ", ".join(f"EXISTS(SELECT 1 FROM {connection.ops.quote_name(table)})" for table in tables)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {looks}")
        return {table for table, has_rows in zip(tables, cursor.fetchone(), strict=True) if has_rows}


@cache
def _tables() -> tuple[str, ...]:
    return tuple(connection.introspection.django_table_names(only_existing=True, include_views=False))
