"""The column `traceparent`: any caller's INSERT leaves it out, and a table in use gets it without being copied."""

import importlib

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RemoveField

from requests_app.models import Request
from tests.factories import insert_raw

pytestmark = pytest.mark.django_db(transaction=True)


def test_whoever_leaves_it_out_begins_no_trace() -> None:
    assert Request.objects.get(pk=insert_raw("delete_user")).traceparent == ""


@pytest.mark.integration
def test_it_is_added_to_a_table_in_use_at_once() -> None:
    """The server refuses what it cannot do so."""
    today = MigrationLoader(connection).project_state()
    before = today.clone()
    removal = RemoveField("request", "traceparent")
    removal.state_forwards("requests_app", before)
    with connection.schema_editor() as editor:
        removal.database_forwards("requests_app", editor, today, before)
    [addition] = importlib.import_module("requests_app.migrations.0018_traceparent").Migration.operations
    with connection.schema_editor(collect_sql=True) as collected:
        addition.database_forwards("requests_app", collected, before, today)
    [statement] = [line.rstrip(";") for line in collected.collected_sql if line.startswith("ALTER")]
    old = insert_raw("delete_user")
    with connection.cursor() as cursor:
        cursor.execute(f"{statement}, ALGORITHM=INSTANT")
    assert Request.objects.get(pk=old).traceparent == ""
    assert Request.objects.get(pk=insert_raw("delete_user")).traceparent == ""
