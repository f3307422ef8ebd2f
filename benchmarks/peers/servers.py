"""One private server for each engine: data in a temporary folder, on a socket, gone at the end. But MySQL is given."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import MySQLdb

from tests.database_server import DB_NAMES, MariaDBServer

Environment = dict[str, str]
Server = Callable[[], AbstractContextManager[Environment]]
WAIT_SECONDS = 30.0


class MissingError(Exception):
    """What an engine needs is not on this machine; the text says what to do."""


def program(name: str, package: str) -> str:
    """Where it is. As root it is installed first, as Debian's package."""
    if found := _find(name):
        return found
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", package]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MissingError(f"{name} is missing: install Debian's package {package}")
    print(f"    installs Debian's package {package}", flush=True)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    )
    if found := _find(name):
        return found
    raise MissingError(f"{package} brought no {name}")


def _find(name: str) -> str | None:
    folders = ["/usr/sbin", *(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *folders)))


@contextmanager
def mariadb() -> Iterator[Environment]:
    program("mariadbd", "mariadb-server")
    options = ("--innodb-buffer-pool-size=1G", "--innodb-lock-wait-timeout=3")  # a wait: see drive.freeze
    with MariaDBServer(durable=True, options=options) as server:
        yield server.environment()


@contextmanager
def mysql() -> Iterator[Environment]:
    """The one that DB_* name, with an empty database: Debian has no MySQL. What an engine makes there is dropped."""
    if not all(name in os.environ for name in DB_NAMES):
        raise MissingError(f"it needs a MySQL with an empty database: name it by {', '.join(DB_NAMES)}")
    environment = {name: os.environ[name] for name in DB_NAMES}
    with closing(_connect(environment)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        if "MariaDB" in (version := cursor.fetchone()[0]):
            raise MissingError(f"DB_* name a MariaDB ({version}), not a MySQL")
        if cursor.execute("SHOW TABLES"):
            raise MissingError(f"the database {environment['DB_NAME']} of DB_* is not empty")
    try:
        yield environment
    finally:
        with closing(_connect(environment)) as connection, connection.cursor() as cursor:
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            cursor.execute("SHOW TABLES")
            for (table,) in cursor.fetchall():
                cursor.execute(f"DROP TABLE `{table}`")


def _connect(environment: Environment) -> Any:
    user, password, host, port, database = (environment[name] for name in DB_NAMES)
    where = {"unix_socket": host} if host.startswith("/") else {"host": host, "port": int(port)}
    try:
        return MySQLdb.connect(user=user, password=password, database=database, **where)
    except MySQLdb.Error as error:
        raise MissingError(f"the MySQL that DB_* name does not let us in: {error.args[-1]}") from error


@contextmanager
def redis(*, fsync: str) -> Iterator[Environment]:
    """`fsync`: always, as a database does; or no: left to the operating system."""
    server = program("redis-server", "redis-server")
    with _folder() as folder:
        options = {
            "port": "0",
            "unixsocket": str(folder / "s"),
            "dir": str(folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": fsync,
        }
        command = [server, *(part for name, value in options.items() for part in (f"--{name}", value))]
        with _started(command, folder, ready=(folder / "s").exists):
            yield {"PEER_REDIS_SOCKET": str(folder / "s")}


@contextmanager
def postgresql() -> Iterator[Environment]:
    """As it is by default: every commit synced. It refuses to be root: then it runs as Debian's user postgres."""
    initdb, server = program("initdb", "postgresql"), program("postgres", "postgresql")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with _folder() as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(
            [initdb, "-D", str(data), "-U", "tasker", "--auth=trust", "--encoding=UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
            cwd=folder,
        )
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "max_connections=300"]
        with _started([server, "-D", str(data), *options], folder, ready=_answers(folder), user=user):
            yield {"PEER_POSTGRES": f"postgresql://tasker@/postgres?host={folder}"}


def _answers(folder: Path) -> Callable[[], bool]:
    command = [program("pg_isready", "postgresql-client"), "-q", "-h", str(folder), "-U", "tasker"]
    return lambda: subprocess.run(command, check=False).returncode == 0


@contextmanager
def sqlite(*, fsync: bool) -> Iterator[Environment]:
    with _folder() as folder:
        yield {"PEER_SQLITE": str(folder / "queue.sqlite3"), "PEER_FSYNC": str(int(fsync))}


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tasker-peer-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(command: list[str], folder: Path, *, ready: Callable[[], bool], user: str | None = None) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True, user=user)
    try:
        ends_at = time.monotonic() + WAIT_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > ends_at:
                raise MissingError(f"{command[0]} did not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()
