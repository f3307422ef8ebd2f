"""Starts `manage.py` and gunicorn by fork from a process that has imported what they need: 0.15 s each, not 0.4.

Each is a real process: its own id, environment, streams and end; only its parent is the server. The server knows no
settings, has no thread and no connection. Where the environment differs in what Python or a package reads before any
setting, such as PYTHONPATH or LD_PRELOAD, a process is started as ever.

A `manage.py` that is started again in the same environment is forked from a child of the server that has read its
settings and loaded the apps in it: 0.05 s. The first one of each environment does that itself.
"""

import atexit
import gc
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.db.utils import load_backend

BASE_DIR = Path(__file__).resolve().parent.parent
# Read when settings are, or later: what differs from the server's has its effect.
_READ_LATE = (
    *("DB_", "WRK_", "URL_", "AUTH_", "CA_", "CERT_", "DJANGO_", "ENV", "PORT", "OTEL_", "PROMETHEUS_"),
    *("PYTEST_", "TASKER_"),
)
# What needs no settings to be imported. Not prometheus_client: PROMETHEUS_MULTIPROC_DIR must be there before.
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
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.base",
    "requests",
    "waitress.server",
)
_OF_A_TEST = ("PYTEST_", "TASKER_")  # no setting
_READ_BY_EACH = ("PROMETHEUS_", "OTEL_")  # by each process anew, and so are files that NAME_FILE name
_MOST_LOADED = 6  # that wait at once, of 30 MB each
_READY = b"ready"
_MOST_BYTES = 2**20  # of an order: more than a socket sends at once


def started(command: list[str], *, env: Mapping[str, str], **options: Any) -> "subprocess.Popen[Any]":
    """Python in the project's folder. `command`: a script or `-m MODULE`, and its arguments; `options`: as Popen's."""
    options = {"stdin": subprocess.DEVNULL} | options | {"cwd": BASE_DIR, "env": env}
    server = _server()
    if not server.can_take(env):
        return subprocess.Popen([sys.executable, *command], **options)
    loaded = _loaded_in(env) if command[0] == "manage.py" else None
    return Forked(loaded or server, command, **options)


class ForkServer:
    """Its process ends when this one does: then nobody has the other end of its socket."""

    def __init__(self) -> None:
        self.environment = _read_early(os.environ)
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
        return _read_early(environment) == self.environment

    def close(self) -> None:
        self.orders.close()
        self._process.communicate()


def _read_early(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if not name.startswith(_READ_LATE)}


class Loaded:
    """A child of the server that has loaded the apps, and forks what is started in its environment.

    Not `is_ready` where loading failed or said something: each process has to do so itself.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command, pipe = ["-m", "tests.fork_server"], subprocess.PIPE
            self._process = started(command, env=environment, stdin=theirs, stdout=pipe, stderr=subprocess.STDOUT)
        is_loaded, said = self.orders.recv(len(_READY)) == _READY, self._process.stdout
        self.is_ready = is_loaded and not select.select(filter(None, [said]), [], [], 0)[0]

    def close(self) -> None:
        """It ends with the last of its children."""
        self.is_ready = False
        self.orders.close()


_known: dict[frozenset[tuple[str, str]], Loaded | None] = {}


def _loaded_in(environment: Mapping[str, str]) -> Loaded | None:
    """From the second time on that it is asked for."""
    key = frozenset(item for item in environment.items() if not item[0].startswith(_OF_A_TEST))
    if key not in _known or any(map(_is_read_by_each, environment)):
        _known[key] = None
        return None
    loaded = _known[key] = _known.pop(key) or Loaded(environment)  # the one that was asked for last is last
    for one in [one for one in _known.values() if one and one.is_ready][:-_MOST_LOADED]:
        one.close()
    return loaded if loaded.is_ready else None


def _is_read_by_each(name: str) -> bool:
    is_file = name.startswith(_READ_LATE) and name.endswith("_FILE") and name != "WRK_SQLITE_FILE"
    return is_file or name.startswith(_READ_BY_EACH)


@cache
def _server() -> ForkServer:
    server = ForkServer()
    atexit.register(server.close)
    return server


class Forked(subprocess.Popen[Any]):
    """As Popen, but the server says its id and its end."""

    def __init__(self, server: ForkServer | Loaded, command: list[str], **options: Any) -> None:
        self.server = server
        super().__init__(command, **options)

    def _execute_child(self, command: list[str], *rest: Any) -> None:
        """In place of Popen's own, which has these arguments in each Python that we run on."""
        env, pipes = rest[5], rest[9:15]
        stdin, stdout, stderr = pipes[0], pipes[3], pipes[5]
        self._status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            order = json.dumps([command, dict(env)]).encode()
            streams = [stdin, stdout if stdout >= 0 else 1, stderr if stderr >= 0 else 2]  # below 0: ours
            socket.send_fds(self.server.orders, [order], [*streams, theirs.fileno()])
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
def serve(orders: socket.socket, *, until_all_ended: bool) -> bool:
    """True in each child, which is to run what is in sys.argv now; False at the end of the server."""
    running: dict[int, tuple[int, int]] = {}  # a descriptor that is readable at its end -> its id, where to say so
    reading = [orders.fileno()]
    while reading or (until_all_ended and running):
        for ready in select.select([*reading, *running], [], [])[0]:
            if ready in running:
                _tell_end(ready, *running.pop(ready))
                continue
            order, descriptors, *_ = socket.recv_fds(orders, _MOST_BYTES, 4)
            if not order:
                reading.clear()
                continue
            if not (child := os.fork()):
                orders.detach()
                _become(order, descriptors)
                return True
            os.write(descriptors[3], str(child).encode())
            running[os.pidfd_open(child)] = (child, descriptors[3])
            for descriptor in descriptors[:3]:
                os.close(descriptor)
    return False


def _tell_end(pidfd: int, child: int, status: int) -> None:
    _, ended = os.waitpid(child, 0)
    with suppress(BrokenPipeError):  # nobody asks any more
        os.write(status, str(os.waitstatus_to_exitcode(ended)).encode())
    os.close(status)
    os.close(pidfd)


def _become(order: bytes, descriptors: list[int]) -> None:
    sys.argv, environment = json.loads(order)
    os.environ.clear()
    os.environ.update(environment)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _load() -> None:
    """What `manage.py` does before it looks at its arguments."""
    django.setup()
    load_backend(settings.DATABASES["default"]["ENGINE"])
    import_module(settings.ROOT_URLCONF)
    assert threading.active_count() == 1, "a fork has one thread"


def _main() -> None:
    orders = socket.socket(fileno=int(sys.argv[1]) if len(sys.argv) > 1 else os.dup(0))
    if is_loaded := len(sys.argv) == 1:  # a child of the server, with orders in place of its input
        _load()
        sys.stdout.flush()
        orders.send(_READY)
    else:
        for name in _PRELOADED:
            import_module(name)
    gc.freeze()  # no child looks through it for garbage
    if serve(orders, until_all_ended=is_loaded):
        if sys.argv[0] == "-m":
            del sys.argv[0]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _main()
