"""Polls that wait: the server of a worker, its threads and its clock turned by hand, so that nothing is timed."""

import http.client
import json
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from threading import active_count
from typing import Any

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import OperationalError, connection
from waitress import wasyncore
from waitress.task import ThreadedTaskDispatcher

from jobs_app.db.dialect import database_now
from requests_app.models import Request, StatusBearer
from requests_app.status_http import lookup
from tasker_site.waiting_polls import MOST_HELD, Polls
from tasker_site.web_worker import Server
from tests.factories import make_request

pytestmark = pytest.mark.django_db(transaction=True)  # in a transaction its connection would be closed

POLLS = 100
Answer = tuple[int, http.client.HTTPMessage, Any]


class Web:
    """A worker's server with real connections. Its threads are lists of tasks, until `work()` does them here."""

    def __init__(self, listener: socket.socket, open_: ExitStack, most: int = MOST_HELD) -> None:
        self.threads, self.looks, self.no_database = (ThreadedTaskDispatcher() for _ in range(3))
        self.now = 0.0
        threads = self.threads, self.looks, self.no_database
        self.polls = Polls(lookup.to_be_held, lookup.ended, *threads, self.now, most)
        self.sockets: dict[int, Any] = {}
        dispatchers = {"": self.no_database}
        self.server = Server(get_wsgi_application(), self.sockets, listener, dispatchers, self.polls)
        self.bearer = StatusBearer.objects.issue("shop", None, "a test")[1]
        self._address, self._open = listener.getsockname(), open_

    def ask(self, name: str = "order-1", wait: int = 30, method: str = "GET", **headers: str) -> socket.socket:
        client = self.send(self.request(name, wait, method, **headers))
        self.serve()
        return client

    def send(self, sent: bytes) -> socket.socket:
        client = self._open.enter_context(socket.create_connection(self._address, timeout=10))
        client.sendall(sent)
        return client

    def request(self, name: str, wait: int, method: str = "GET", **headers: str) -> bytes:
        lines = [f"{method} /requests/{name}?wait={wait} HTTP/1.1", "Host: a", f"Authorization: Bearer {self.bearer}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def serve(self, *, seconds: float = 0) -> None:
        """Reads, writes and works until nothing is left to do; so many seconds later."""
        self.now += seconds
        for _ in range(4):
            self.turn()

    def turn(self) -> None:
        wasyncore.loop(timeout=0.01, use_poll=True, map=self.sockets, count=1)
        self.polls.turn(self.now)
        self.work()

    def work(self) -> None:
        for dispatcher in (self.threads, self.looks, self.no_database):
            while dispatcher.queue:
                dispatcher.queue.popleft().service()

    @property
    def held(self) -> int:
        return self.polls.connections


def answer_of(client: socket.socket, method: str = "GET") -> Answer:
    """Status, headers, body; fails if none has come."""
    client.settimeout(1)
    response = http.client.HTTPResponse(client, method=method)
    response.begin()
    return response.status, response.headers, json.loads(response.read() or "null")


def is_answered(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        client.setblocking(True)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))  # a client is two files here
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def web(listener: socket.socket) -> Iterator[Web]:
    with ExitStack() as open_:
        web = Web(listener, open_)
        yield web
        wasyncore.close_all(web.sockets)


@pytest.fixture
def order() -> Request:
    return make_request("Inprogress", token="order-1", placed_by="shop@%")


def end(request: Request) -> None:
    Request.objects.filter(pk=request.pk).update(status="Completed", completed_at=database_now())


# Held -----------------------------------------------------------------------------------------------------------------
def test_a_hundred_wait_for_one_statement_a_second(web: Web, order: Request, django_assert_num_queries: Any) -> None:
    other = make_request("Inprogress", token="order-2", placed_by="shop@%")
    threads = active_count()
    clients: list[socket.socket] = []
    while web.held < POLLS:
        clients += [web.send(web.request(f"order-{number}", 50)) for number in (1, 2) if len(clients) < POLLS]
        web.turn()
    assert (len(clients), active_count()) == (POLLS, threads)
    with django_assert_num_queries(0):
        web.serve(seconds=0.1)
    with django_assert_num_queries(3):
        for _ in range(3):
            web.serve(seconds=1)
            web.serve(seconds=0.5)
    end(order)
    web.serve(seconds=1)
    assert web.held == POLLS // 2
    assert {answer_of(client)[2]["status"] for client in clients[::2]} == {"Completed"}
    assert not any(map(is_answered, clients[1::2]))
    end(other)
    web.serve(seconds=1)
    assert {answer_of(client)[2]["token"] for client in clients[1::2]} == {"order-2"}
    with django_assert_num_queries(0):
        web.serve(seconds=5)


def test_one_whose_time_is_over_is_told_how_it_stands(web: Web, order: Request) -> None:
    client = web.ask(wait=30)
    web.serve(seconds=29)
    assert not is_answered(client)
    web.serve(seconds=2)
    status, headers, body = answer_of(client)
    assert (status, body["status"], headers.get("Retry-After")) == (200, "Inprogress", None)
    assert web.held == 0


def test_the_answer_ends_its_connection_whatever_was_sent_meanwhile(web: Web, order: Request) -> None:
    client = web.ask(wait=30)
    client.sendall(web.request("order-1", 20) + web.request("order-2", 30))
    web.serve(seconds=5)
    assert not is_answered(client)
    web.serve(seconds=26)
    _, headers, body = answer_of(client)
    assert (headers["Connection"], body["status"]) == ("close", "Inprogress")
    assert client.recv(1) == b""
    assert web.held == 0


@pytest.mark.parametrize(
    ("token", "wait", "status"), [("order-1", 0, 200), ("order-2", 30, 404), ("order-3", 30, 404), ("ended", 30, 200)]
)
def test_what_need_not_wait_does_not(web: Web, order: Request, token: str, wait: int, status: int) -> None:
    make_request("Inprogress", token="order-2", placed_by="crm@%")
    make_request("Failed", token="ended", placed_by="shop@%")
    client = web.ask(token, wait)
    assert (web.held, answer_of(client)[0]) == (0, status)


def test_a_stranger_is_not_held(web: Web, order: Request) -> None:
    web.bearer = web.bearer[:-1]
    client = web.ask()
    assert (web.held, answer_of(client)[0]) == (0, 401)


def test_one_that_django_refuses_to_read_is_answered(web: Web, order: Request) -> None:
    client = web.ask(f"order-1?{'a&' * 1001}")
    assert client.recv(12) == b"HTTP/1.1 400"


def test_a_head_waits_as_well_and_an_etag_is_compared_at_the_end(web: Web, order: Request) -> None:
    etag = answer_of(web.ask(wait=0))[1]["ETag"]
    head, same = web.ask(method="HEAD"), web.ask(wait=10, If_None_Match=etag)
    assert web.held == 2
    web.serve(seconds=11)
    assert answer_of(same)[0] == 304
    end(order)
    web.serve(seconds=1)
    status, headers, body = answer_of(head, "HEAD")
    assert (status, body) == (200, None)
    assert headers["ETag"] != etag


def test_a_bearer_that_is_revoked_meanwhile_is_told_nothing(web: Web, order: Request) -> None:
    client = web.ask()
    StatusBearer.objects.revoke(StatusBearer.objects.get().pk)
    end(order)
    web.serve(seconds=1)
    assert answer_of(client)[0] == 401


def test_one_that_is_purged_meanwhile_is_missing(web: Web, order: Request) -> None:
    client = web.ask(wait=5)
    order.delete()
    web.serve(seconds=6)
    assert answer_of(client)[0] == 404


# Not held any more ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_has_gone_costs_nothing(
    web: Web, order: Request, how: str, django_assert_num_queries: Any
) -> None:
    sockets = len(web.sockets)
    for client in [web.ask() for _ in range(5)]:
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    assert web.held == 5
    with django_assert_num_queries(0):
        web.serve(seconds=1)
    assert (web.held, len(web.sockets)) == (0, sockets)


def test_at_a_stop_all_are_answered_and_nobody_is_held_any_more(web: Web, order: Request) -> None:
    clients = [web.ask() for _ in range(3)]
    web.polls.stop()
    web.serve()
    for client in (*clients, web.ask()):
        status, headers, body = answer_of(client)
        assert (status, body["status"], headers["Retry-After"]) == (200, "Inprogress", "5")
    assert not web.server.is_busy()


def test_more_than_there_are_places_for_are_answered_at_once(listener: socket.socket, order: Request) -> None:
    with ExitStack() as open_:
        web = Web(listener, open_, most=2)
        clients = [web.ask() for _ in range(3)]
        assert (web.held, answer_of(clients[2])[1]["Retry-After"]) == (2, "5")
        wasyncore.close_all(web.sockets)


def test_they_take_no_connection_from_anybody_else(web: Web, order: Request) -> None:
    limits = []
    for _ in range(3):
        web.ask()
        web.server.readable()
        limits.append(web.server.adj.connection_limit)
    assert [limit - limits[0] for limit in limits] == [0, 1, 2]


# A database that does not answer --------------------------------------------------------------------------------------
def demand_unavailable(client: socket.socket) -> None:
    status, headers, body = answer_of(client)
    assert (status, headers["Retry-After"], sorted(body)) == (503, "30", ["reason"])


def test_a_look_that_fails_ends_them_without_another_statement(web: Web, order: Request) -> None:
    clients = [web.ask() for _ in range(3)]
    seen = []

    def execute(_: Any, sql: str, *more: Any) -> Any:
        seen.append(sql)
        raise OperationalError(2013, "Lost connection to server during query")

    with connection.execute_wrapper(execute):
        web.serve(seconds=1)
        assert len(seen) == 1
        for client in clients:
            demand_unavailable(client)
        demand_unavailable(web.ask())
        assert len(seen) == 2
    assert not is_answered(web.ask())


def test_a_look_that_hangs_ends_them(web: Web, order: Request) -> None:
    client = web.ask(wait=30)
    web.now += 1
    web.polls.turn(web.now)  # the look begins, and no thread takes it up
    hanging = web.looks.queue.popleft()
    web.serve(seconds=9)
    assert not is_answered(client)
    web.serve(seconds=2)
    demand_unavailable(client)
    hanging.service()
    client = web.ask(wait=1)
    web.serve(seconds=3)
    assert answer_of(client)[0] == 200


def test_polls_that_find_no_thread_are_answered_without_the_database(
    web: Web, order: Request, django_assert_num_queries: Any
) -> None:
    web.work = lambda: None  # type: ignore[method-assign] # as if all threads hang
    clients = [web.ask() for _ in range(3)]
    web.serve(seconds=1)
    web.serve(seconds=9)
    assert len(web.threads.queue) == 3
    web.serve(seconds=2)
    del web.work
    with django_assert_num_queries(0):
        web.serve()
    for client in clients:
        demand_unavailable(client)


def test_what_cannot_be_read_at_all_is_refused(web: Web) -> None:
    client = web.send(b"GET /requests/a HTTP/1.1 what\r\n\r\n")
    web.serve()
    client.settimeout(1)
    assert b" 400 " in client.recv(100)
