"""Polls of the web process as it is shipped: very many at once, clients that go, a stop, a database that is away."""

import http.client
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection

from jobs_app.db.dialect import database_now
from requests_app.models import Request, StatusBearer
from tests.depth import LONG
from tests.factories import make_request
from tests.proxy import Proxy
from tests.security.conftest import serving_process

POLLS = 1000 if LONG else 250  # more than threads; a busy machine must serve them within their wait
SECONDS = 60  # above what a loaded machine takes

pytestmark = pytest.mark.django_db(transaction=True)


class Web:
    """The web process, one worker, and the bearer of whoever inserts in these tests."""

    def __init__(self, address: str, parent: int, log: Path, open_: ExitStack) -> None:
        self.address, self.log, self._open = address, log, open_
        self._where = ("127.0.0.1", int(address.rpartition(":")[2]))
        self.process = _worker_of(parent)
        self.order = make_request("Inprogress", token="order-1")
        account = str(Request.objects.get(pk=self.order.pk).placed_by)
        self.bearer = StatusBearer.objects.issue(account, None, "a test")[1]

    def ask(self, wait: int = 50) -> socket.socket:
        client = self._open.enter_context(socket.create_connection(self._where, timeout=SECONDS))
        client.sendall(f"GET /requests/order-1?wait={wait} HTTP/1.1\r\nHost: a\r\n".encode())
        client.sendall(f"Authorization: Bearer {self.bearer}\r\n\r\n".encode())
        return client

    @property
    def threads(self) -> int:
        return len([*(self.process / "task").iterdir()])

    @property
    def files(self) -> int:
        return len([*(self.process / "fd").iterdir()])


def _worker_of(parent: int) -> Path:
    """In /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                return folder
    raise AssertionError("there is no worker")


def answer_of(client: socket.socket) -> tuple[int, str | None, Any]:
    """Status, Retry-After, body."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.headers["Retry-After"], json.loads(response.read())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def through() -> dict[str, str]:
    """How the web process reaches the database; with a proxy before it, through that."""
    name = "DB_NAME" if connection.vendor == "mysql" else "WRK_SQLITE_FILE"
    return {name: str(connection.settings_dict["NAME"])}


@pytest.fixture
def web(through: dict[str, str], tmp_path: Path) -> Iterator[Web]:
    log = tmp_path / "log"
    environment = through | {"WRK_WEB_THREADS": "2", "WRK_LOG_LEVEL": "INFO"}
    with serving_process(environment, log) as (address, process), ExitStack() as open_:
        yield Web(address, process, log, open_)


@pytest.fixture
def proxy(through: dict[str, str]) -> Iterator[Proxy]:
    database = connection.settings_dict
    host, port = database["HOST"], int(database["PORT"] or 3306)
    with Proxy(host if host.startswith("/") else (host, port)) as proxy:
        through |= {"DB_HOST": "127.0.0.1", "DB_PORT": str(proxy.port)}
        yield proxy


@pytest.fixture
def many_files() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.long
def test_they_wait_without_a_thread_and_are_told_of_the_end(web: Web, many_files: None) -> None:
    threads, files = web.threads, web.files
    clients = [web.ask() for _ in range(POLLS)]
    wait_until(lambda: web.files >= files + POLLS)
    for path in ("/heartbeat", "/ready", "/metrics", "/admin/login/"):
        assert requests.get(web.address + path, timeout=SECONDS).status_code == 200
    assert web.threads == threads
    Request.objects.filter(pk=web.order.pk).update(status="Completed", completed_at=database_now())
    answers = [answer_of(client) for client in clients]
    assert {(status, again, body.get("status")) for status, again, body in answers} == {(200, None, "Completed")}, str(
        [sum(a[0] == 200 for a in answers), web.log.read_text()[:2000]]
    )
    assert web.threads == threads
    said = web.log.read_text()
    assert (said.count("\n"), web.bearer in said) == (1, False), said  # that ENV is read as local


@pytest.mark.sqlite  # of the web process's connections
def test_clients_that_go_leave_nothing_behind(web: Web) -> None:
    files = web.files
    clients = [web.ask() for _ in range(50)]
    wait_until(lambda: web.files >= files + 50)
    for client in clients:
        client.close()
    wait_until(lambda: web.files < files + 10)


@pytest.mark.sqlite  # of the web process's connections
def test_at_a_stop_each_is_answered(web: Web) -> None:
    files = web.files
    clients = [web.ask() for _ in range(50)]
    wait_until(lambda: web.files >= files + 50)
    time.sleep(1)  # so that most are held, and some may still come
    os.kill(int(web.process.name), signal.SIGTERM)
    answers = [answer_of(client) for client in clients]
    assert {(status, again, body["status"]) for status, again, body in answers} == {(200, "5", "Inprogress")}


@pytest.mark.integration
def test_while_they_wait_the_database_is_asked_once_a_second(proxy: Proxy, web: Web) -> None:
    before = proxy.queries
    for _ in range(50):
        web.ask()
    wait_until(lambda: proxy.queries >= before + 2 * 50)  # two for each, to look whether it is to wait
    time.sleep(2)
    asked, began = proxy.queries, time.monotonic()
    wait_until(lambda: proxy.queries >= asked + 4)
    assert time.monotonic() - began > 2.5


@pytest.mark.integration
@pytest.mark.parametrize("is_frozen", [False, True], ids=["refused", "frozen"])
def test_when_the_database_is_away_they_are_told_to_come_again(proxy: Proxy, web: Web, is_frozen: bool) -> None:
    files, clients = web.files, [web.ask() for _ in range(50)]
    wait_until(lambda: web.files >= files + 50)
    time.sleep(2)  # until each was looked at
    if is_frozen:
        proxy.is_black_hole = True
    else:
        proxy.refuses = True
        proxy.reset()
        clients.append(web.ask())
    answers = [answer_of(client) for client in clients]
    assert {(status, again, tuple(body)) for status, again, body in answers} == {(503, "30", ("reason",))}
    assert requests.get(f"{web.address}/heartbeat", timeout=SECONDS).status_code == 200
    proxy.is_black_hole = proxy.refuses = False
    proxy.reset()
    wait_until(lambda: answer_of(web.ask(wait=0))[0] == 200)
