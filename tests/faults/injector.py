"""Makes one statement fail, counted over the connections of all threads; COMMIT is a statement like the others."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

TEXTS = {
    1213: "Deadlock found when trying to get lock; try restarting transaction",
    1205: "Lock wait timeout exceeded; try restarting transaction",
    2006: "Server has gone away",
    2013: "Lost connection to server during query",
}
ROLLED_BACK, CLOSED = {1213}, {2006, 2013}


class When(Enum):
    BEFORE = auto()
    AFTER = auto()  # it took effect, and nobody says so
    FROM_THEN_ON = auto()  # that statement and all that follow, as when the database stays away


@dataclass(slots=True)
class Injector:
    """The fault at the `number`-th statement. `sql`: what that was; `seen`: how many there were."""

    number: int
    error: int = 2013
    when: When = When.BEFORE
    sql: str = ""
    seen: int = 0

    def statement(self, connection: BaseDatabaseWrapper, sql: str, execute: Callable[[], Any]) -> Any:
        if not self._is_it(sql):
            return execute()
        result = execute() if self.when is When.AFTER else None
        del result
        self._break(connection)
        raise OperationalError(self.error, TEXTS[self.error])

    def _is_it(self, sql: str) -> bool:
        with _counting:
            self.seen += 1
            if self.seen == self.number:
                self.sql = sql
            return self.seen == self.number or (self.when is When.FROM_THEN_ON and self.seen > self.number)

    def _break(self, connection: BaseDatabaseWrapper) -> None:
        """What the server did when it answers so."""
        raw = connection.connection
        if raw is None:
            return
        if self.error in CLOSED:
            assert _killer
            _killer.kill(raw.thread_id())
        elif self.error in ROLLED_BACK:
            raw.rollback()


class Killer:
    """A connection of its own that ends sessions: the server closes theirs, and rolls back what was open in them."""

    def __init__(self) -> None:
        main: Any = connections["default"]
        self._raw = main.Database.connect(**main.get_connection_params())
        self._lock = threading.Lock()

    def kill(self, session: int) -> None:
        with self._lock, contextlib.suppress(self._raw.OperationalError):  # it is gone already
            self._raw.query(f"KILL CONNECTION {session}")

    def close(self) -> None:
        self._raw.close()


_killer: Killer | None = None
_counting = threading.Lock()
_injector: Injector | None = None


def _wrap(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    if _injector is None:
        return execute(sql, params, many, context)
    return _injector.statement(context["connection"], sql, lambda: execute(sql, params, many, context))


def _on_new_connection(connection: BaseDatabaseWrapper, **_: object) -> None:
    if _wrap not in connection.execute_wrappers:
        connection.execute_wrappers.append(_wrap)


@contextlib.contextmanager
def every_connection_counts() -> Iterator[None]:
    """While this is open, `injected` reaches the statements of all threads."""
    global _killer  # noqa: PLW0603
    _killer = killer = Killer()
    wrapper: Any = BaseDatabaseWrapper
    commit = wrapper._commit

    def counted_commit(self: BaseDatabaseWrapper) -> Any:
        if _injector is None:
            return commit(self)
        return _injector.statement(self, "COMMIT", lambda: commit(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wrapper, "_commit", counted_commit)
        connection_created.connect(_on_new_connection)
        _on_new_connection(connections["default"])  # this thread's is there already
        try:
            yield
        finally:
            connection_created.disconnect(_on_new_connection)
            connections["default"].execute_wrappers.remove(_wrap)
            killer.close()


@contextlib.contextmanager
def injected(injector: Injector) -> Iterator[Injector]:
    global _injector  # noqa: PLW0603 - one at a time, for all threads
    _injector = injector
    try:
        yield injector
    finally:
        _injector = None
