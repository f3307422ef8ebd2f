"""A server of our own with the users of docs/security.md, and the web process as they run it."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import MySQLdb
import pytest
import requests

from tests.conftest import Manage
from tests.database_server import DatabaseServerError, MariaDBServer
from tests.docs.blocks import blocks_of, document
from tests.fork_server import started

GRANTS = {
    block.info.partition(" ")[2]: block.text for block in blocks_of(document("security.md")) if block.info[:4] == "sql "
}
PASSWORD = "a long password"


@pytest.fixture(scope="session")
def server() -> Iterator[dict[str, str]]:
    """DB_* of the owner, on a server with the document's users and migrated tables."""
    try:
        with MariaDBServer() as server:
            at = server.environment()
            root = MySQLdb.connect(unix_socket=at["DB_HOST"], user="root", autocommit=True)
            for name in ("owner", "worker", "web", "view", "caller", "answerer", "keeper", "auditor"):
                if name == "worker":  # a table must be there before it is granted
                    run_manage(at | {"DB_USER": "tasker_owner", "DB_PASS": PASSWORD}, "migrate", "--verbosity", "0")
                for statement in filter(str.strip, GRANTS[name].replace("'%'", "'localhost'").split(";\n")):
                    root.cursor().execute(statement.replace("CREATE USER", "CREATE OR REPLACE USER"))
            yield at | {"DB_USER": "tasker_owner", "DB_PASS": PASSWORD}
    except DatabaseServerError as error:
        pytest.skip(str(error))


def run_manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return Manage(os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"} | environment)(*arguments)


@contextmanager
def serving(environment: dict[str, str], log: Path | None = None) -> Iterator[str]:
    """gunicorn as deployed, with one worker unless told otherwise; returns its address. `log`: its standard error."""
    with serving_process(environment, log) as (address, _):
        yield address


@contextmanager
def serving_process(environment: dict[str, str], log: Path | None = None) -> Iterator[tuple[str, int]]:
    """The same; returns also the id of the process whose children its workers are."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    errors = log.open("w") if log else None
    process = started(
        ["-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "tasker_site.wsgi"],
        env=os.environ | {"WRK_WEB_WORKERS": "1"} | environment | {"PORT": port},
        stderr=errors,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(20)
        if errors:
            errors.close()


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            requests.get(f"{address}/heartbeat", timeout=1)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the web process does not answer")
