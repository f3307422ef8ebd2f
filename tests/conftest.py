"""What every test may ask for: the test database (never in memory), the three services, commands as real processes."""

import gc
import os
import platform
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django import get_version
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.management.color import no_style
from django.db import connection
from django.test import TransactionTestCase

from demo.services import Services
from tests.fork_server import started
from tests.sample.jobs import RECORD_VARIABLE
from tests.scratch import scratch_folder

COMMAND_SECONDS = 60.0


# Which tests run ------------------------------------------------------------------------------------------------------


def _on_server() -> bool:
    return bool(connection.vendor == "mysql")  # also of a list of addresses


def _engine() -> str:
    """By its own word, such as 10.11.18-MariaDB; asked here since a test's own connection is not yet let in."""
    if not _on_server():
        return f"SQLite {sqlite3.sqlite_version}"
    server = connection.get_new_connection(connection.get_connection_params())
    try:
        version = str(server.get_server_info()).removeprefix("5.5.5-")  # what MariaDB puts before it for old clients
        return version if "MariaDB" in version else f"{version} MySQL"
    finally:
        server.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "leave out what asks for no database: `make test` has run it on SQLite already"
    parser.addoption("--only-database", action="store_true", help=help_)


def pytest_configure() -> None:
    """A shell that starts a run in the background has it ignore these two, and so would all that the tests start."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = [f"versions: Python {platform.python_version()}, Django {get_version()}, {_engine()}"]
    if _on_server():
        lines.append(f"database: server at {settings.DATABASES['default']['HOST']}")
    else:
        lines.append("database: SQLite; tests marked integration are left out (make test runs them)")
    if config.option.only_database:
        lines.append("tests that ask for no database are left out: they ran on SQLite")
    return lines


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is about the other database or has run, and says so: pytest counts it as deselected."""
    asked_for = config.option.markexpr
    if not _on_server() and "integration" in asked_for and "not integration" not in asked_for:
        raise pytest.UsageError(
            "tests marked integration need a MariaDB or MySQL server. `make test` starts one; so does "
            "`.venv/bin/python -m tests.database_server -- .venv/bin/pytest -m integration`."
        )
    if deselected := [item for item in items if _is_left_out(config, item)]:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if not _is_left_out(config, item)]


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: nobody looks through it for garbage any more."""
    gc.freeze()


def _is_left_out(config: pytest.Config, item: pytest.Item) -> bool:
    is_of_the_other = item.get_closest_marker("sqlite" if _on_server() else "integration") is not None
    return is_of_the_other or (config.option.only_database and not _asks_for_database(item))


def _asks_for_database(item: pytest.Item) -> bool:
    """Safe to go by: pytest-django refuses the database to a test that does not ask for it in one of these ways.

    A test marked integration may use a server of its own, or a process on the one that DB_* name.
    """
    fixtures = {"db", "transactional_db", "live_server"} & set(getattr(item, "fixturenames", ()))
    return bool(fixtures or item.get_closest_marker("django_db") or item.get_closest_marker("integration"))


# The database ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
) -> Iterator[None]:
    """SQLite's test database is a file of this run: SQLite's own in memory has other locks, and one process sees it."""
    if _on_server():
        yield
        return
    with TemporaryDirectory(prefix="tasker-db-", dir=scratch_folder()) as folder:
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = f"{folder}/tasker.sqlite3"
        yield


KEPT = ("django_content_type", "auth_permission")  # what migrate fills; no test changes these rows


@pytest.fixture(scope="session", autouse=True)
def _tables_emptied_by_one_transaction() -> Iterator[None]:
    """Spares a test that commits 70 statements after it, by which Django makes the rows of KEPT anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", _empty_tables)
        yield


def _empty_tables(_: TransactionTestCase) -> None:
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    emptied = [table for table in tables if table not in KEPT]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), emptied))


# The services ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _running_services() -> Iterator[Services]:
    with Services() as running:
        yield running


@pytest.fixture
def services(_running_services: Services, settings: Any) -> Services:
    """The three services, as new and without faults, and the settings that point at them.

    `services.reset(users=..., faults=...)` changes who they know and what goes wrong; `services.calls(2)` is what the
    second was called with.
    """
    _running_services.reset()
    for name, url in _running_services.environment().items():
        setattr(settings, name, url)
    return _running_services


# Commands as processes ------------------------------------------------------------------------------------------------


class Manage:
    """`manage.py` as an operator runs it, on the test database, with the sample jobs.

    `manage("run_jobs", "--limit", "5", WRK_JOB_CONCURRENCY="2")` waits for its end; `manage.start(...)` does not.
    Keyword arguments are environment variables. What a test wrote must be committed for the process to see it.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._started: list[subprocess.Popen[str]] = []

    def __call__(
        self, *arguments: str, timeout: float = COMMAND_SECONDS, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            pytest.fail(f"manage.py {' '.join(arguments)} took more than {timeout} s.\n{stdout}\n{stderr}")
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = started(
            ["manage.py", *arguments],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def end_all(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def manage(transactional_db: None, tmp_path: Path) -> Iterator[Manage]:
    """Runs manage.py on the test database. The services' addresses are those of the settings (see `services`)."""
    manage = Manage(_environment_of_commands() | {RECORD_VARIABLE: str(tmp_path / "record")})
    yield manage
    manage.end_all()


@pytest.fixture
def manage_without_database(tmp_path: Path) -> Iterator[Manage]:
    """Runs manage.py for what it reads in settings and files."""
    manage = Manage(os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "WRK_SQLITE_FILE": str(tmp_path / "no")})
    yield manage
    manage.end_all()


def called_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`manage.py` in this process, for what is not about a process: its exit code and what it printed, without the log.

    It takes milliseconds where a process takes a third of a second. Like one it closes its connection at the end.
    """
    out, errors, code = StringIO(), StringIO(), 0
    with own_signals(), redirect_stdout(out), redirect_stderr(errors):
        try:
            execute_from_command_line(["manage.py", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


@contextmanager
def own_signals() -> Iterator[None]:
    """Commands listen to signals; the test run has its own handlers back afterwards."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@pytest.fixture
def record_file(manage: Manage, tmp_path: Path) -> Path:
    """Where the sample jobs `records...` add their lines."""
    file = tmp_path / "record"
    file.touch()
    return file


def _environment_of_commands() -> dict[str, str]:
    database = connection.settings_dict
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "WRK_SQLITE_FILE": str(database["NAME"])}
    environment |= {name: getattr(settings, name) for name in ("URL_SERVICE1", "URL_SERVICE2", "URL_SERVICE3")}
    if connection.vendor == "mysql":
        environment["DB_NAME"] = str(database["NAME"])
    return environment
