"""Ends the worker at one of its commits: from then on its threads write nothing, call nobody and begin nothing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_THREADS = {"callbacks", "async-callbacks", "completer"}  # of the engine
_JOIN_SECONDS = 60.0
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")
_SQL_CHARACTERS = 70


class Killed(BaseException):
    """Where the process would have ended. No `except Exception` of a callback is to hold it up."""


class Kill:
    """The end of the process at the `number`-th commit of a play, right before it or right after it.

    A commit is that of a transaction, or a statement that is one by itself; also those of callbacks. Not those of the
    table `passes`, which say nothing of the request. `place`: where it was, once it has happened. 0: it never does.
    """

    def __init__(self, number: int = 0, *, after: bool = False) -> None:
        self._number, self._after = number, after
        self._seen = 0
        self._lock = threading.Lock()
        self._is_dead = self._is_in_force = False
        self._last_write = threading.local()
        self._pass_name = ""
        self.place = ""

    @contextmanager
    def over(self, pass_name: str) -> Iterator[None]:
        """Around one pass. Where the process is killed the pass just ends, and nothing of it is left running."""
        if not self._number or self.place:
            yield
            return
        before, self._pass_name = set(threading.enumerate()), pass_name
        try:
            with self._in_force():
                try:
                    yield
                finally:
                    _join({thread for thread in threading.enumerate() if thread.name in _THREADS} - before)
        except Killed:
            connections.close_all()
        finally:
            self._is_dead = False

    def raise_if_dead(self) -> None:
        if self._is_dead:
            raise Killed

    @property
    def is_dead(self) -> bool:
        return self._is_dead

    @contextmanager
    def _in_force(self) -> Iterator[None]:
        commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined] # django-stubs leaves it out

        def committed(connection: BaseDatabaseWrapper) -> Any:
            return self._commit(connection, getattr(self._last_write, "sql", ""), lambda: commit(connection))

        def on_new_connection(connection: BaseDatabaseWrapper, **_: object) -> None:
            if self._execute not in connection.execute_wrappers:
                connection.execute_wrappers.append(self._execute)

        here = connections.all(initialized_only=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BaseDatabaseWrapper, "_commit", committed)
            connection_created.connect(on_new_connection)
            for connection in here:
                on_new_connection(connection)
            self._is_in_force = True
            try:
                yield
            finally:
                self._is_in_force = False
                connection_created.disconnect(on_new_connection)
                for connection in here:
                    connection.execute_wrappers.remove(self._execute)

    def _execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        self.raise_if_dead()
        connection: BaseDatabaseWrapper = context["connection"]
        if not self._is_in_force:  # the connection is of a thread that lives on, such as asgiref's
            return execute(sql, params, many, context)
        if not sql.lstrip().startswith(_WRITES) or connection.ops.quote_name("passes") in sql:
            return execute(sql, params, many, context)
        if connection.in_atomic_block:
            self._last_write.sql = sql
            return execute(sql, params, many, context)
        return self._commit(connection, sql, lambda: execute(sql, params, many, context))

    def _commit(self, connection: BaseDatabaseWrapper, sql: str, commit: Callable[[], Any]) -> Any:
        with self._lock:
            self.raise_if_dead()
            self._seen += 1
            is_it = self._seen == self._number
        if not is_it:
            return commit()
        if self._after:
            commit()
        self._is_dead = True
        if connection.connection is not None:  # else Django's way back to autocommit would commit
            connection.connection.rollback()
        when, wrote = "after" if self._after else "before", " ".join(sql.split())[:_SQL_CHARACTERS]
        self.place = f"right {when} commit {self._number} ({self._pass_name}: {wrote} ...)"
        raise Killed


def _join(threads: set[threading.Thread]) -> None:
    for thread in threads:
        thread.join(_JOIN_SECONDS)
        if thread.is_alive():
            pytest.fail(f"tasker: a callback still runs {_JOIN_SECONDS:g} seconds after its worker was killed")
