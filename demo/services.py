"""The three outside services of the demo and the tests: real HTTP, users in memory, idempotent by Idempotency-Key.

`python -m demo.services --ports 8101 8102 8103`; in tests `with Services() as services:` on free ports. Services 1 and
2 know a user by id, service 3 by e-mail. A deletion that gives an `answer_url` is answered 202, and done and answered
there two seconds later. Faults are part of their state, so that a test can set them.
"""

import argparse
import json
import signal
import socketserver
import sys
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType, TracebackType
from typing import Self
from urllib.parse import urlsplit

from demo.service import DEMO_FAULTS, Call, Json, Service
from demo.service import Answer as Answer
from demo.service import Fault as Fault

MAX_BODY_BYTES = 64 * 1024


class _Handler(BaseHTTPRequestHandler):
    """HTTP around one Service, plus GET /health and GET /calls."""

    server: "_Server"
    protocol_version = "HTTP/1.1"  # keep-alive
    server_version = "demo-service"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # head and body leave in one packet
    timeout = 60  # an idle connection ends

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        body = self._read_body()
        if body is None:
            self.close_connection = True
            self._send(Answer(400, {"error": "the body is not a JSON object of at most 64 KiB with a Content-Length"}))
        elif (self.command, path) == ("GET", "/health"):
            self._send(Answer(200, {"status": "ok"}))
        elif (self.command, path) == ("GET", "/calls"):
            calls = [{name: getattr(call, name) for name in Call.__slots__} for call in self.server.service.calls]
            self._send(Answer(200, {"calls": calls}))
        else:
            key, attempt = (self.headers.get(name, "") for name in ("Idempotency-Key", "Tasker-Attempt"))
            self._send(self.server.service.handle(self.command, path, key, attempt, body))

    do_GET = do_DELETE = do_POST = _serve  # noqa: N815 - the names that http.server calls

    def _read_body(self) -> Json | None:
        """The JSON object that was sent, {} without one, None when it is anything else."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return None
        sent = self.rfile.read(int(length))
        try:
            body = json.loads(sent or b"{}")
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _send(self, answer: Answer) -> None:
        content = b"" if answer.status == HTTPStatus.NO_CONTENT else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if content:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the calls are kept, and GET /calls shows them."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 512  # 5, the default, turns a burst of connections into one-second pauses

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """As TCPServer: HTTPServer's looks its own name up in the DNS, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away mid-call is everyday here: workers are killed on purpose. Real errors are shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Services:
    """The three services in this process. Port 0: any free one."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        ports: Sequence[int] = (0, 0, 0),
        users: int = 20,
        faults: Sequence[Fault] = DEMO_FAULTS,
    ) -> None:
        self._services = [Service(number, users, faults) for number in (1, 2, 3)]
        self._addresses = [(host, port) for port in ports]
        self._servers: list[_Server] = []

    def __enter__(self) -> Self:
        try:
            for address, service in zip(self._addresses, self._services, strict=True):
                self._servers.append(_Server(address, service))
        except OSError:
            self._close()
            raise
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
        self._close()

    @property
    def urls(self) -> list[str]:
        return [f"http://{server.server_name}:{server.server_port}" for server in self._servers]

    def environment(self) -> dict[str, str]:
        """URL_SERVICE1 to URL_SERVICE3."""
        return {f"URL_SERVICE{number}": url for number, url in enumerate(self.urls, start=1)}

    def calls(self, service: int) -> list[Call]:
        """What service 1, 2 or 3 was called with, in order."""
        return list(self._services[service - 1].calls)

    def users(self, service: int) -> dict[int, str]:
        """Who service 1, 2 or 3 still knows: e-mail by id."""
        return dict(self._services[service - 1].users)

    def reset(self, *, users: int = 20, faults: Sequence[Fault] = ()) -> None:
        """As new: users 1 to `users`, no calls, and these faults only."""
        for service in self._services:
            service.reset(users, faults)

    def _close(self) -> None:
        for server in self._servers:
            server.server_close()
        self._servers = []


def stop_event() -> threading.Event:
    """Set by SIGTERM, Ctrl-C and a terminal that is closed."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    return stopped


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.services", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--ports", type=int, nargs=3, default=(8101, 8102, 8103), metavar="PORT")
    parser.add_argument("--users", type=int, default=20, help="users 1 to USERS exist (default: %(default)s)")
    options = parser.parse_args()
    stopped = stop_event()
    try:
        with Services(host=options.host, ports=options.ports, users=options.users) as services:
            print("demo services:", *services.urls, flush=True)
            stopped.wait()
    except OSError as error:
        sys.exit(f"cannot listen on {options.host}, ports {options.ports}: {error.strerror}")


if __name__ == "__main__":
    main()
