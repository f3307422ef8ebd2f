"""What MariaDB, MySQL and SQLite say differently, and the pieces our SQL is made of. No whole statement lives here."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

# The due time of a parked row lies this much later. A multiple of 400, after which the calendar repeats: it is exact on
# a 29 February too, and order is kept. No due time before PARKED_FROM is a parked one's, none before 2800 overflows.
PARKED_YEARS = 7200
PARKED_FROM = f"{PARKED_YEARS + 1}-01-01 00:00:00"


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
    parked: str  # the column due_at, moved by PARKED_YEARS
    unparked: str
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


_MYSQL = Dialect(
    now="UTC_TIMESTAMP(6)",
    later="UTC_TIMESTAMP(6) + INTERVAL {} SECOND",
    row="ROW",
    for_update="FOR UPDATE",
    skip_locked="FOR UPDATE SKIP LOCKED",
    force_index="FORCE INDEX ({})",
    by_id="FORCE INDEX (PRIMARY)",
    parked=f"due_at + INTERVAL {PARKED_YEARS} YEAR",
    unparked=f"due_at - INTERVAL {PARKED_YEARS} YEAR",
    microseconds="TIMESTAMPDIFF(MICROSECOND, {0}, {1})",
    shard="MOD(CONNECTION_ID(), {})",
    # VALUES(): MySQL has a newer word for it, MariaDB has not.
    add_on_duplicate="ON DUPLICATE KEY UPDATE {column} = {column} + VALUES({column})",
    unix_seconds="TIMESTAMPDIFF(SECOND, '1970-01-01', {})",
)
_MARIADB = replace(_MYSQL, row="")
# A write transaction of SQLite (IMMEDIATE) holds the whole file: rows need no locks. Its clock has milliseconds.
_SQLITE = Dialect(
    now="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')",
    row="",
    later="strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', {} || ' seconds')",
    for_update="",
    skip_locked="",
    force_index="",
    by_id="NOT INDEXED",  # but by the id; else it would look at all rows that have the status
    # Its date functions would cut the microseconds.
    parked=f"(substr(due_at, 1, 4) + {PARKED_YEARS}) || substr(due_at, 5)",
    unparked=f"printf('%%04d', substr(due_at, 1, 4) - {PARKED_YEARS}) || substr(due_at, 5)",
    microseconds="CAST(ROUND((julianday({1}) - julianday({0})) * 86400000000) AS INTEGER)",
    shard="0",
    add_on_duplicate="ON CONFLICT ({key}) DO UPDATE SET {column} = {column} + excluded.{column}",
    unix_seconds="CAST(strftime('%%s', {}) AS INTEGER)",
)


def dialect(using: str) -> Dialect:
    connection = connections[using]
    if connection.vendor != "mysql":
        return _SQLITE
    return _MARIADB if getattr(connection, "mysql_is_mariadb", False) else _MYSQL


def database_now(using: str = DEFAULT_DB_ALIAS) -> datetime:
    """The database's clock, aware, in UTC."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {dialect(using).now}", [])
        now = cursor.fetchone()[0]
    return (datetime.fromisoformat(now) if isinstance(now, str) else now).replace(tzinfo=UTC)


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


def one_of(column: str, values: Iterable[str]) -> models.Q:
    """As `column__in`: SQLite makes a table of such a list, anew in each statement that a CHECK with it looks at."""
    return models.Q(*((column, value) for value in values), _connector=models.Q.OR)


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


class SqliteTypes(models.CheckConstraint):
    """What a column's type is on the servers, a CHECK is on SQLite: that keeps any text in a column of integers.

    `moments`: columns of `YYYY-MM-DD HH:MM:SS`, with a fraction or without, compared as texts; NULL passes.
    """

    def __init__(self, *, name: str, moments: Iterable[str], integers: Iterable[str]) -> None:
        self._columns = {"moments": tuple(moments), "integers": tuple(integers)}
        super().__init__(condition=models.Q(*map(_IsMoment, moments), *map(_IsInteger, integers)), name=name)

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, _, _ = super().deconstruct()
        return path, (), {"name": self.name, **self._columns}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SqliteTypes) and self.deconstruct() == other.deconstruct()

    __hash__ = None  # type: ignore[assignment] # as of every constraint

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        """A CHECK for each column: SQLite evaluates only those of the columns that an UPDATE names."""
        if not _is_sqlite(schema_editor):
            return ""
        checks: dict[str, models.Func] = {name: _IsMoment(name) for name in self._columns["moments"]}
        checks |= {name: _IsInteger(name) for name in self._columns["integers"]}
        return ", ".join(
            str(
                models.CheckConstraint(condition=models.Q(check), name=f"{self.name}_{column}").constraint_sql(
                    model, schema_editor
                )
            )
            for column, check in checks.items()
        )

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return super().create_sql(model, schema_editor) if _is_sqlite(schema_editor) else ""

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return super().remove_sql(model, schema_editor) if _is_sqlite(schema_editor) else ""


def _is_sqlite(schema_editor: Any) -> bool:
    return bool(schema_editor.connection.vendor == "sqlite")


class _IsMoment(models.Func):
    # datetime() of a moment is the same text again, of other texts NULL; of the 31st of February it is the 3rd of March
    # (once it has to reckon: + 0). Six digits after the point are what we write, and are told at once. What datetime()
    # would round, and any other fraction, is looked at as a text.
    template = (
        "(COALESCE(datetime(%(expressions)s, '+0 seconds') = substr(%(expressions)s, 1, 19) "
        "AND %(expressions)s GLOB '*.[0-9][0-9][0-9][0-9][0-9][0-9]', %(expressions)s IS NULL) "
        "OR COALESCE(datetime(substr(%(expressions)s, 1, 19), '+0 seconds') = substr(%(expressions)s, 1, 19) "
        "AND substr(%(expressions)s, 20, 1) IN ('', '.') AND substr(%(expressions)s, 21) NOT GLOB '*[^0-9]*', 0))"
    )
    output_field = models.BooleanField()


class _IsInteger(models.Func):
    template = "(typeof(%(expressions)s) = 'integer')"
    output_field = models.BooleanField()
