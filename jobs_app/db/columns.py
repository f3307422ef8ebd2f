"""Fields, defaults and constraints of our tables that Django has not, each right on MariaDB, MySQL and SQLite."""

from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import MYSQL, SQLITE


class UtcNow(models.Func):
    """The database's clock in UTC, to the microsecond (SQLite: millisecond); also as a column's default."""

    output_field = models.DateTimeField()

    def as_mysql(self, compiler: object, connection: object, **context: object) -> tuple[str, list[object]]:
        return MYSQL.now, []

    def as_sqlite(self, compiler: object, connection: object, **context: object) -> tuple[str, Any]:
        return SQLITE.now, []


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


def one_of(column: str, values: Iterable[str]) -> models.Q:
    """As `column__in`: SQLite makes a table of such a list, anew in each statement that a CHECK with it looks at."""
    return models.Q(*((column, value) for value in values), _connector=models.Q.OR)


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
