"""How a worker of gunicorn serves: waitress reads a request whole before a thread takes it up, and its answer likewise.

So a slow client holds a connection, of which there may be many, and no thread; nor does a poll that waits
(waiting_polls.py). gunicorn keeps the processes.
"""

import os
import resource
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask

from requests_app.status_http.polls import ENVIRON, PATH, LongPoll
from tasker_site.waiting_polls import MOST_HELD, Polls

CONNECTIONS = 400  # of a process, each a file or two: below the usual limit of 1,024
REQUEST_SECONDS = 15  # to send a request in, from its first byte to its last
IDLE_SECONDS = 15  # between two requests of a connection
_LOOK_SECONDS = 1  # how often connections are checked, gunicorn gets a heartbeat, and its SIGTERM is noticed
_HEADER_BYTES, _BODY_BYTES = 32 * 1024, 512 * 1024  # a form holds at most 64 KiB of extras, percent-encoded
# With threads of their own: neither people's pages nor each other keep them waiting. How many, by path.
PROBES = {"/heartbeat": 1, "/ready": 1, "/metrics": 1}
_POLL_THREADS = 2


class WaitressWorker(Worker):  # type: ignore[misc] # untyped
    def run(self) -> None:
        sockets: dict[int, object] = {}
        dispatchers = {path: _dispatcher(count) for path, count in {**PROBES, "": self.cfg.threads}.items()}
        polls = _polls(no_database=dispatchers["/heartbeat"])
        servers = [Server(self.wsgi, sockets, listener.sock, dispatchers, polls) for listener in self.sockets]
        while self.alive and self.ppid == os.getppid():
            self._turn(sockets, polls)
        for server in servers:
            server.accepting = False  # what comes now is another worker's
        polls.stop()
        ends_at = time.monotonic() + self.cfg.graceful_timeout
        while any(server.is_busy() for server in servers) and time.monotonic() < ends_at:
            self._turn(sockets, polls)

    def _turn(self, sockets: dict[int, object], polls: Polls) -> None:
        self.notify()
        wasyncore.loop(timeout=_LOOK_SECONDS, use_poll=True, map=sockets, count=1)
        polls.turn(time.monotonic())


def _polls(no_database: ThreadedTaskDispatcher) -> Polls:
    """Imported here, not above: gunicorn reads this file before Django is set up."""
    lookup: Any = import_module("requests_app.status_http.lookup")
    threads, looks = _dispatcher(_POLL_THREADS), _dispatcher(1)
    return Polls(lookup.to_be_held, lookup.ended, threads, looks, no_database, time.monotonic(), _most_held())


def _most_held() -> int:
    """As many as there may be files, of which the usual limit is low: it is raised as far as it goes."""
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS + MOST_HELD
    if files != resource.RLIM_INFINITY and files < wanted:
        files = wanted if most_files == resource.RLIM_INFINITY else min(wanted, most_files)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most_files))
    return MOST_HELD if files == resource.RLIM_INFINITY else max(0, min(MOST_HELD, files - 2 * CONNECTIONS))


def _dispatcher(threads: int) -> ThreadedTaskDispatcher:
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    return dispatcher


class Task(WSGITask):  # type: ignore[misc] # untyped
    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[ENVIRON] = self.channel.poll
        return environ

    def execute(self) -> None:
        """A poll's answer ends its connection: thousands that stay open would keep everybody else out."""
        if _is_poll(self.request):
            self.set_close_on_finish()
        super().execute()


class Channel(HTTPChannel):  # type: ignore[misc] # untyped
    """A connection. `began`: when the first byte of the request came that is being read.

    The others are those of waiting_polls.ClientConnection.
    """

    task_class = Task
    began = 0.0
    was_taken = False
    poll: LongPoll | None = None

    def service(self) -> None:
        """By a thread. A poll that is to wait keeps its connection, and is left unanswered."""
        polls, request = self.server.polls, self.requests[0]
        may_wait = polls and not (self.was_taken or request.error) and _is_poll(request) and "wait=" in request.query
        if not (may_wait and polls.holds(self, WSGIRequest(Task(self, request).get_environment()))):
            super().service()

    def readable(self) -> bool:
        """Also while its poll waits: so a client that goes is noticed."""
        polls = self.server.polls
        if polls and polls.holds_still(self):
            return not self.will_close and len(self.requests) == 1
        return bool(super().readable())

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.began = time.time()
        return bool(super().received(data))

    def is_overdue(self, now: float) -> bool:
        """Not while it is worked on."""
        is_idle = self.request is None
        since, seconds = (self.last_activity, IDLE_SECONDS) if is_idle else (self.began, REQUEST_SECONDS)
        return not self.requests and bool(now - since > seconds)


class Server(TcpWSGIServer):  # type: ignore[misc] # untyped
    channel_class = Channel

    def __init__(
        self,
        application: object,
        sockets: dict[int, object],
        listener: object,
        dispatchers: dict[str, ThreadedTaskDispatcher],
        polls: Polls | None = None,
    ) -> None:
        self._dispatchers, self.polls = dispatchers, polls
        adjustments = Adjustments(
            connection_limit=CONNECTIONS,
            cleanup_interval=_LOOK_SECONDS,
            max_request_header_size=_HEADER_BYTES,
            max_request_body_size=_BODY_BYTES,
            clear_untrusted_proxy_headers=False,  # settings.py says whether a proxy is believed
            log_socket_errors=False,
            ident="",
        )
        family, kind, protocol = listener.family, listener.type, listener.proto  # type: ignore[attr-defined]
        super().__init__(
            application,
            sockets,
            _sock=listener,
            dispatcher=dispatchers[""],
            adj=adjustments,
            sockinfo=(family, kind, protocol, listener.getsockname()),  # type: ignore[attr-defined]
            bind_socket=False,
        )

    def add_task(self, task: Channel) -> None:
        """Of each request of a connection, once it is whole and those before it are answered."""
        request = task.requests[0]
        if self.polls and _is_poll(request):
            self.polls.take(task)
        else:
            (self._dispatchers.get(_path(request)) or self._dispatchers[""]).add_task(task)

    def readable(self) -> bool:
        """Polls that wait are counted by themselves."""
        self.adj.connection_limit = CONNECTIONS + (self.polls.connections if self.polls else 0)
        return bool(super().readable())

    def maintenance(self, now: float) -> None:
        for channel in self._channels():
            if channel.is_overdue(now):
                channel.will_close = True

    def is_busy(self) -> bool:
        return any(channel.requests or channel.total_outbufs_len for channel in self._channels())

    def _channels(self) -> Iterator[Channel]:
        yield from list(self.active_channels.values())


def _path(request: Any) -> str:
    """One that could not be read has none."""
    return getattr(request, "path", "")


def _is_poll(request: Any) -> bool:
    return _path(request).startswith(PATH)
