"""Database faults, sorted in one place: what to run again, when to reconnect, and what is the row's own fault."""

from enum import Enum, auto

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from jobs_app.credentials import mask_credentials

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


class Fault(Enum):
    CONTENTION = auto()  # somebody else's lock: roll back, run the whole transaction again
    LOST = auto()  # no connection, not to the writer, or to a server that has no room: reconnect, read, run again
    DATA = auto()  # the row's own fault: never run again
    OTHER = auto()


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


def waited_for_a_lock(error: BaseException) -> bool:
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
