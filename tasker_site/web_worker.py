"""How a worker of gunicorn serves: waitress reads a request whole before a thread takes it up, and its answer likewise.

So a slow client holds a connection, of which there may be many, and no thread. gunicorn keeps the processes.
"""

import os
import time
from collections.abc import Iterator

from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

CONNECTIONS = 400  # of a process, each a file or two: below the usual limit of 1,024
REQUEST_SECONDS = 15  # to send a request in, from its first byte to its last
IDLE_SECONDS = 15  # between two requests of a connection
_LOOK_SECONDS = 1  # how often connections are looked through, gunicorn is told, and its SIGTERM is noticed
_HEADER_BYTES, _BODY_BYTES = 32 * 1024, 512 * 1024  # a form holds at most 64 KiB of extras, percent-encoded
# With threads of their own: neither people's pages nor each other keep them waiting. How many, by path.
PROBES = {"/heartbeat": 1, "/ready": 1, "/metrics": 1}


class WaitressWorker(Worker):  # type: ignore[misc] # untyped
    def run(self) -> None:
        sockets: dict[int, object] = {}
        dispatchers = {path: _dispatcher(count) for path, count in {**PROBES, "": self.cfg.threads}.items()}
        servers = [Server(self.wsgi, sockets, listener.sock, dispatchers) for listener in self.sockets]
        while self.alive and self.ppid == os.getppid():
            self._turn(sockets)
        for server in servers:
            server.accepting = False  # what comes now is another worker's
        ends_at = time.monotonic() + self.cfg.graceful_timeout
        while any(server.is_busy() for server in servers) and time.monotonic() < ends_at:
            self._turn(sockets)

    def _turn(self, sockets: dict[int, object]) -> None:
        self.notify()
        wasyncore.loop(timeout=_LOOK_SECONDS, use_poll=True, map=sockets, count=1)


def _dispatcher(threads: int) -> ThreadedTaskDispatcher:
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    return dispatcher


class Channel(HTTPChannel):  # type: ignore[misc] # untyped
    """A connection. `began`: when the first byte of the request came that is being read."""

    began = 0.0

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
    ) -> None:
        self._dispatchers = dispatchers
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
        (self._dispatchers.get(task.requests[0].path) or self._dispatchers[""]).add_task(task)

    def maintenance(self, now: float) -> None:
        for channel in self._channels():
            if channel.is_overdue(now):
                channel.will_close = True

    def is_busy(self) -> bool:
        return any(channel.requests or channel.total_outbufs_len for channel in self._channels())

    def _channels(self) -> Iterator[Channel]:
        yield from list(self.active_channels.values())
