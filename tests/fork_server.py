"""Starts `manage.py` by fork from a process that has imported the packages it needs: 0.1 s each in place of 0.4.

Each is a real process: its own id, environment, folder, streams and end; only its parent is the server. That process
knows no settings, has no thread and no connection. What Python and packages read at their import must be the server's
own: `Forked.can_take` says so, and a command with another PYTHONPATH or LD_PRELOAD is started as ever.
"""

import gc
import json
import os
import runpy
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent
# Read when settings are, or later: what differs from the server's has its effect.
_READ_LATE = ("DB_", "WRK_", "URL_", "AUTH_", "DJANGO_", "ENV", "PORT", "PYTEST_", "TASKER_")
# All that needs no settings to be imported.
_PRELOADED = (
    "manage",
    "django.contrib.admin",
    "django.contrib.staticfiles.finders",
    "django.db.backends.mysql.base",
    "django.db.backends.sqlite3.base",
    "django.db.migrations",
    "django.db.models.sql.compiler",
    "django.template.defaulttags",
    "environ",
    "prometheus_client",
    "requests",
)
_MOST_BYTES = 150_000  # of an order; a socket's buffer holds more


class ForkServer:
    """Its process ends when this one does: then nobody has the other end of its socket."""

    def __init__(self) -> None:
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith(_READ_LATE)}
        self.orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                cwd=BASE_DIR,
                env=self.environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # a pipe, as its children's are: Python asks once whether it can seek
                stderr=subprocess.STDOUT,
            )

    def can_take(self, environment: Mapping[str, str]) -> bool:
        early = {name: text for name, text in environment.items() if not name.startswith(_READ_LATE)}
        return early == self.environment

    def close(self) -> None:
        self.orders.close()
        self._process.communicate()


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    try:
        yield server
    finally:
        server.close()


class Forked(subprocess.Popen[str]):
    """As Popen, of `manage.py`; the server says its id and its end."""

    def __init__(self, server: ForkServer, arguments: list[str], **options: Any) -> None:
        self._server = server
        super().__init__(arguments, **options)

    def _execute_child(self, arguments: list[str], *rest: Any) -> None:
        """In place of Popen's own, which has these arguments in each Python that we run on."""
        cwd, env = rest[4:6]
        pipes = rest[9:15]
        stdin, stdout, stderr = pipes[0], pipes[3], pipes[5]
        self._status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            order = json.dumps([arguments, os.fspath(cwd), dict(env)]).encode()
            socket.send_fds(self._server.orders, [order], [stdin, stdout, stderr, theirs.fileno()])
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined] # typeshed has none of this
        self.pid = int(self._status.recv(64))
        self._child_created = True

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._status.recv(64))
            self._status.close()
        return self.returncode


# In the server's process ----------------------------------------------------------------------------------------------
def serve(orders: socket.socket) -> bool:
    """True in each child, which is to run manage.py now; False at the end of the server."""
    running: dict[int, tuple[int, int]] = {}  # a descriptor that is readable at its end -> its id, where to say so
    while True:
        for ready in select.select([orders.fileno(), *running], [], [])[0]:
            if ready != orders.fileno():
                _tell_end(ready, *running.pop(ready))
                continue
            order, descriptors, *_ = socket.recv_fds(orders, _MOST_BYTES, 4)
            if not order:
                return False
            if not (child := os.fork()):
                orders.detach()
                _become(order, descriptors)
                return True
            os.write(descriptors[3], str(child).encode())
            running[os.pidfd_open(child)] = (child, descriptors[3])
            for descriptor in descriptors[:3]:
                os.close(descriptor)


def _tell_end(pidfd: int, child: int, status: int) -> None:
    _, ended = os.waitpid(child, 0)
    with suppress(BrokenPipeError):  # nobody asks any more
        os.write(status, str(os.waitstatus_to_exitcode(ended)).encode())
    os.close(status)
    os.close(pidfd)


def _become(order: bytes, descriptors: list[int]) -> None:
    sys.argv, folder, environment = json.loads(order)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


if __name__ == "__main__":
    for name in _PRELOADED:
        import_module(name)
    gc.freeze()  # no child looks through it for garbage
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        runpy.run_path(sys.argv[0], run_name="__main__")
