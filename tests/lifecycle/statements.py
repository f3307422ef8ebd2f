"""Listens to every statement of this process, whichever thread's connection it is sent on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any
from unittest import mock

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    params: Any


@contextmanager
def counting_commits() -> Iterator[list[str]]:
    """A list that grows by an item for each COMMIT; statements outside of a transaction commit by themselves."""
    commits: list[str] = []
    commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

    def counted(self: BaseDatabaseWrapper) -> Any:
        commits.append(self.alias)
        return commit(self)

    with mock.patch.object(BaseDatabaseWrapper, "_commit", counted):
        yield commits


@contextmanager
def listening() -> Iterator[list[Statement]]:
    """The list grows while the block runs. BEGIN and COMMIT are not in it."""
    heard: list[Statement] = []
    lock = Lock()
    execute, executemany = CursorWrapper.execute, CursorWrapper.executemany

    def note(sql: str, params: Any) -> None:
        if not sql.startswith("BEGIN"):  # which only SQLite is told in words
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
