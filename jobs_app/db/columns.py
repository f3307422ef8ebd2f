"""Column types, defaults and CHECK constraints that Django lacks, for MariaDB, MySQL and SQLite."""

from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Cast, Left

from jobs_app.db.dialect import MYSQL, SQLITE


class _PerEngine(models.Func):
    """An expression without arguments that the engines spell differently. A literal % is doubled."""

    mysql: str
    sqlite: str

    def as_mysql(self, compiler: object, connection: object, **context: object) -> tuple[str, list[object]]:
        return self.mysql, []

    def as_sqlite(self, compiler: object, connection: object, **context: object) -> tuple[str, Any]:
        return self.sqlite, []


class UtcNow(_PerEngine):
    """The database's clock in UTC, to the microsecond (SQLite: to the millisecond); also as a column's default."""

    output_field = models.DateTimeField()
    mysql, sqlite = MYSQL.now, SQLITE.now


class NewUuid(_PerEngine):
    """A new UUID made by the database, as a column's default."""

    output_field = models.CharField(max_length=36)
    mysql = "UUID()"
    # Version 4, variant 1: RFC 9562, section 5.4.
    sqlite = (
        "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' || "
        "substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))"
    )


class EmptyObject(models.Func):
    """The JSON object {}, as a column's default."""

    output_field = models.JSONField()
    function = "JSON_OBJECT"


class CurrentUser(_PerEngine):
    """The account that inserts, `user@host` as the database knows it, as a column's default. SQLite has no accounts."""

    output_field = models.CharField(max_length=384)
    mysql, sqlite = "CURRENT_USER()", "''"


def json_text(column: str, characters: int | None = None) -> models.Func:
    """A JSON column as it stands in the table, or so many characters of it: it may be huge, or no JSON to Python."""
    text = Cast(column, models.TextField())
    return text if characters is None else Left(text, characters)


class ListLength(models.Func):
    """How many items the list in a JSON column has; NULL where it is no list, or no JSON."""

    output_field = models.IntegerField()
    template = "CASE WHEN JSON_VALID(%(expressions)s) THEN JSON_LENGTH(%(expressions)s) END"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        return super().as_sql(compiler, connection, template=self.template.replace("LENGTH", "ARRAY_LENGTH"), **context)


class ByteCharField(models.CharField):  # type: ignore[type-arg]
    """A varchar compared byte for byte on every engine: names that differ in case are different names."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": "utf8mb4_bin"} if connection.vendor == "mysql" else parameters


def one_of(column: str, values: Iterable[str]) -> models.Q:
    """The column is one of these values, for a CHECK: `a = 1 OR a = 2` in place of `column__in`.

    SQLite would build a temporary index of an IN list in every statement that writes a row.
    """
    return models.Q(*((column, value) for value in values), _connector=models.Q.OR)


# datetime(x, '+0 seconds') gives the same text again when x is a moment, NULL when it is none, and another day when
# there is no such day: the 3rd of March for the 31st of February. Before the OR stands what we write ourselves: six
# digits after the point, or NULL. After it stands a fraction of any length, or none: datetime() would round it, so its
# digits are looked at as a text.
_IS_MOMENT = (
    "(COALESCE(datetime(%(expressions)s, '+0 seconds') = substr(%(expressions)s, 1, 19) "
    "AND %(expressions)s GLOB '*.[0-9][0-9][0-9][0-9][0-9][0-9]', %(expressions)s IS NULL) "
    "OR COALESCE(datetime(substr(%(expressions)s, 1, 19), '+0 seconds') = substr(%(expressions)s, 1, 19) "
    "AND substr(%(expressions)s, 20, 1) IN ('', '.') AND substr(%(expressions)s, 21) NOT GLOB '*[^0-9]*', 0))"
)
_IS_INTEGER = "(typeof(%(expressions)s) = 'integer' OR %(expressions)s IS NULL)"
_IS_TEXT = "(typeof(%(expressions)s) <> 'blob')"


class SqliteTypes(models.CheckConstraint):
    """Makes SQLite refuse what MariaDB and MySQL refuse by a column's type: it stores any text in any column.

    `moments`: columns that hold `YYYY-MM-DD HH:MM:SS`, with or without a fraction, or NULL. SQLite compares moments
    as texts, so another spelling would be compared wrongly. `integers`: columns that hold whole numbers, or NULL.
    `texts`: columns that hold no bytes (a BLOB), which are equal to no text.
    """

    def __init__(
        self, *, name: str, moments: Iterable[str] = (), integers: Iterable[str] = (), texts: Iterable[str] = ()
    ) -> None:
        self._columns = {"moments": tuple(moments), "integers": tuple(integers), "texts": tuple(texts)}
        super().__init__(condition=models.Q(*self._checks().values()), name=name)

    def _checks(self) -> dict[str, models.Func]:
        templates = {"moments": _IS_MOMENT, "integers": _IS_INTEGER, "texts": _IS_TEXT}
        return {
            column: models.Func(column, template=templates[kind], output_field=models.BooleanField())
            for kind, columns in self._columns.items()
            for column in columns
        }

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, _, _ = super().deconstruct()
        return path, (), {"name": self.name, **self._columns}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SqliteTypes) and self.deconstruct() == other.deconstruct()

    __hash__ = None  # type: ignore[assignment] # as of every constraint

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        """One CHECK for each column: an UPDATE evaluates only the CHECKs of the columns that it sets."""
        if not _is_sqlite(schema_editor):
            return ""
        constraints = (
            models.CheckConstraint(condition=models.Q(check), name=f"{self.name}_{column}")
            for column, check in self._checks().items()
        )
        return ", ".join(str(constraint.constraint_sql(model, schema_editor)) for constraint in constraints)

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return super().create_sql(model, schema_editor) if _is_sqlite(schema_editor) else ""

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return super().remove_sql(model, schema_editor) if _is_sqlite(schema_editor) else ""


def _is_sqlite(schema_editor: Any) -> bool:
    return bool(schema_editor.connection.vendor == "sqlite")
