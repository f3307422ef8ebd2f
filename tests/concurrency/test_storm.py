"""The storm in short, on the test database or on one of its own; `make test-long` and `make chaos` run long ones."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.chaos.storm import Plan, manage, run_storm
from tests.database_server import DatabaseServerError, MariaDBServer

pytestmark = pytest.mark.integration


@pytest.fixture
def own_server() -> Iterator[MariaDBServer]:
    try:
        with MariaDBServer() as server:
            migrated = manage(server.environment(), "migrate")
            assert migrated.returncode == 0, migrated.stderr
            yield server
    except DatabaseServerError as error:
        pytest.skip(str(error))


def test_twenty_killed_processes_lose_nothing_and_repeat_only_what_they_held(transactional_db: None, tmp_path: Path):
    environment = {**os.environ, "DB_NAME": str(connection.settings_dict["NAME"])}

    report = run_storm(Plan(kills=20, requests=60, steps=3, seed=1), environment, tmp_path)

    assert report.wrong == [], str(report)
    assert report.figures["kills"] >= 20


def test_a_killed_database_loses_nothing_acknowledged_and_no_command_ends_in_a_traceback(
    own_server: MariaDBServer, tmp_path: Path
):
    plan = Plan(kills=0, database_kills=2, requests=60, seed=1)

    report = run_storm(plan, own_server.environment(), tmp_path, own_server)

    assert report.wrong == [], str(report)


def test_the_order_of_locks_holds_under_load_without_a_single_deadlock(own_server: MariaDBServer, tmp_path: Path):
    report = run_storm(Plan(kills=0, requests=100, seed=2), own_server.environment(), tmp_path)

    assert report.wrong == [], str(report)
    assert report.figures["deadlocks"] == 0  # by the server's own counter
