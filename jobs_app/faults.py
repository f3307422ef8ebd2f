"""Database faults, sorted in one place: what to run again, when to reconnect, and what is the row's own fault."""

import logging
import random
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections

log = logging.getLogger(__name__)
T = TypeVar("T")

# Server and client error numbers: mariadb.com/kb/en/mariadb-error-codes, dev.mysql.com/doc/mysql-errors.
_CONTENTION = {1213, 1205, 1020, 3101}  # deadlock, lock wait, changed since read, certification failed
_LOST = {2002, 2003, 2006, 2013, 2026, 1053, 1927, 1040}  # gone, cut, TLS, shutting down, killed, too many
_READ_ONLY = {1290, 1836, 1047}  # a replica or a node without quorum: another address may be the writer now
_DATA = {1062, 1406, 3140, 4025, 1366, 3819, 1264, 1048, 1452}

CONTENTION_TRIES = 20
_CONTENTION_SECONDS = 0.01  # first wait; doubles, with full jitter, up to a second
_RECONNECT_SECONDS = 0.2


class Fault(Enum):
    CONTENTION = auto()  # somebody else's lock: roll back, run the whole transaction again
    LOST = auto()  # no connection, or not to the writer: reconnect, read, run again
    DATA = auto()  # the row's own fault: never run again
    OTHER = auto()


class DatabaseAway(Exception):
    """The database could not be reached within the budget. Its text is one line for the operator."""


def sort_fault(error: BaseException) -> Fault:
    """Which kind of fault a database error is, by its number on MySQL and MariaDB, by its text on SQLite."""
    if not isinstance(error, DatabaseError | InterfaceError):
        return Fault.OTHER
    number = error.args[0] if error.args else None
    if number in _CONTENTION or "database is locked" in str(error):
        return Fault.CONTENTION
    if number in _LOST | _READ_ONLY or (isinstance(error, InterfaceError) and number in {0, 2006, 2013}):
        return Fault.LOST
    if "unable to open database file" in str(error) or "disk I/O error" in str(error):
        return Fault.LOST
    return Fault.DATA if number in _DATA else Fault.OTHER


def run_transaction(work: Callable[[], T], *, seconds: float = 0, using: str = DEFAULT_DB_ALIAS) -> T:
    """Runs `work`, one whole outer transaction, and again after contention or a lost connection.

    Every move is guarded, so a run whose COMMIT was lost and had taken effect finds nothing left to do. `seconds`: how
    long a lost connection is tried again. Raises DatabaseAway after that; other errors pass through.
    """
    give_up_at = time.monotonic() + seconds
    for tries in range(1, 1_000_000):
        try:
            return work()
        except (DatabaseError, InterfaceError) as error:
            wait = _wait_after(error, tries, give_up_at)
            if sort_fault(error) is Fault.LOST:
                connections[using].close()
            log.info("database fault %s, running the transaction again", fault_line(error))
        time.sleep(wait)
    raise AssertionError("unreachable")


def _wait_after(error: DatabaseError | InterfaceError, tries: int, give_up_at: float) -> float:
    """Seconds to wait before the next try. Raises when there is none."""
    match sort_fault(error):
        case Fault.CONTENTION if tries < CONTENTION_TRIES:
            return random.uniform(0, min(1.0, _CONTENTION_SECONDS * 2**tries))  # noqa: S311 - jitter is no secret
        case Fault.LOST if time.monotonic() < give_up_at:
            return _RECONNECT_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311
        case Fault.LOST | Fault.CONTENTION:
            raise DatabaseAway(f"the database cannot be used: {fault_line(error)}") from error
    raise error


def fault_line(error: BaseException) -> str:
    """One line for people. Of a data error only the number: its text may quote the row."""
    if sort_fault(error) is Fault.DATA:
        return f"error {error.args[0]}"
    number, *rest = error.args or ("no message",)
    return " ".join(f"{rest[0]} (error {number})".split()) if rest else " ".join(str(number).split())
