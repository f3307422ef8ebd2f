"""DB_HOST as a list of addresses: how it is read, and that a connection goes to the server that is the writer."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import MySQLdb
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from jobs_app.db.faults import Fault, fault_line, sort_fault
from tasker_site import settings as project_settings
from tasker_site.mysql import base, writer
from tasker_site.mysql.addresses import read_addresses
from tests.conftest import Manage
from tests.database_server import MariaDBServer

# How it is read -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [
        ("db1,db2,db3", [("db1", 3306), ("db2", 3306), ("db3", 3306)]),
        ("db1:3307, db2 ,", [("db1", 3307), ("db2", 3306)]),
        ("[::1]:3307,fe80::1,[fe80::2]", [("::1", 3307), ("fe80::1", 3306), ("fe80::2", 3306)]),
        ("/run/a.sock,db2", [("/run/a.sock", 0), ("db2", 3306)]),
    ],
)
def test_a_list_is_read_in_its_order_with_db_port_where_none_is_named(hosts, addresses):
    assert read_addresses(hosts, 3306) == addresses


@pytest.mark.parametrize("hosts", ["db1:,db2", "db1:port,db2", "db1:0,db2", "db1:65536,db2", ":3306,db2", "db1:²,db2"])
def test_what_is_no_address_is_refused_and_quoted(hosts):
    with pytest.raises(ValueError, match="is not an address such as"):
        read_addresses(hosts, 3306)


def test_a_list_of_nothing_or_with_a_double_is_refused():
    with pytest.raises(ValueError, match="names no address"):
        read_addresses(",", 3306)
    with pytest.raises(ValueError, match="twice"):
        read_addresses("db1,db1:3306", 3306)


def test_an_address_is_shown_as_it_is_written():
    assert [str(address) for address in read_addresses("db1,[::1]:5,/run/s", 3306)] == ["db1:3306", "[::1]:5", "/run/s"]


def _settings_with(monkeypatch: pytest.MonkeyPatch, host: str) -> dict[str, Any]:
    for name, value in {"USER": "u", "PASS": "p", "HOST": host, "PORT": "3306", "NAME": "n"}.items():
        monkeypatch.setenv(f"DB_{name}", value)
    return project_settings._mysql()


@pytest.mark.parametrize("host", ["db1", "127.0.0.1", "::1", "/run/mysqld/mysqld.sock"])
def test_a_single_address_uses_djangos_own_backend(host, monkeypatch):
    database = _settings_with(monkeypatch, host)
    assert (database["ENGINE"], database["HOST"], database["PORT"]) == ("django.db.backends.mysql", host, 3306)


def test_a_list_uses_the_backend_that_finds_the_writer(monkeypatch):
    assert _settings_with(monkeypatch, "db1,db2:3307")["ENGINE"] == "tasker_site.mysql"


def test_a_bad_list_is_told_at_start_up_with_the_other_faults(monkeypatch):
    monkeypatch.setattr(project_settings.env, "faults", [])
    _settings_with(monkeypatch, "db1:x,db2")
    with pytest.raises(ImproperlyConfigured, match="DB_HOST: 'db1:x' is not an address"):
        project_settings.env.stop_on_faults("local")


# Where it goes --------------------------------------------------------------------------------------------------------


class Pair:
    """Two servers that know nothing of each other: enough to be told apart by who is read only."""

    def __init__(self, first: MariaDBServer, second: MariaDBServer) -> None:
        self.first, self.second = first, second

    @property
    def hosts(self) -> str:
        return f"{self.first.socket_path},{self.second.socket_path}"

    def make_writer(self, one: MariaDBServer | None) -> None:
        for server in (self.first, self.second):
            server.start()
            self.set_read_only(server, server is not one)

    def set_read_only(self, server: MariaDBServer, read_only: bool) -> None:
        with closing(MySQLdb.connect(unix_socket=str(server.socket_path), user="root")) as connection:
            connection.cursor().execute("SET GLOBAL read_only = %s", [int(read_only)])

    def connection(self, hosts: str = "", password: str = "") -> Any:
        """A connection of Django's with the project's settings; lazy, as all of them are."""
        database = {"ENGINE": "tasker_site.mysql", "HOST": hosts or self.hosts, "PORT": 3306, "NAME": "tasker"}
        options = {"connect_timeout": 5, "read_timeout": 30}
        access = {"USER": "root", "PASSWORD": password, "OPTIONS": options}
        return ConnectionHandler({"default": database | access})["default"]

    def server_of(self, connection: Any) -> MariaDBServer:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@socket")
            socket_path = cursor.fetchone()[0]
        return next(server for server in (self.first, self.second) if str(server.socket_path) == socket_path)


@pytest.fixture(scope="module")
def _two_servers() -> Iterator[Pair]:
    with MariaDBServer() as first, MariaDBServer() as second:
        yield Pair(first, second)


@pytest.fixture
def pair(_two_servers: Pair, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """The first one is the writer. Tests may reach them without the mark `django_db`: neither is the test database."""
    monkeypatch.setattr(base, "_last_good", {})
    _two_servers.make_writer(_two_servers.first)
    with django_db_blocker.unblock():
        yield _two_servers


@pytest.mark.integration
def test_a_connection_goes_to_the_first_that_takes_writes(pair):
    assert pair.server_of(pair.connection()) is pair.first
    base._last_good.clear()
    pair.make_writer(pair.second)
    assert pair.server_of(pair.connection()) is pair.second


@pytest.mark.integration
def test_the_last_good_one_is_tried_first_so_that_processes_do_not_change_without_need(pair):
    pair.make_writer(pair.second)
    assert pair.server_of(pair.connection()) is pair.second
    pair.set_read_only(pair.first, False)
    assert pair.server_of(pair.connection()) is pair.second


@pytest.mark.integration
def test_when_the_writer_dies_the_next_connection_goes_to_its_successor(pair, caplog):
    connection = pair.connection()
    assert pair.server_of(connection) is pair.first
    pair.first.kill()
    pair.set_read_only(pair.second, False)
    with pytest.raises(OperationalError) as lost:
        pair.server_of(connection)
    assert sort_fault(lost.value) is Fault.LOST
    connection.close()
    assert pair.server_of(connection) is pair.second
    said = [record.msg for record in caplog.records]
    assert [(event["writer"], event["before"]) for event in said if event["event"] == "database_writer_changed"] == [
        (str(pair.second.socket_path), str(pair.first.socket_path))
    ]


@pytest.mark.integration
def test_when_one_thread_has_found_the_new_writer_the_others_follow(pair):
    idle, busy = pair.connection(), pair.connection()
    assert [pair.server_of(connection) for connection in (idle, busy)] == [pair.first, pair.first]
    pair.make_writer(pair.second)
    busy.close()
    assert [pair.server_of(connection) for connection in (busy, idle)] == [pair.second, pair.second]


@pytest.mark.integration
def test_a_transaction_that_has_begun_stays_where_it_is(pair):
    idle, busy = pair.connection(), pair.connection()
    pair.server_of(idle)
    idle.in_atomic_block = True  # as inside `atomic()`, which knows the project's own databases only
    pair.make_writer(pair.second)
    assert pair.server_of(busy) is pair.second
    assert pair.server_of(idle) is pair.first


@pytest.mark.integration
@pytest.mark.parametrize("command", ["verify", "run_new_requests", "run_jobs", "run_inprogress_requests"])
def test_commands_work_on_a_list_as_on_one_address(manage: Manage, command: str) -> None:
    ended = manage(command, DB_HOST=f"{settings.DATABASES['default']['HOST']},127.0.0.1:1")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.integration
def test_a_writer_that_was_demoted_is_not_used_for_another_request(pair):
    connection = pair.connection()
    assert pair.server_of(connection) is pair.first
    pair.make_writer(pair.second)
    connection.errors_occurred = True  # as after error 1290
    connection.close_if_unusable_or_obsolete()
    assert pair.server_of(connection) is pair.second


@pytest.mark.integration
def test_without_a_writer_one_line_names_each_server_and_it_is_tried_again(pair):
    pair.make_writer(None)
    pair.second.kill()
    with pytest.raises(OperationalError) as away:
        pair.connection().ensure_connection()
    assert sort_fault(away.value) is Fault.LOST
    line = fault_line(away.value)
    assert f"{pair.first.socket_path}: it is read only" in line
    assert f"{pair.second.socket_path}: Can't connect" in line


@pytest.mark.integration
def test_a_wrong_password_is_told_at_once_and_not_tried_again(pair):
    with pytest.raises(OperationalError, match="Access denied") as refused:
        pair.connection(password="wrong").ensure_connection()
    assert refused.value.args[0] == 1045
    assert sort_fault(refused.value) is Fault.OTHER


@pytest.mark.integration
def test_a_server_that_accepts_and_says_nothing_is_passed_over_in_seconds(pair):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        connection = pair.connection(f"127.0.0.1:{silent.getsockname()[1]},{pair.first.socket_path}")
        assert pair.server_of(connection) is pair.first
    assert time.monotonic() - began < 10


# What makes a writer, on servers that the private ones cannot be ------------------------------------------------------


class Answers:
    """Stands for a connection to a server that answers a query so, by how the query begins."""

    def __init__(self, **rows: Sequence[tuple[str, ...]]) -> None:
        self._rows = rows
        self.asked: list[str] = []

    def cursor(self) -> "Answers":
        return self

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *exception: object) -> None: ...

    def execute(self, query: str) -> None:
        self.asked.append(query)

    def fetchall(self) -> Sequence[tuple[str, ...]]:
        return self._rows["variables"]

    def fetchone(self) -> tuple[str, ...] | None:
        return next(iter(self._rows["role"]), None)


GROUP = [("read_only", "OFF"), ("group_replication_group_name", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")]


@pytest.mark.parametrize("role", [[], [("OFFLINE ",)], [("RECOVERING SECONDARY",)], [("ONLINE SECONDARY",)]])
def test_a_server_that_takes_writes_outside_of_its_group_is_not_the_writer(role):
    """Started again and not joined yet, it would keep what is written to it for itself."""
    with pytest.raises(MySQLdb.OperationalError) as refused:
        writer.refuse_unless_writer(Answers(variables=GROUP, role=role))
    assert refused.value.args[0] == 1290


def test_one_primary_of_several_is_not_the_writer():
    """A row that was only locked on one of them is free on the others."""
    several = [*GROUP, ("group_replication_single_primary_mode", "OFF")]
    with pytest.raises(MySQLdb.OperationalError, match="several primaries"):
        writer.refuse_unless_writer(Answers(variables=several, role=[("ONLINE PRIMARY",)]))


def test_the_primary_of_its_group_is_the_writer():
    writer.refuse_unless_writer(Answers(variables=GROUP, role=[("ONLINE PRIMARY",)]))


def test_a_galera_node_is_used_only_once_it_has_what_was_acknowledged_elsewhere():
    node = Answers(variables=[("read_only", "OFF"), ("wsrep_on", "ON")])
    writer.refuse_unless_writer(node)
    assert node.asked[1:] == list(writer._CATCH_UP)
