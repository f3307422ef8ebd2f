"""Polls of the web process as it is shipped: a thousand at once, clients that go, a stop, a database that is away."""

import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from django.db import connection

from requests_app.models import Request, StatusBearer
from tests.factories import make_request
from tests.security.conftest import serving

POLLS = 1000
SECONDS = 30


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the web process writes to standard error."""
    return tmp_path / "log"


@pytest.fixture
def web(transactional_db: None, log: Path, tmp_path: Path) -> Iterator[str]:
    name = "DB_NAME" if connection.vendor == "mysql" else "WRK_SQLITE_FILE"
    environment = {name: str(connection.settings_dict["NAME"]), "WRK_WEB_THREADS": "2", "WRK_LOG_LEVEL": "INFO"}
    with serving(environment, log) as address:
        yield address


@pytest.fixture
def caller() -> str:
    """Who inserts in these tests."""
    return str(Request.objects.get(pk=make_request().pk).placed_by)


@pytest.fixture
def bearer(caller: str) -> str:
    return StatusBearer.objects.issue(caller, None, "a test")[1]


@pytest.fixture
def many_files() -> Iterator[None]:
    """A socket is a file on either side."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def poll(web: str, bearer: str, token: str, wait: int = 50) -> socket.socket:
    host, port = web.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=SECONDS)
    path = f"/requests/{token}?wait={wait}"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bearer}\r\n\r\n".encode())
    return client


def answer_of(client: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers, body."""
    with client.makefile("rb") as lines:
        status = int(lines.readline().split()[1])
        headers = dict(line.decode().rstrip().split(": ", 1) for line in iter(lines.readline, b"\r\n"))
        return status, headers, json.loads(lines.read(int(headers["Content-Length"])))


def worker_of(web: str) -> Path:
    """In /proc: the one worker behind this address."""
    port = web.rpartition(":")[2]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, parent = (
                (folder / "environ").read_bytes(),
                (folder / "stat").read_text().rpartition(")")[2].split()[1],
            )
            if (
                f"\0PORT={port}\0".encode() in environment + b"\0"
                and b"gunicorn" in (folder.parent / parent / "cmdline").read_bytes()
            ):
                return folder
        except OSError:
            continue
    raise AssertionError("no worker")


def threads_of(worker: Path) -> int:
    return len([*(worker / "task").iterdir()])


def wait_until(is_so: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def connections_of(worker: Path) -> int:
    return len([*(worker / "fd").iterdir()])


def test_a_thousand_polls_wait_without_a_thread_and_are_told_of_the_end(
    web: str, bearer: str, many_files: None, log
) -> None:
    request = make_request("Inprogress", token="order-1")
    worker = worker_of(web)
    threads, files = threads_of(worker), connections_of(worker)
    with ExitStack() as open_:
        clients = [open_.enter_context(poll(web, bearer, "order-1")) for _ in range(POLLS)]
        for _ in range(15):
            time.sleep(1)
            print(connections_of(worker), files, threads, worker, (worker / "stat").read_text().split()[13:15])
        print(log.read_text())
        wait_until(lambda: connections_of(worker) >= files + POLLS)
        began = time.monotonic()
        for path in ("/heartbeat", "/ready", "/metrics", "/admin/login/"):
            print(path, time.monotonic() - began)
            assert requests.get(web + path, timeout=SECONDS).status_code == 200
        print(time.monotonic() - began)
        assert threads_of(worker) == threads
        print("threads", threads)
        Request.objects.filter(pk=request.pk).update(status="Completed", completed_at=request.created_at)
        began = time.monotonic()
        answers = [answer_of(client) for client in clients]
        print(time.monotonic() - began)
    assert {(status, body["status"], headers.get("Retry-After")) for status, headers, body in answers} == {
        (200, "Completed", None)
    }
    assert threads_of(worker) == threads
