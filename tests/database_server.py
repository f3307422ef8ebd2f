"""A private MariaDB for tests and benchmarks: data and socket in a temporary folder, no network, gone at the end.

In Python: `with MariaDBServer() as server: ... server.environment()`. Around a command, which then sees the five DB_*:
`python -m tests.database_server [--durable] -- COMMAND ARGS`. Knows nothing of Django or of the project's tables.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from tests.scratch import scratch_folder

DB_NAMES = ("DB_USER", "DB_PASS", "DB_HOST", "DB_PORT", "DB_NAME")
START_SECONDS = 60.0  # far above the second it takes: a loaded machine is slow, not broken
STOP_SECONDS = 20.0
MAX_SOCKET_PATH = 100  # sockaddr_un has 108 bytes on Linux, 104 on macOS
# A user's PATH on Debian lacks the sbin folders, where the server lives.
SERVER_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/libexec"))
REMEDY = (
    "It is Debian's package mariadb-server (sudo apt-get install mariadb-server); or name a running MariaDB or MySQL "
    f"in the environment: {', '.join(DB_NAMES)}."
)


class DatabaseServerError(Exception):
    """The server cannot be had; the text says why and what to do."""


class MariaDBServer:
    """One mariadbd of our own. `durable=True`: every commit reaches the disk, as benchmarks must have it.

    Otherwise commits reach the operating system only: they survive `kill()`, not a power cut. `parent`: the folder to
    make its own in; without it, on disk if durable, else in memory if there is room.
    """

    def __init__(self, *, durable: bool = False, options: tuple[str, ...] = (), parent: Path | None = None) -> None:
        self.durable = durable
        self.options = options
        self._parent = str(parent) if parent else None if durable else scratch_folder()
        self._password = secrets.token_hex(12)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder = _short_temporary_folder(self._parent)
        try:
            self._install()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()

    def environment(self) -> dict[str, str]:
        """The five DB_*. DB_HOST is the socket's path: Django's MySQL backend takes a host that starts with / so."""
        return {
            "DB_USER": "tasker",
            "DB_PASS": self._password,
            "DB_HOST": str(self.socket_path),
            "DB_PORT": "3306",
            "DB_NAME": "tasker",
        }

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise DatabaseServerError("use the server inside its `with` block")
        return self._folder

    @property
    def socket_path(self) -> Path:
        return self.folder / "s"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise DatabaseServerError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts the server on the data that is there and waits until it answers."""
        if self._process is not None:
            return
        self.socket_path.unlink(missing_ok=True)  # a killed server leaves it
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the command, not the server under it.
            self._process = subprocess.Popen(
                [_binary("mariadbd"), *self._server_options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """An orderly shutdown."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a crash: SIGKILL. What was committed is there after `restart()`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Ends the server if it runs and starts it again on the same data, socket and password."""
        self.stop()
        self.start()

    @property
    def _log(self) -> Path:
        return self.folder / "mariadbd.log"

    def _install(self) -> None:
        installed = subprocess.run(
            [
                _binary("mariadb-install-db"),
                "--no-defaults",  # must be the first option
                *self._common_options(),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if installed.returncode:
            raise DatabaseServerError(f"mariadb-install-db failed:\n{installed.stdout}{installed.stderr}")
        # Run at every start, before the first client is let in: no client program is needed to set the server up.
        (self.folder / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS tasker CHARACTER SET utf8mb4;\n"
            f"CREATE USER IF NOT EXISTS tasker@localhost IDENTIFIED BY '{self._password}';\n"
            # On everything: Django makes test databases, and tests of faults kill sessions.
            "GRANT ALL PRIVILEGES ON *.* TO tasker@localhost;\n"
        )

    def _common_options(self) -> list[str]:
        as_root = ["--user=root"] if os.geteuid() == 0 else []  # mariadbd refuses root unless it is told
        # A tmpdir of its own: servers that start at once clear each other's files out of a common one.
        return [f"--datadir={self.folder / 'data'}", f"--tmpdir={self.folder}", "--innodb-log-file-size=64M", *as_root]

    def _server_options(self) -> list[str]:
        return [
            "--no-defaults",  # must be the first option: this server owes nothing to /etc/mysql
            *self._common_options(),
            f"--socket={self.socket_path}",
            f"--pid-file={self.folder / 'pid'}",
            f"--init-file={self.folder / 'init.sql'}",
            "--skip-networking",
            "--local-infile=OFF",  # as docs/security.md wants it
            "--character-set-server=utf8mb4",
            # Not UTC: whoever says now() where UTC_TIMESTAMP() is meant is nine hours off, and a test sees it.
            "--default-time-zone=+09:00",
            "--max-connections=500",
            "--innodb-buffer-pool-size=256M",
            "--innodb-buffer-pool-dump-at-shutdown=OFF",
            "--innodb-buffer-pool-load-at-startup=OFF",
            # 2, not 0: handed to the operating system at each commit, so that kill() loses nothing acknowledged.
            f"--innodb-flush-log-at-trx-commit={1 if self.durable else 2}",
            *self.options,
        ]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._greets():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise DatabaseServerError(f"mariadbd did not start; the end of its log:\n{self._end_of_log()}")
            time.sleep(0.02)

    def _greets(self) -> bool:
        """The server speaks first: its greeting shows that it takes clients."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self.socket_path))
            return bool(client.recv(1))
        return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end_of_log(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def _remove(self) -> None:
        self.kill()  # nothing is to be kept, so there is nothing to flush
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _short_temporary_folder(parent: str | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tasker-db-", dir=parent))
    if len(str(folder / "s")) < MAX_SOCKET_PATH:
        return folder
    folder.rmdir()  # TMPDIR is somewhere deep
    return Path(tempfile.mkdtemp(prefix="tasker-db-", dir="/tmp"))


def _binary(name: str) -> str:
    if found := shutil.which(name, path=SERVER_PATH):
        return found
    raise DatabaseServerError(f"{name} is not on this machine. {REMEDY}")


class _Terminated(BaseException):
    """SIGTERM or SIGHUP came: end the command, then the server."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def run_command(command: list[str]) -> int:
    """Runs the command to its end and gives its exit code (128 + signal, as a shell does)."""
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    try:
        code = process.wait()
    except (_Terminated, KeyboardInterrupt) as cause:
        # Ctrl-C in a terminal reaches the command as well: leave it the time to end by itself.
        code = _end_command(process, patience=STOP_SECONDS if isinstance(cause, KeyboardInterrupt) else 0.0)
    return code if code >= 0 else 128 - code


def _end_command(process: subprocess.Popen[bytes], patience: float) -> int:
    for how, seconds in ((None, patience), (signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, None)):
        if how is not None:
            process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired, _Terminated, KeyboardInterrupt):
            return process.wait(seconds)
    return process.wait()


def _given_in_environment() -> bool:
    """Whether all of DB_* are given (as a value or as NAME_FILE). Raises when only some are."""
    missing = [name for name in DB_NAMES if not {name, f"{name}_FILE"} & os.environ.keys()]
    if missing and len(missing) < len(DB_NAMES):
        raise DatabaseServerError(
            f"some of DB_* are set, but not {', '.join(missing)}: set all five to use that server, or none to get one."
        )
    return not missing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.database_server",
        description="Runs COMMAND with DB_* set to a private MariaDB, or to the server that DB_* already name.",
    )
    parser.add_argument("--durable", action="store_true", help="sync every commit to disk, for benchmarks")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="the command and its arguments, after --")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        if _given_in_environment():
            return run_command(arguments.command)
        with MariaDBServer(durable=arguments.durable) as server:
            os.environ.update(server.environment())
            return run_command(arguments.command)
    except DatabaseServerError as error:
        print(error, file=sys.stderr)
        return 1
    except (_Terminated, KeyboardInterrupt):  # while the server was starting
        return 130


if __name__ == "__main__":
    sys.exit(main())
