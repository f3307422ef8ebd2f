"""Runs a transaction, and runs it again after contention or a lost connection. Which fault is which: faults.py."""

import contextlib
import random
import time
from collections.abc import Callable
from threading import RLock
from typing import TypeVar

import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections

from jobs_app.db.faults import Fault, fault_line, sort_fault, waited_for_a_lock

log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")

BATCH = 500  # rows of one table that one transaction changes: docs/benchmarks.md, batch_sizes
FIND_LOCKS = "docs/running.md tells how to find whose lock it is"

RECONNECT_SECONDS = 10.0  # how long a pass or a command tries a lost connection again, before it gives up
CONTENTION_TRIES = 20
_LOCK_WAIT_TRIES = 2  # each takes innodb_lock_wait_timeout (settings.py)
_CONTENTION_SECONDS = 0.01  # first wait; doubles, with full jitter, up to a second
_RECONNECT_WAIT_SECONDS = 0.2
_sqlite_turn = RLock()


class DatabaseAway(Exception):
    """The database could not be reached within the budget. Its text is one line for the operator."""


class Locked(DatabaseAway):
    """Another session held a row for longer than we wait."""


def run_transaction(work: Callable[[], T], *, seconds: float = 0, using: str = DEFAULT_DB_ALIAS) -> T:
    """Runs `work`, one whole outer transaction, and again after contention or a lost connection.

    Every move is guarded, so a run whose COMMIT was lost and had taken effect finds nothing left to do. `seconds`: how
    long a lost connection is tried again, counted from the first failure; noticing it may take `read_timeout`.
    Raises DatabaseAway after that; other errors pass through.
    """
    tries = _Tries(seconds)
    while True:
        try:
            with _turn_of(using):
                return work()
        except (DatabaseError, InterfaceError) as error:
            fault = sort_fault(error)
            if fault is Fault.LOST:
                with contextlib.suppress(DatabaseError, InterfaceError):  # one that is closed already says so
                    connections[using].close()
            wait = tries.wait_after(error, fault)
            if tries.is_news(fault_line(error)):
                log.info("transaction_again", fault=fault_line(error))
        time.sleep(wait)


def _turn_of(using: str) -> contextlib.AbstractContextManager[object]:
    """SQLite has one writer at a time, and others look again after sleeps: threads of one process line up here."""
    return _sqlite_turn if connections[using].vendor == "sqlite" else contextlib.nullcontext()


class _Tries:
    """What is left of one transaction's budget of tries, each kind of fault counted by itself."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._contended = 0
        self._give_up_at: float | None = None
        self._logged: set[str] = set()

    def is_news(self, line: str) -> bool:
        """Whether this transaction met no such fault before: a failover is hundreds of tries, and few lines."""
        is_news = line not in self._logged
        self._logged.add(line)
        return is_news

    def wait_after(self, error: DatabaseError | InterfaceError, fault: Fault) -> float:
        """Seconds to wait before the next try. Raises when there is none."""
        match fault:
            case Fault.CONTENTION if self._contended + _cost(error) < CONTENTION_TRIES:
                self._contended += _cost(error)
                most = min(1.0, _CONTENTION_SECONDS * 2**self._contended)
                return random.uniform(0, most)  # noqa: S311 - jitter is no secret
            case Fault.LOST if self._may_reconnect():
                return _RECONNECT_WAIT_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311
            case Fault.CONTENTION if waited_for_a_lock(error):
                raise Locked(f"a row is locked by another session: {fault_line(error)}; {FIND_LOCKS}") from error
            case Fault.LOST | Fault.CONTENTION:
                raise DatabaseAway(f"the database cannot be used: {fault_line(error)}") from error
        raise error

    def _may_reconnect(self) -> bool:
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + self._seconds
        return now < self._give_up_at


def _cost(error: BaseException) -> int:
    """Of CONTENTION_TRIES: a deadlock is reported immediately, a locked row after a wait."""
    return CONTENTION_TRIES // _LOCK_WAIT_TRIES if waited_for_a_lock(error) else 1
