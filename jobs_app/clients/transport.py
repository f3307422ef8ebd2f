"""Connections that keep to one call's budget of time and bytes, whatever the server does. What is sent is http.py.

The timeouts of `requests` are per socket operation: a server that drips a byte now and then stretches them without end.
Here every operation on the socket gets the time that is left of the whole call.
"""

import http.client
import socket
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import certifi
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.response import HTTPResponse

from jobs_app.clients.responses import TooLarge


@dataclass(slots=True)
class Budget:
    """What is left of one call. `ends_at` is on the monotonic clock; `bytes_left` counts what comes over the wire."""

    ends_at: float
    bytes_left: int

    def seconds_left(self) -> float:
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the call's time is up")
        return left

    def spend(self, received: int) -> None:
        self.bytes_left -= received
        if self.bytes_left < 0:
            raise TooLarge("it does not end")


# Not on the connection: that one is pooled, and outlives the call.
budget: ContextVar[Budget] = ContextVar("budget")


class _Socket(socket.socket):
    """A socket whose operations share the call's budget.

    Each operation in C keeps to one timeout for the whole of it: a sendall, and over TLS a handshake, and a read
    however many packets its record comes in.
    """

    ended = False  # the server has closed its side

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        left = budget.get()
        self.settimeout(left.seconds_left())
        received = super().recv_into(*args, **kwargs)
        left.spend(received)
        self.ended = received == 0
        return received

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(budget.get().seconds_left())
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(budget.get().seconds_left())
        super().sendall(*args, **kwargs)


class _TlsSocket(_Socket, ssl.SSLSocket):
    """The same over TLS; made by the context."""


def _connect(host: str, port: int) -> _Socket:
    """A connection to the first address that answers. Each has its share of the time: a dead one does not use up all.

    The name's lookup is the system's, which no timeout reaches: resolv.conf's own limits hold.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failed: OSError = OSError("the name has no address")
    for place, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = _Socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(budget.get().seconds_left() / (len(addresses) - place))
            sock.connect(address)
            sock.settimeout(budget.get().seconds_left())  # for the TLS handshake, one operation in C
            return sock
        except OSError as error:
            sock.close()
            failed = error
    raise failed


class _Response(http.client.HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        """Every interim answer (1xx) is skipped; http.client skips 100 only, and takes another one for the answer."""
        version, status, reason = super()._read_status()  # type: ignore[misc] # typeshed leaves it out
        return version, 100 if 100 <= status < 200 else status, reason


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        try:
            return _connect(self._dns_host, self.port)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be one, such as `a..b`
            raise NewConnectionError(self, str(error)) from error

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as in urllib3
        """Raises ConnectionResetError for headers that were cut: http.client takes them for complete."""
        sock = self.sock
        try:
            return super().getresponse()
        finally:
            if isinstance(sock, _Socket) and sock.ended:
                raise ConnectionResetError("the connection ended within the answer's headers")


class _TlsConnection(_Connection, HTTPSConnection):
    """Also over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Adapter(HTTPAdapter):
    """The part of requests that sends one request, and no more.

    What a Session adds are redirects, cookies kept from one call to the next, proxies and .netrc, which nobody here may
    use. Even told not to follow a redirect, it reads the redirect's body into memory, without any limit.
    """

    def __init__(self, ca: str = "", cert: str = "", *, pool_maxsize: int) -> None:
        """`ca`, `cert`: PEM files: the only one that is trusted, and who we are. Raises OSError."""
        self._context = _tls(ca, cert)
        super().__init__(pool_maxsize=pool_maxsize, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        context = self._context
        self.poolmanager = PoolManager(connections, maxsize=maxsize, block=block, ssl_context=context, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the context verifies. requests would have the whole CA bundle read again for each connection."""


def _tls(ca: str, cert: str) -> ssl.SSLContext:
    """Trusts `ca`; or else the system's store, where a company's own is, and certifi's, for a system that has none."""
    context = ssl.create_default_context(cafile=ca or None)
    if not ca:
        context.load_verify_locations(certifi.where())
    if cert:
        context.load_cert_chain(cert, password="")  # else OpenSSL would ask for one on the terminal
    context.sslsocket_class = _TlsSocket
    return context
