"""The pieces of SQL that MariaDB, MySQL and SQLite spell differently, and how values get into a statement."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from django.db import DEFAULT_DB_ALIAS, connections

from jobs_app.db.statements import fetch_all

# No moment of a request is before it: a CHECK says so, and a migration raised earlier moments to it.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Pieces of SQL for one engine. They are parts of statements with parameters, so a literal % is doubled."""

    now: str  # the database's clock in UTC; a plain now() would be the session's time zone
    later: str  # the same clock, {} seconds later
    plus: str  # the moment {0}, {1} seconds later
    row: str  # the word before each row of a VALUES that is read as a table
    for_update: str
    skip_locked: str
    force_index: str  # holds {} where the index's name belongs
    by_id: str  # makes the server look rows up by their ids, whatever else the WHERE demands of them
    microseconds: str  # how many there are from the moment {0} to the moment {1}
    shard: str  # a number below {}; connections get different ones, as far as there are enough
    add_on_duplicate: str  # ends an INSERT: if there is a row with this {key}, {column} is added to its {column}
    unix_seconds: str  # of the column {}, a whole number
    earlier: str  # of the moments {0} and {1}
    ticks: int  # of the clock, in a second
    json_part: str  # of the JSON column {}, the value at a bound path, as JSON text
    exact: str  # the moment in place of {} for a later comparison: one moment has several texts on SQLite

    def force(self, index: str) -> str:
        """Names the index: when few rows are new, the optimizers choose to read and sort the whole table instead."""
        return self.force_index.format(index)

    @property
    def now_plus(self) -> str:
        """The database's clock, a bound number of seconds later."""
        return self.later.format("%s")


MYSQL = Dialect(
    now="UTC_TIMESTAMP(6)",
    later="UTC_TIMESTAMP(6) + INTERVAL {} SECOND",
    plus="{0} + INTERVAL {1} SECOND",
    row="ROW",
    for_update="FOR UPDATE",
    skip_locked="FOR UPDATE SKIP LOCKED",
    force_index="FORCE INDEX ({})",
    by_id="FORCE INDEX (PRIMARY)",
    microseconds="TIMESTAMPDIFF(MICROSECOND, {0}, {1})",
    shard="MOD(CONNECTION_ID(), {})",
    # VALUES() is deprecated in MySQL, whose new spelling MariaDB does not know.
    add_on_duplicate="ON DUPLICATE KEY UPDATE {column} = {column} + VALUES({column})",
    earlier="LEAST({0}, {1})",
    unix_seconds="TIMESTAMPDIFF(SECOND, '1970-01-01', {})",
    ticks=1_000_000,
    json_part="JSON_EXTRACT({}, %s)",
    exact="{}",
)
MARIADB = replace(MYSQL, row="")
# A write transaction of SQLite (IMMEDIATE) holds the whole file: rows need no locks. Its clock has milliseconds.
SQLITE = Dialect(
    now="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')",
    plus="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', {0}, {1} || ' seconds')",
    row="",
    later="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', {} || ' seconds')",
    for_update="",
    skip_locked="",
    force_index="",
    by_id="NOT INDEXED",  # by no index but the id; else it would read all rows that have the status
    microseconds="CAST(ROUND((julianday({1}) - julianday({0})) * 86400000000) AS INTEGER)",
    shard="0",
    add_on_duplicate="ON CONFLICT ({key}) DO UPDATE SET {column} = {column} + excluded.{column}",
    earlier="MIN({0}, {1})",
    json_part="{} -> %s",
    unix_seconds="CAST(strftime('%%s', {}) AS INTEGER)",
    ticks=1000,
    exact="{} || ''",
)


def dialect(using: str = DEFAULT_DB_ALIAS) -> Dialect:
    connection = connections[using]
    if connection.vendor != "mysql":
        return SQLITE
    return MARIADB if getattr(connection, "mysql_is_mariadb", False) else MYSQL


def database_now() -> datetime:
    """The database's clock, aware, in UTC."""
    [[now]] = fetch_all(f"SELECT {dialect().now}")
    return from_driver(now)


def from_driver(moment: str | datetime) -> datetime:
    """A moment that a cursor answered, aware: SQLite's is a text, the servers' are naive; all are in UTC.

    What Python has no moment for (the year 0, the month 0) is EARLIEST: one such row must not end whoever reads it.
    """
    try:
        return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).replace(tzinfo=UTC)
    except ValueError:
        return EARLIEST


def literal(moment: datetime) -> str:
    """A whole second as SQL, and as the tables of every engine hold it."""
    return f"'{moment:%Y-%m-%d %H:%M:%S}'"


def marks(values: Collection[object]) -> str:
    """The placeholders of an IN list: `%s, %s, %s`."""
    return ", ".join(["%s"] * len(values))


def numbers(values: Iterable[int]) -> str:
    """An IN list of whole numbers as text: the driver takes longer to bind one than the server to find its row."""
    return ", ".join(map(str, map(int, values)))


def of_steps(steps: Iterable[tuple[int, int]], jobs: str) -> str:
    """The condition that rows of the table or alias `jobs` are of these steps: (request id, step) of each."""
    requests: dict[int, list[int]] = {}
    for request_id, step in steps:
        requests.setdefault(step, []).append(request_id)
    parts = (f"{jobs}.step = {step:d} AND {jobs}.request_id IN ({numbers(ids)})" for step, ids in requests.items())
    return " OR ".join(parts)


def case(values: Mapping[int, object], otherwise: str = "") -> str:
    """`CASE id WHEN 7 THEN %s .. END`: lets one UPDATE give each row its own value. The caller binds the values.

    `otherwise`: the SQL for rows with another id; the whole expression when there are no values.
    """
    if not values:
        return otherwise
    whens = " ".join(f"WHEN {id_:d} THEN %s" for id_ in values)
    return f"CASE id {whens}{f' ELSE {otherwise}' if otherwise else ''} END"
