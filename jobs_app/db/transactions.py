"""Database faults, sorted in one place: what to run again, when to reconnect, and what is the row's own fault."""

import contextlib
import random
import time
from collections.abc import Callable
from enum import Enum, auto
from threading import RLock
from typing import TypeVar

import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, DataError, IntegrityError, InterfaceError, connections

from jobs_app.credentials import mask_credentials

log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")

BATCH = 500  # rows of one table that one transaction changes: docs/benchmarks.md, batch_sizes

# Server and client error numbers: mariadb.com/kb/en/mariadb-error-codes, dev.mysql.com/doc/mysql-errors.
# Deadlock, lock wait, changed since read, certification failed, no room for locks, table altered, too many active
# transactions.
_CONTENTION = {1213, 1205, 1020, 3101, 1206, 1412, 1637}
_LOCK_WAIT = {1205, 3572}  # of these, those that took a whole lock wait, or would have
_CLIENT = range(2000, 3000)  # the client library's own numbers: gone, cut, no address, TLS, out of step, ...
_CONNECTION = {
    *(1053, 1927, 3169, 4031, 1317),  # the server is stopping, or it ended the session or the statement
    *(1040, 1203, 1226, 1129),  # too many connections, in all or of this user; the host is blocked
    *(1158, 1159, 1160, 1161, 1152, 1184),  # the server's side of a cut
    *(1969, 3024),  # longer than the server lets a statement take
}
_READ_ONLY = {1290, 1836, 3100}  # 1290: also of other options of the server; who writes rows meets this one
# A replica, or a node without quorum: another address may be the writer now.
_NOT_THE_WRITER = {1290, 1836, 1047, 3100, 1180, 3032, 3796, 3797, 3798}
# The server lacks disk or memory. Errors below 1000 are its files'. Seen on a full disk: 3, 1021, 1026, 1030, 1114.
_NO_ROOM = {1021, 1026, 1030, 1037, 1038, 1041, 1114, 1135}
_FILES = range(1, 1000)
_SQLITE_CONTENTION = ("database is locked",)
_SQLITE_READ_ONLY = ("attempt to write a readonly database",)
_SQLITE_LOST = (
    "unable to open database file",
    "disk I/O error",
    "database or disk is full",
    *_SQLITE_READ_ONLY,
)
# Those that Django does not raise as DataError or IntegrityError: bad JSON, wrong value, packet too large.
_DATA = {1062, 1406, 3140, 4025, 1366, 3819, 1264, 1048, 1452, 1292, 1153, 2020}

_TABLES_MISSING = {1146, 1054}  # no such table, unknown column
_SQLITE_TABLES_MISSING = ("no such table", "no such column")
MIGRATE = "the database's tables are missing or old: run `python manage.py migrate`"

FIND_LOCKS = "docs/running.md tells how to find whose lock it is"

RECONNECT_SECONDS = 10.0  # how long a pass or a command tries a lost connection again, before it gives up
CONTENTION_TRIES = 20
_LOCK_WAIT_TRIES = 2  # each takes innodb_lock_wait_timeout (settings.py)
_CONTENTION_SECONDS = 0.01  # first wait; doubles, with full jitter, up to a second
_RECONNECT_WAIT_SECONDS = 0.2
_sqlite_turn = RLock()


class Fault(Enum):
    CONTENTION = auto()  # somebody else's lock: roll back, run the whole transaction again
    LOST = auto()  # no connection, not to the writer, or to a server that has no room: reconnect, read, run again
    DATA = auto()  # the row's own fault: never run again
    OTHER = auto()


class DatabaseAway(Exception):
    """The database could not be reached within the budget. Its text is one line for the operator."""


class Locked(DatabaseAway):
    """Another session held a row for longer than we wait."""


def sort_fault(error: BaseException) -> Fault:
    """Which kind of fault a database error is, by its number on MySQL and MariaDB, by its text on SQLite."""
    if not isinstance(error, DatabaseError | InterfaceError):
        return Fault.OTHER
    number = error.args[0] if error.args else None
    if number in _DATA or isinstance(error, DataError | IntegrityError):
        return Fault.DATA
    if number in _CONTENTION or _says(error, _SQLITE_CONTENTION):
        return Fault.CONTENTION
    # InterfaceError is the driver's word for a connection that it has closed already.
    if isinstance(error, InterfaceError) or _is_lost(number) or _says(error, _SQLITE_LOST):
        return Fault.LOST
    return Fault.OTHER


def is_read_only(error: BaseException) -> bool:
    """Whether the database answers, and takes no writes."""
    return bool(error.args and error.args[0] in _READ_ONLY) or _says(error, _SQLITE_READ_ONLY)


def _is_lost(number: object) -> bool:
    return isinstance(number, int) and (
        number in _CLIENT or number in _FILES or number in _CONNECTION | _NOT_THE_WRITER | _NO_ROOM
    )


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    return any(text in str(error) for text in texts)


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
            case Fault.CONTENTION if _waited_for_a_lock(error):
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
    return CONTENTION_TRIES // _LOCK_WAIT_TRIES if _waited_for_a_lock(error) else 1


def _waited_for_a_lock(error: BaseException) -> bool:
    return bool(error.args and error.args[0] in _LOCK_WAIT) or _says(error, _SQLITE_CONTENTION)


def fault_line(error: BaseException) -> str:
    """One line for people, which is `MIGRATE` if that helps. Of a data error the number: its text may quote the row."""
    if sort_fault(error) is Fault.DATA:
        return f"error {error.args[0]}"
    if isinstance(error, DatabaseError) and (
        (error.args and error.args[0] in _TABLES_MISSING) or _says(error, _SQLITE_TABLES_MISSING)
    ):
        return MIGRATE
    number, *rest = error.args or ("no message",)
    return mask_credentials(" ".join((f"{rest[0]} (error {number})" if rest else str(number)).split()))
