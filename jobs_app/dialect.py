"""What MariaDB, MySQL and SQLite say differently, and the pieces our SQL is made of. No whole statement lives here."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper


@dataclass(frozen=True, slots=True)
class Dialect:
    """Pieces of SQL for one engine, as they stand in a statement of a cursor (so a literal % is doubled)."""

    now: str  # the database's clock in UTC; a plain now() would be the session's time zone
    now_plus: str  # the same, a bound number of seconds later
    for_update: str
    skip_locked: str
    force_index: str  # holds {} where the index's name belongs

    def force(self, index: str) -> str:
        """Statistics mislead the optimizers into full scans with a filesort when few rows are new: name the index."""
        return self.force_index.format(index)


_MYSQL = Dialect(
    now="UTC_TIMESTAMP(6)",
    now_plus="UTC_TIMESTAMP(6) + INTERVAL %s SECOND",
    for_update="FOR UPDATE",
    skip_locked="FOR UPDATE SKIP LOCKED",
    force_index="FORCE INDEX ({})",
)
# A write transaction of SQLite (IMMEDIATE) holds the whole file: rows need no locks. Its clock has milliseconds.
_SQLITE = Dialect(
    now="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')",
    now_plus="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', %s || ' seconds')",
    for_update="",
    skip_locked="",
    force_index="",
)


def dialect(using: str) -> Dialect:
    return _MYSQL if connections[using].vendor == "mysql" else _SQLITE


def database_now(using: str = DEFAULT_DB_ALIAS) -> datetime:
    """The database's clock, aware, in UTC."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {dialect(using).now}", [])
        now = cursor.fetchone()[0]
    return (datetime.fromisoformat(now) if isinstance(now, str) else now).replace(tzinfo=UTC)


def marks(values: Collection[object]) -> str:
    """The placeholders of an IN list: `%s, %s, %s`."""
    return ", ".join(["%s"] * len(values))


def case(values: Collection[object], otherwise: str = "", column: str = "id") -> str:
    """`CASE id WHEN .. THEN .. END`, its placeholders for `case_values`: one statement for many rows' own values."""
    if not values:
        return otherwise
    return f"CASE {column} {' '.join(['WHEN %s THEN %s'] * len(values))}{f' ELSE {otherwise}' if otherwise else ''} END"


def case_values(values: Mapping[Any, Any]) -> Iterable[Any]:
    return (part for pair in values.items() for part in pair)


class UtcNow(models.Func):
    """The database's clock in UTC, to the microsecond (SQLite: millisecond); also as a column's default."""

    output_field = models.DateTimeField()

    def as_mysql(self, compiler: object, connection: object, **context: object) -> tuple[str, list[object]]:
        return _MYSQL.now, []

    def as_sqlite(self, compiler: object, connection: object, **context: object) -> tuple[str, Any]:
        return _SQLITE.now, []


class NewUuid(models.Func):
    """A new UUID made by the database, as a column's default."""

    output_field = models.CharField(max_length=36)

    def as_mysql(self, compiler: object, connection: object, **context: object) -> tuple[str, list[object]]:
        return "UUID()", []

    def as_sqlite(self, compiler: object, connection: object, **context: object) -> tuple[str, Any]:
        # Version 4, variant 1: RFC 9562, section 5.4.
        return (
            "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' || "
            "substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))"
        ), []


class EmptyObject(models.Func):
    """The JSON object {}, as a column's default."""

    output_field = models.JSONField()
    function = "JSON_OBJECT"


class ByteCharField(models.CharField):  # type: ignore[type-arg]
    """A varchar compared byte for byte on every engine: names that differ in case are different names."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": "utf8mb4_bin"} if connection.vendor == "mysql" else parameters
