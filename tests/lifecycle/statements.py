"""Listens to every statement of this process, whichever thread's connection it is sent on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any
from unittest import mock

from django.db.backends.utils import CursorWrapper


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    params: Any


@contextmanager
def listening() -> Iterator[list[Statement]]:
    """The list grows while the block runs. BEGIN and COMMIT are not in it."""
    heard: list[Statement] = []
    lock = Lock()
    execute, executemany = CursorWrapper.execute, CursorWrapper.executemany

    def note(sql: str, params: Any) -> None:
        with lock:
            heard.append(Statement(sql, params))

    def execute_noted(self: CursorWrapper, sql: str, params: Any = None) -> Any:
        note(sql, params)
        return execute(self, sql, params)

    def executemany_noted(self: CursorWrapper, sql: str, param_list: Any) -> Any:
        note(sql, param_list)
        return executemany(self, sql, param_list)

    with (
        mock.patch.object(CursorWrapper, "execute", execute_noted),
        mock.patch.object(CursorWrapper, "executemany", executemany_noted),
    ):
        yield heard
