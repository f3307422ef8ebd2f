"""The database has no room left, and later has it again: commands say so in one line, no job is blamed for it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, connections
from django.db.backends.signals import connection_created

from jobs_app.db import transactions
from jobs_app.outcomes import JobContext, Json
from jobs_app.registry import job, unregister
from tests.database_server import MariaDBServer
from tests.depth import LONG
from tests.faults.clock import HastyClock
from tests.faults.life import PASSES, Life, steps

REQUESTS = 40
# Whether the server finds the room that dropping a table takes in a file that is full to its last page, is luck of its
# own, one in four: a full disk is the same to us, and it always comes back from that.
IN_ONE_FILE = pytest.param(
    "tablespace", marks=[pytest.mark.long, pytest.mark.skipif(not LONG, reason="the server's luck: make test-long")]
)
ROOM_SECONDS = 60.0  # a dropped table's pages are free when the server gets round to it


class Room(Protocol):
    """What a database is on: `fill` leaves no room in it, `empty` gives it back."""

    def fill(self) -> None: ...

    def empty(self) -> None: ...


class Tablespace:
    """InnoDB's one file, which may not grow beyond some megabytes: the server answers 1114, as on a full disk."""

    options = ("--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend:max:80M")

    def fill(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE filler (id INT AUTO_INCREMENT PRIMARY KEY, filling LONGBLOB)")
            for size in (14_000, 100):
                with contextlib.suppress(DatabaseError):
                    while True:
                        cursor.execute("INSERT INTO filler (filling) VALUES (REPEAT('x', %s))", [size])

    def empty(self) -> None:
        until = time.monotonic() + ROOM_SECONDS
        while still := self._refusal():
            assert time.monotonic() < until, still
            time.sleep(0.1)

    def _refusal(self) -> str:
        with connection.cursor() as cursor:
            try:
                cursor.execute("DROP TABLE IF EXISTS filler")
                cursor.execute("DROP TABLE IF EXISTS probe")
                cursor.execute("CREATE TABLE probe AS SELECT REPEAT('x', 8000000) AS filling")
                cursor.execute("DROP TABLE probe")
            except DatabaseError as error:
                connection.close()  # the server may have gone for want of room, and come again
                return str(error)
        return ""


class Disk:
    """A small file system of its own; mounting it takes root."""

    options = ()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "filling"

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        mount = ["mount", "-t", "tmpfs", "-o", "size=180M", "none", str(self._folder)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a file system takes root")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(self._folder)], check=True)

    def fill(self) -> None:
        with self._file.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def empty(self) -> None:
        self._file.unlink()


class Pages:
    """SQLite, told on each connection how many pages its file may have."""

    def __init__(self) -> None:
        self.most: int | None = None

    def limit(self, connection: Any, **_: object) -> None:
        if self.most and connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA max_page_count = {self.most}")

    def fill(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM")  # pages that tests before this one freed are room, too
            self.most = cursor.execute("PRAGMA page_count").fetchone()[0]
        connection.close()

    def empty(self) -> None:
        self.most = None
        connection.close()


@pytest.fixture
def pages() -> Iterator[Pages]:
    pages = Pages()
    connection_created.connect(pages.limit)
    yield pages
    connection_created.disconnect(pages.limit)
    connection.close()


@pytest.fixture
def small_server(request: pytest.FixtureRequest, transactional_db: None, tmp_path: Path) -> Iterator[Room]:
    """A MariaDB of its own on little room, with our tables, and this process on it."""
    with contextlib.ExitStack() as stack:
        room: Tablespace | Disk = Tablespace()
        if request.param == "disk":
            room = Disk(tmp_path)
            stack.enter_context(room.mounted())
        server = stack.enter_context(MariaDBServer(options=room.options, parent=tmp_path))
        stack.enter_context(_this_process_on(server))
        call_command("migrate", verbosity=0)
        yield room


@contextlib.contextmanager
def _this_process_on(server: MariaDBServer) -> Iterator[None]:
    settings = connections["default"].settings_dict  # one dictionary for all threads
    kept = dict(settings)
    _forget_connection()
    environment = server.environment()
    settings.update({name: environment[f"DB_{name}"] for name in ("HOST", "PORT", "USER", "NAME")})
    settings["PASSWORD"] = environment["DB_PASS"]
    try:
        yield
    finally:
        _forget_connection()
        settings.update(kept)


def _forget_connection() -> None:
    """Not only closed: it keeps whether its server was a MariaDB, and the next one may be another."""
    connections["default"].close()
    del connections["default"]


def finds_much(context: JobContext) -> Json:
    return {"much": "x" * 60_000}


@pytest.fixture
def heavy(life: Life, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    """Requests whose jobs find out more than fits."""
    monkeypatch.setattr(transactions, "time", HastyClock())
    job("finds_much")(finds_much)
    yield life
    unregister("finds_much")


def place(count: int) -> None:
    with connection.cursor() as cursor:
        for _ in range(count):
            cursor.execute(
                "INSERT INTO requests (action, steps) VALUES (%s, %s)", ["made up", steps(["finds_much"], ["done"])]
            )


def assert_told_in_one_line_and_later_completed(life: Life, room: Room) -> None:
    place(REQUESTS)
    life.run("run_new_requests")
    room.fill()
    ran = life.run("run_jobs")
    assert ran.error.startswith("run_jobs: the database cannot be used: ")
    assert "full" in ran.error
    for name in (*PASSES, "run_worker"):
        life.run(name, **({"max_seconds": 0.5} if name == "run_worker" else {}))  # each in one line, or not at all
    assert not [row for row in life.rows("jobs") if row["status"] == "failure"]
    room.empty()
    life.finish()
    requests = life.rows("requests")
    assert [row["status"] for row in requests] == ["Completed"] * REQUESTS
    assert all("much" in row["extras"] for row in requests)
    assert {word: life.said()[word] for word in life.done()} == life.done()


@pytest.mark.integration
@pytest.mark.parametrize("small_server", [IN_ONE_FILE, "disk"], indirect=True)
def test_a_server_on_a_full_disk_fails_no_job_and_all_is_completed_once_there_is_room(
    heavy: Life, small_server: Room
) -> None:
    assert_told_in_one_line_and_later_completed(heavy, small_server)


@pytest.mark.sqlite
def test_a_full_sqlite_file_fails_no_job_and_all_is_completed_once_there_is_room(heavy: Life, pages: Pages) -> None:
    assert_told_in_one_line_and_later_completed(heavy, pages)
