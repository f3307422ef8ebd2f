"""A proxy of our own in front of a database or a service: slow, cut, silent or refusing, as a test says.

`with Proxy(("127.0.0.1", 8101)) as proxy:` or, before a server's socket, `Proxy("/run/mysqld/mysqld.sock")`; clients
connect to 127.0.0.1, port `proxy.port`. It reads the MySQL protocol as far as it must to cut at a packet: `Cut`. Knows
nothing of Django or of the project's tables.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

Upstream = str | tuple[str, int]

_PIECE_BYTES = 16 * 1024
_HEADER_BYTES = 4  # of a MySQL packet: three for the length, one for its number
_COM_QUERY = 0x03
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time at all: close() sends RST, not FIN
BEGINS = b"SET autocommit=0"  # what Django's MySQL backend sends where a transaction begins


@dataclass(slots=True)
class Cut:
    """When to cut a MySQL connection, once: at a query of this text, or at the n-th query over all connections.

    `within`: only if a query of the same transaction held this text. `arrives`: the server gets the query and carries
    it out, but its answer never arrives; else the query does not reach it either.
    """

    text: bytes = b""
    number: int = 0
    within: bytes = b""
    arrives: bool = True
    done: bool = False

    def is_at(self, query: bytes, number: int, transaction: list[bytes]) -> bool:
        if self.done or (self.number and number != self.number):
            return False
        return self.text in query and (not self.within or any(self.within in each for each in transaction))


class Proxy:
    """Passes bytes on, with the faults that are set. All attributes may be changed while connections are open."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.refuses = False  # new connections are reset
        self.is_black_hole = False  # takes bytes, passes none on, in either direction; also of new connections
        self.latency_seconds = 0.0  # before each piece, in each direction
        self.bytes_per_second: float | None = None
        self.cut: Cut | None = None
        self.queries = 0  # MySQL queries seen, over all connections
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.is_black_hole = False
        # close() alone would not wake accept()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    @property
    def connections(self) -> int:
        return len(self._links)

    def reset(self) -> None:
        """Ends all open connections with RST, to both sides."""
        for link in list(self._links):
            link.reset()

    def half_close(self) -> None:
        """Tells all clients that the server will send nothing more; what they send is still passed on."""
        for link in list(self._links):
            link.half_close()

    def query_seen(self, query: bytes, transaction: list[bytes]) -> Cut | None:
        """Counts a query; returns the cut that is to be made at it."""
        with self._lock:
            self.queries += 1
            if self.cut and self.cut.is_at(query, self.queries, transaction):
                self.cut.done = True
                return self.cut
        return None

    def forget(self, link: "_Link") -> None:
        self._links.discard(link)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                _reset(client)
                continue
            try:
                server = _connect(self.upstream)
            except OSError:  # the server is down: so is the way to it
                _reset(client)
                continue
            link = _Link(self, client, server)
            self._links.add(link)
            link.start()


class _Link:
    """One client's connection and its own to the server, a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._swallows = False  # the answer that comes next is to be lost
        self._packets = _Packets()

    def start(self) -> None:
        threading.Thread(target=self._up, name="proxy-up", daemon=True).start()
        threading.Thread(target=self._down, name="proxy-down", daemon=True).start()

    def reset(self) -> None:
        self._proxy.forget(self)
        for each in (self._client, self._server):
            _reset(each)

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_WR)

    def _up(self) -> None:
        try:
            while piece := self._client.recv(_PIECE_BYTES):
                self._linger(piece)
                cut = next(filter(None, (self._cut_at(query) for query in self._packets.queries(piece))), None)
                if cut and not cut.arrives:
                    self.reset()
                    return
                self._swallows = bool(cut)
                self._server.sendall(piece)
            self._server.shutdown(socket.SHUT_WR)
        except OSError:
            self.reset()

    def _down(self) -> None:
        try:
            while piece := self._server.recv(_PIECE_BYTES):
                if self._swallows:
                    break
                self._linger(piece)
                self._client.sendall(piece)
        except OSError:
            pass
        self.reset() if self._swallows else self._end()

    def _end(self) -> None:
        """The server has ended the connection: so the client hears, in order."""
        self._proxy.forget(self)
        for each in (self._client, self._server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _cut_at(self, query: bytes) -> Cut | None:
        return self._proxy.query_seen(query, self._packets.transaction)

    def _linger(self, piece: bytes) -> None:
        while self._proxy.is_black_hole:
            time.sleep(0.01)
        rate = self._proxy.bytes_per_second
        time.sleep(self._proxy.latency_seconds + (len(piece) / rate if rate else 0.0))


class _Packets:
    """Reads the queries out of what a MySQL client sends. `transaction`: those since the last one began."""

    def __init__(self) -> None:
        self._unread = b""
        self.transaction: list[bytes] = []

    def queries(self, piece: bytes) -> Iterator[bytes]:
        """The queries that end in this piece."""
        self._unread += piece
        while len(self._unread) >= _HEADER_BYTES:
            length, number = int.from_bytes(self._unread[:3], "little"), self._unread[3]
            if len(self._unread) < _HEADER_BYTES + length:
                return
            payload = self._unread[_HEADER_BYTES : _HEADER_BYTES + length]
            self._unread = self._unread[_HEADER_BYTES + length :]
            # A command starts a new count of packets; what a login sends does not.
            if number == 0 and payload[:1] == bytes([_COM_QUERY]):
                query = payload[1:]
                if query.upper().startswith(BEGINS.upper()):
                    self.transaction = []
                self.transaction.append(query)
                yield query


def _connect(upstream: Upstream) -> socket.socket:
    if not isinstance(upstream, str):
        return socket.create_connection(upstream, timeout=None)
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(upstream)
    except OSError:
        server.close()
        raise
    return server


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
    one.close()
