"""The private MariaDB: it starts, keeps what it acknowledged through a kill, and leaves nothing behind."""

import os
import subprocess
import sys

import MySQLdb
import pytest

from tests.database_server import DB_NAMES, MariaDBServer

pytestmark = pytest.mark.integration


def _query(server: MariaDBServer, statement: str) -> tuple[tuple[object, ...], ...]:
    given = server.environment()
    connection = MySQLdb.connect(
        unix_socket=given["DB_HOST"], user=given["DB_USER"], password=given["DB_PASS"], database=given["DB_NAME"]
    )
    try:
        cursor = connection.cursor()
        cursor.execute(statement)
        connection.commit()
        return tuple(cursor.fetchall())
    finally:
        connection.close()


def test_what_was_committed_outlives_a_kill_and_the_server_leaves_nothing_behind():
    with MariaDBServer() as server:
        folder = server.folder
        _query(server, "CREATE TABLE kept (number INT)")
        _query(server, "INSERT INTO kept VALUES (7)")
        server.kill()
        server.restart()
        assert _query(server, "SELECT number FROM kept") == ((7,),)
    assert not folder.exists()


def test_its_clock_is_not_utc_so_that_a_plain_now_shows():
    with MariaDBServer() as server:
        assert _query(server, "SELECT @@time_zone") == (("+09:00",),)


def test_the_wrapper_hands_on_the_exit_code_and_ends_the_server():
    program = "import os, sys; print(os.environ['DB_HOST']); sys.exit(7)"
    ended = _wrap({}, sys.executable, "-c", program)
    assert ended.returncode == 7
    assert ended.stdout.endswith("/s\n")


def test_the_wrapper_wants_all_of_the_database_variables_or_none():
    ended = _wrap({"DB_USER": "tasker"}, "true")
    assert ended.returncode == 1
    assert "set all five" in ended.stderr


def test_the_wrapper_uses_the_server_that_is_given():
    given = dict.fromkeys(DB_NAMES, "given")
    ended = _wrap(given, sys.executable, "-c", "import os; print(os.environ['DB_HOST'])")
    assert ended.stdout == "given\n"


def _wrap(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.database_server", "--", *command],
        env=environment | {"PATH": os.environ["PATH"]},  # and no other DB_*: this very test may run on a server
        capture_output=True,
        text=True,
        check=False,
    )
