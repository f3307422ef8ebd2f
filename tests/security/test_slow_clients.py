"""The web process as it is shipped, in front of clients that are slow, invent things and guess passwords."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection
from waitress import wasyncore
from waitress.task import ThreadedTaskDispatcher

from tasker_site.web_worker import IDLE_SECONDS, REQUEST_SECONDS, Server
from tests.security.conftest import serving

pytestmark = pytest.mark.sqlite  # a client is as slow before each database

SLOW = 40
HEAD = b"GET /admin/ HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nusername="
ANSWERS_WITHIN = 1.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the web process writes to standard error."""
    return tmp_path / "log"


@pytest.fixture
def web(transactional_db: None, log: Path) -> Iterator[str]:
    file = str(connection.settings_dict["NAME"])
    environment = {"WRK_SQLITE_FILE": file, "WRK_WEB_THREADS": "2", "WRK_LOG_LEVEL": "INFO"}
    with serving(environment, log) as address:
        yield address


@contextmanager
def slow(web: str, begin: bytes) -> Iterator[list[socket.socket]]:
    """Forty clients that begin a request and send no more than a byte now and then."""
    host, port = web.removeprefix("http://").split(":")
    with ExitStack() as open_:
        clients = [open_.enter_context(socket.create_connection((host, int(port)))) for _ in range(SLOW)]
        for client in clients:
            client.sendall(begin)
        yield clients


@pytest.mark.parametrize("begin", [b"", b"G", HEAD, BODY], ids=["nothing", "a byte", "half a header", "half a body"])
def test_forty_slow_clients_keep_nobody_waiting(web: str, begin: bytes) -> None:
    with slow(web, begin) as clients:
        time.sleep(0.3)
        for path in ("/heartbeat", "/ready", "/metrics", "/admin/login/"):
            began = time.monotonic()
            assert requests.get(web + path, timeout=10).status_code == 200
            assert time.monotonic() - began < ANSWERS_WITHIN, path
            for client in clients:
                if begin:
                    client.sendall(b"x")


def test_a_request_that_drips_is_ended_and_one_that_is_worked_on_is_not() -> None:
    """The server of a worker, turned by hand, so that time can be moved."""
    sockets: dict[int, Any] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as open_:
        server = Server(None, sockets, listener, {"": ThreadedTaskDispatcher()})  # no thread takes anything up
        dripping, whole, idle = (
            open_.enter_context(socket.create_connection(listener.getsockname())) for _ in range(3)
        )
        dripping.sendall(HEAD)
        whole.sendall(HEAD + b"\r\n")
        for _ in range(8):
            wasyncore.loop(timeout=0.1, use_poll=True, map=sockets, count=1)
        assert len(server.active_channels) == 3
        channels = {channel.addr: channel for channel in server.active_channels.values()}
        for client in (dripping, whole):
            channels[client.getsockname()].began -= REQUEST_SECONDS + 1
        channels[idle.getsockname()].last_activity -= IDLE_SECONDS + 1
        server.maintenance(time.time())
        for _ in range(4):
            wasyncore.loop(timeout=0.1, use_poll=True, map=sockets, count=1)
        assert [channel.addr for channel in server.active_channels.values()] == [whole.getsockname()]
        wasyncore.close_all(sockets)


def test_a_reader_that_does_not_read_keeps_nobody_waiting(web: str) -> None:
    with slow(web, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30):
        time.sleep(0.3)
        assert requests.get(f"{web}/heartbeat", timeout=ANSWERS_WITHIN).status_code == 200


def series(web: str) -> set[str]:
    text = requests.get(f"{web}/metrics", timeout=10).text
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_nothing_that_a_stranger_sends_makes_a_series(web: str) -> None:
    def visit(number: int) -> None:
        for method in (f"M{number}", "TRACE", "PROPFIND", f"GET{number}"):
            for path in ("/heartbeat", "/admin/login/", f"/nowhere{number}"):
                assert requests.request(method, web + path, timeout=10).status_code in {400, 405}
        strange = {
            "Host": f"evil{number}.example",
            "X-Requested-With": "XMLHttpRequest",
            "Content-Type": f"text/x{number}; charset=c{number}",
            "Accept-Language": f"x{number}",
            "X-Forwarded-Proto": f"p{number}",
            "X-Forwarded-For": f"10.0.0.{number}",
        }
        requests.get(f"{web}/admin/login/", headers=strange, timeout=10)
        for path in (f"/admin/x{number}/", f"/static/{number}", f"/{number}?a={number}"):
            requests.get(web + path, timeout=10)
            requests.post(web + path, {f"a{number}": 1}, headers=strange | {"Host": "localhost"}, timeout=10)

    visit(1)
    before = series(web)
    for number in range(2, 6):
        visit(number)
    assert series(web) == before
    assert not [name for name in before if re.search(r"M\d|GET\d|evil|nowhere|TRACE|PROPFIND", name)]


def test_what_is_refused_is_one_short_line(web: str, log: Path) -> None:
    for headers, path in [({"Host": "evil.example"}, "/admin/"), ({}, "/nowhere/" + "x" * 5000)]:
        requests.get(web + path, headers=headers, timeout=10)
    requests.request("INVENTED", f"{web}/admin/", timeout=10)
    requests.post(f"{web}/admin/login/", timeout=10)
    time.sleep(0.2)
    lines = [line for line in log.read_text().splitlines() if "request_refused" in line]
    assert [line.rpartition("reason=")[2] for line in lines] == ["DisallowedHost", "404", "405", "csrf"]
    assert max(map(len, lines)) < 160
    assert not [line for line in lines if "error" in line or "evil" in line]
