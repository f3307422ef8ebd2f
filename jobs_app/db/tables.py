"""Whether the project's tables can keep what their moves rely on: transactions and row locks, which InnoDB has."""

from typing import Any

from django.apps import apps
from django.db import connection

from jobs_app.db.dialect import marks


class TablesUnfit(Exception):
    """Nothing may run on these tables. Its text is a sentence for the operator."""


def tables_of_other_engines(connection: Any) -> dict[str, str]:
    """The project's tables that are not InnoDB, with the engine that they are of."""
    if connection.vendor != "mysql":
        return {}
    names = sorted({"django_migrations", *(model._meta.db_table for model in apps.get_models())})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = DATABASE() "
            f"AND engine <> 'InnoDB' AND table_name IN ({marks(names)}) ORDER BY table_name",
            names,
        )
        return dict(cursor.fetchall())


def demand_fit_tables() -> None:
    """Raises TablesUnfit."""
    if others := tables_of_other_engines(connection):
        named = ", ".join(f"{table} is {engine}" for table, engine in others.items())
        raise TablesUnfit(f"{named}, but only InnoDB has transactions: see docs/running.md#tables-that-are-not-innodb")
