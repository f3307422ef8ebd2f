"""`manage.py migrate` on a server of its own: engines of tables, other sessions' transactions, a migrate cut short."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import MySQLdb
import pytest
from django.conf import settings

from tests.conftest import Manage
from tests.database_server import MariaDBServer

pytestmark = pytest.mark.integration

BEFORE = ("requests_app", "0005")  # the migration after which a test begins
IMPATIENT = (
    "from jobs_app.management.commands import migrate as m; m._TURNS, m._TURN_SECONDS, m._PAUSE_SECONDS = 2, 1, 0"
)


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    with MariaDBServer(options=("--default-storage-engine=MyISAM",)) as server:
        yield server


@pytest.fixture
def root(server: MariaDBServer) -> Iterator[Any]:
    """A session on an empty database."""
    with closing(MySQLdb.connect(unix_socket=str(server.socket_path), user="root", autocommit=True)) as connection:
        query(connection, "DROP DATABASE IF EXISTS tasker")
        query(connection, "CREATE DATABASE tasker CHARACTER SET utf8mb4")
        query(connection, "USE tasker")
        yield connection


def query(connection: Any, sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def environment(server: MariaDBServer) -> dict[str, str]:
    return os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"} | server.environment()


def start_migrate(server: MariaDBServer, first: str) -> "subprocess.Popen[str]":
    """`manage.py migrate`, after the Python statements `first`."""
    program = f"import sys; {first}; sys.argv[0] = 'manage.py'; import manage; manage.main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "migrate"],
        cwd=settings.BASE_DIR,
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(server: MariaDBServer, *arguments: str) -> tuple[int, str]:
    """Its exit code and what it wrote to standard error."""
    ended = Manage(environment(server))(*arguments)
    return ended.returncode, ended.stderr


def test_every_table_is_made_as_innodb_whatever_the_servers_default_is(server: MariaDBServer, root: Any) -> None:
    assert run(server, "migrate") == (0, "")
    engines = query(root, "SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = 'tasker'")
    assert engines == (("InnoDB",),)


def test_tables_of_another_engine_stop_check_verify_and_every_pass_with_their_names(
    server: MariaDBServer, root: Any
) -> None:
    run(server, "migrate")
    query(root, "ALTER TABLE tallies ENGINE = MyISAM")
    code, said = run(server, "check", "--database", "default")
    assert (code, "tasker.E007" in said, "tallies (MyISAM)" in said) == (1, True, True)
    for command in ("verify", "run_new_requests", "run_jobs", "run_inprogress_requests", "run_worker"):
        code, said = run(server, command)
        assert (code, len(said.strip().splitlines()[-1:])) == (1, 1)
        assert "tallies is MyISAM, but only InnoDB has transactions" in said
    assert query(root, "SELECT COUNT(*) FROM passes") == ((0,),)


def test_a_transaction_of_another_session_is_waited_for_in_turns(server: MariaDBServer, root: Any) -> None:
    run(server, "migrate", *BEFORE)
    with closing(MySQLdb.connect(unix_socket=str(server.socket_path), user="root", db="tasker")) as reader:
        query(reader, "SELECT COUNT(*) FROM requests")
        process = start_migrate(server, IMPATIENT.replace("= 2, 1, 0", "= 60, 1, 0.1"))
        assert process.stderr is not None
        told = process.stderr.readline()
        query(root, "SELECT COUNT(*) FROM requests")  # who comes later waits no longer than a turn
        reader.rollback()
        _, errors = process.communicate(timeout=60)
    assert "waits for a transaction of another session" in told
    assert process.returncode == 0, errors
    assert run(server, "migrate", "--check") == (0, "")


def test_one_that_does_not_end_is_told_in_a_line_and_nothing_is_applied_later(server: MariaDBServer, root: Any) -> None:
    run(server, "migrate", *BEFORE)
    with closing(MySQLdb.connect(unix_socket=str(server.socket_path), user="root", db="tasker")) as reader:
        query(reader, "SELECT COUNT(*) FROM requests")
        process = start_migrate(server, IMPATIENT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "a transaction of another session has not ended in 2 s" in said.splitlines()[-1]
    assert run(server, "migrate") == (0, "")


def test_a_migrate_that_was_cut_short_is_told_with_the_place_of_its_remedy(server: MariaDBServer, root: Any) -> None:
    run(server, "migrate", *BEFORE)
    query(root, "CREATE TABLE paused_jobs (id INT) ENGINE = InnoDB")
    code, said = run(server, "migrate")
    assert (code, said.count("\n")) == (1, 1), said
    assert "jobs_app.0003_pause: Table 'paused_jobs' already exists (error 1050)" in said
    assert "docs/running.md#a-migrate-that-did-not-end" in said
    query(root, "DROP TABLE job_interventions, paused_jobs")  # as that place says
    assert run(server, "migrate") == (0, "")
