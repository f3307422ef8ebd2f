"""Tables that are not new: nothing else makes a pass late that never succeeded."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from jobs_app.db.dialect import database_now


def tables_made_at(moment: datetime) -> None:
    MigrationRecorder(connection).migration_qs.filter(app="jobs_app").update(applied=moment)


@pytest.fixture
def old_tables(db: None) -> Iterator[datetime]:
    """Made 100 days ago. Undone afterwards: no test's clean-up touches the table of migrations."""
    at = database_now().replace(microsecond=0) - timedelta(days=100)
    tables_made_at(at)
    yield at
    tables_made_at(database_now())
