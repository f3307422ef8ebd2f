"""What MariaDB, MySQL and SQLite say differently, and the pieces our SQL is made of. No whole statement lives here."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from django.db import DEFAULT_DB_ALIAS, connections


@dataclass(frozen=True, slots=True)
class Dialect:
    """Pieces of SQL for one engine, as they stand in a statement of a cursor (so a literal % is doubled)."""

    now: str  # the database's clock in UTC; a plain now() would be the session's time zone
    later: str  # the same, {} seconds later: a column's, or bound
    row: str  # what a row of VALUES begins with where it is a table
    for_update: str
    skip_locked: str
    force_index: str  # holds {} where the index's name belongs
    by_id: str  # finds rows by their ids, whatever else is asked of them
    microseconds: str  # from {0} to {1}, both moments
    shard: str  # a number below {}, as far as possible another one for each connection
    add_on_duplicate: str  # ends an INSERT: where {key} is there already, {column} is added to what is there
    unix_seconds: str  # a whole number, of the column in place of {}

    def force(self, index: str) -> str:
        """Statistics mislead the optimizers into full scans with a filesort when few rows are new: name the index."""
        return self.force_index.format(index)

    @property
    def now_plus(self) -> str:
        """The database's clock, a bound number of seconds later."""
        return self.later.format("%s")


MYSQL = Dialect(
    now="UTC_TIMESTAMP(6)",
    later="UTC_TIMESTAMP(6) + INTERVAL {} SECOND",
    row="ROW",
    for_update="FOR UPDATE",
    skip_locked="FOR UPDATE SKIP LOCKED",
    force_index="FORCE INDEX ({})",
    by_id="FORCE INDEX (PRIMARY)",
    microseconds="TIMESTAMPDIFF(MICROSECOND, {0}, {1})",
    shard="MOD(CONNECTION_ID(), {})",
    # VALUES(): MySQL has a newer word for it, MariaDB has not.
    add_on_duplicate="ON DUPLICATE KEY UPDATE {column} = {column} + VALUES({column})",
    unix_seconds="TIMESTAMPDIFF(SECOND, '1970-01-01', {})",
)
MARIADB = replace(MYSQL, row="")
# A write transaction of SQLite (IMMEDIATE) holds the whole file: rows need no locks. Its clock has milliseconds.
SQLITE = Dialect(
    now="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')",
    row="",
    later="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', {} || ' seconds')",
    for_update="",
    skip_locked="",
    force_index="",
    by_id="NOT INDEXED",  # but by the id; else it would look at all rows that have the status
    microseconds="CAST(ROUND((julianday({1}) - julianday({0})) * 86400000000) AS INTEGER)",
    shard="0",
    add_on_duplicate="ON CONFLICT ({key}) DO UPDATE SET {column} = {column} + excluded.{column}",
    unix_seconds="CAST(strftime('%%s', {}) AS INTEGER)",
)


def dialect(using: str) -> Dialect:
    connection = connections[using]
    if connection.vendor != "mysql":
        return SQLITE
    return MARIADB if getattr(connection, "mysql_is_mariadb", False) else MYSQL


def database_now(using: str = DEFAULT_DB_ALIAS) -> datetime:
    """The database's clock, aware, in UTC."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {dialect(using).now}", [])
        return from_driver(cursor.fetchone()[0])


def from_driver(moment: str | datetime) -> datetime:
    """A moment that a cursor answered, aware: SQLite's is a text, the servers' are naive; all are in UTC."""
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).replace(tzinfo=UTC)


def marks(values: Collection[object]) -> str:
    """The placeholders of an IN list: `%s, %s, %s`."""
    return ", ".join(["%s"] * len(values))


def numbers(values: Iterable[int]) -> str:
    """An IN list of whole numbers as text: the driver takes longer to bind each than the server to find its row."""
    return ", ".join(map(str, map(int, values)))


def case(values: Mapping[int, object], otherwise: str = "") -> str:
    """`CASE id WHEN 7 THEN %s .. END`, its placeholders for the values: one statement for many rows' own values."""
    if not values:
        return otherwise
    whens = " ".join(f"WHEN {id_:d} THEN %s" for id_ in values)
    return f"CASE id {whens}{f' ELSE {otherwise}' if otherwise else ''} END"
