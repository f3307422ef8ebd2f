"""A real server on a socket whose every byte the test decides: what polite HTTP libraries would not send."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Handle = Callable[[socket.socket, int], None]


class Server:
    """Calls `handle(connection, number)` in a thread for each connection; `heads` are the requests that were read."""

    def __init__(self, handle: Handle, tls: ssl.SSLContext | None = None) -> None:
        self._handle, self._tls = handle, tls
        self.connections = 0
        self.requests: list[bytes] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # an accept() that waits would keep it open
        for connection in [self._listener, *self._open]:
            connection.close()

    def header(self, name: str, request: int = -1) -> str | None:
        """A header's value as it came over the wire."""
        for line in self.requests[request].split(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
            found, _, value = line.decode("latin-1").partition(": ")
            if found.lower() == name.lower():
                return value
        return None

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self._handle(connection, number)
        except OSError:  # the client has gone, as it should from a hostile server
            pass
        finally:
            connection.close()

    def read_request(self, connection: socket.socket) -> bool:
        """Reads one request with its body. False: the client closed the connection."""
        read = b""
        while b"\r\n\r\n" not in read or len(read) < _length(read):
            piece = connection.recv(65536)
            if not piece:
                return False
            read += piece
        self.requests.append(read)
        return True


def _length(read: bytes) -> int:
    head = read.split(b"\r\n\r\n")[0] + b"\r\n"
    _, found, after = head.lower().partition(b"content-length:")
    return len(head) + 2 + (int(after.split(b"\r\n")[0]) if found else 0)


def reset(connection: socket.socket) -> None:
    """Closes with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    """A complete answer."""
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def serving(handle: Handle, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(handle, tls)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def answering(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Answers request after request, on whatever connection, with `answers` in turn; the last one for ever."""
    left = list(answers)

    def handle(connection: socket.socket, _number: int) -> None:
        while server.read_request(connection):
            connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    with serving(handle, tls) as server:
        yield server


@contextmanager
def sending(*pieces: bytes, every: float = 0.0, end: Callable[[socket.socket], None] | None = None) -> Iterator[Server]:
    """Reads a request, sends `pieces` with a pause before each; then `end`s the connection or repeats the last."""

    def handle(connection: socket.socket, _number: int) -> None:
        server.read_request(connection)
        for piece in pieces:
            stopped.wait(every)
            connection.sendall(piece)
        if end:
            end(connection)
        while not end and not stopped.wait(every):
            connection.sendall(pieces[-1])

    stopped = threading.Event()
    with serving(handle) as server:
        try:
            yield server
        finally:
            stopped.set()
