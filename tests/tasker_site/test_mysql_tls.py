"""DB_SSL_CA, DB_SSL_CERT and DB_SSL_KEY, with a real server: who is believed, and what is never said in plain text."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import MySQLdb
import pytest
from django.db import OperationalError, connections
from django.db.utils import ConnectionHandler

from tasker_site.mysql.tls import tls_faults, tls_options
from tests.authority import Authority
from tests.database_server import MariaDBServer

PASSWORD = "a long password"


class Server(NamedTuple):
    """What a test may connect to; `plain`: the port of a server that has no TLS."""

    trusted: Authority
    port: int
    plain: int


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    cert, key = authority.certificate("server", "IP:127.0.0.1")
    port, plain = free_port(), free_port()
    tls = (f"--ssl-ca={authority.ca}", f"--ssl-cert={cert}", f"--ssl-key={key}")
    with MariaDBServer(options=(*_listens(port), *tls)) as one, MariaDBServer(options=_listens(plain)) as other:
        for each, users in ((one, {"demands": "REQUIRE SSL", "knows": "REQUIRE X509"}), (other, {"demands": ""})):
            with closing(MySQLdb.connect(unix_socket=str(each.socket_path), user="root")) as root:
                for name, demand in users.items():
                    root.cursor().execute(f"CREATE USER {name}@'127.0.0.%' IDENTIFIED BY '{PASSWORD}' {demand}")
        yield Server(authority, port, plain)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _listens(port: int) -> tuple[str, ...]:
    return ("--skip-networking=0", "--bind-address=0.0.0.0", f"--port={port}", "--skip-name-resolve")


def cipher(port: int, user: str, *files: str, host: str = "127.0.0.1", engine: str = "django.db.backends.mysql") -> str:
    """Of a connection as the settings make it."""
    options = {"connect_timeout": 5, **tls_options(*(*files, "", "", "")[:3])}
    access = {"USER": user, "PASSWORD": PASSWORD, "HOST": host, "PORT": port, "NAME": "", "OPTIONS": options}
    connection: Any = ConnectionHandler({"default": {"ENGINE": engine} | access})["default"]
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        return str(cursor.fetchone()[1])


pytestmark = pytest.mark.usefixtures("_unblocked")


@pytest.fixture
def _unblocked(django_db_blocker: Any) -> Iterator[None]:
    """None of these is the test database."""
    with django_db_blocker.unblock():
        yield


@pytest.mark.integration
def test_a_user_that_must_use_tls_is_let_in_with_the_ca_and_not_without(server: Server) -> None:
    assert cipher(server.port, "demands", server.trusted.ca)
    with pytest.raises(OperationalError, match="Access denied"):
        cipher(server.port, "demands")


@pytest.mark.integration
def test_a_list_of_servers_uses_it_too(server: Server) -> None:
    hosts = f"127.0.0.1,127.0.0.1:{server.port}"
    assert cipher(1, "demands", server.trusted.ca, host=hosts, engine="tasker_site.mysql")


@pytest.mark.integration
def test_a_certificate_of_ours_is_shown_to_a_server_that_demands_one(server: Server) -> None:
    assert cipher(server.port, "knows", server.trusted.ca, *server.trusted.certificate("client", "DNS:tasker"))
    with pytest.raises(OperationalError, match="Access denied"):
        cipher(server.port, "knows", server.trusted.ca)


@pytest.mark.integration
def test_a_server_of_another_ca_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match=r"2026.*certificate"):
        cipher(server.port, "demands", Authority(tmp_path / "other").ca)


@pytest.mark.integration
def test_a_server_of_another_name_is_refused(server: Server) -> None:
    with pytest.raises(OperationalError, match="2026"):
        cipher(server.port, "demands", server.trusted.ca, host="127.0.0.2")


@pytest.mark.integration
def test_nothing_is_said_in_plain_text(server: Server) -> None:
    assert cipher(server.plain, "demands") == ""
    with pytest.raises(OperationalError, match="2026"):
        cipher(server.plain, "demands", server.trusted.ca)


@pytest.mark.integration
def test_the_server_under_test_is_refused_with_a_ca_that_is_not_its_own(tmp_path: Path) -> None:
    """MySQL makes certificates of its own at its first start; MariaDB has none, which is plain text."""
    access = {name: connections["default"].settings_dict[name] for name in ("USER", "PASSWORD", "HOST", "PORT")}
    options = {"connect_timeout": 5, **tls_options(Authority(tmp_path / "other").ca, "", "")}
    settings = {"ENGINE": "django.db.backends.mysql", "NAME": "", "OPTIONS": options} | access
    connection: Any = ConnectionHandler({"default": settings})["default"]
    with pytest.raises(OperationalError, match="2026"):
        connection.ensure_connection()


# The files ------------------------------------------------------------------------------------------------------------


def test_files_that_fit_have_no_fault(authority: Authority) -> None:
    assert tls_faults("", "", "") == tls_faults(authority.ca, "", "") == []
    assert tls_faults(authority.ca, *authority.certificate("one", "DNS:one")) == []


def test_files_that_do_not_fit_are_named_at_the_start(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.certificate("one", "DNS:one")
    _, other_key = authority.certificate("other", "DNS:other")
    secret_key, no_pem = str(tmp_path / "secret.key"), str(tmp_path / "no.pem")
    Path(no_pem).write_text("-----BEGIN")
    subprocess.run(["openssl", "pkey", "-aes256", "-passout", "pass:x", "-in", key, "-out", secret_key], check=True)
    for files, named in {
        ("", cert, key): ["DB_SSL_CA"],
        (authority.ca, cert, ""): ["DB_SSL_KEY"],
        (authority.ca, "", key): ["DB_SSL_CERT"],
        ("", cert, ""): ["DB_SSL_CA", "DB_SSL_KEY"],
        (no_pem, "", ""): ["DB_SSL_CA"],
        (authority.ca, cert, other_key): ["DB_SSL_CERT"],
        (authority.ca, cert, secret_key): ["DB_SSL_CERT"],
        (authority.ca, no_pem, key): ["DB_SSL_CERT"],
    }.items():
        assert [fault.partition(":")[0] for fault in tls_faults(*files)] == named
