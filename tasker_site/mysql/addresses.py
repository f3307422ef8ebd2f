"""Reads DB_HOST when it is a list: `db1,db2:3307,[::1]:3306,/run/mysqld/mysqld.sock`. Knows nothing of Django."""

from typing import NamedTuple

from tasker_site.base_urls import is_host

_LAST_PORT = 65535


class Address(NamedTuple):
    """A host with its port, or the path of a socket (which has no port)."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def connect_arguments(self) -> dict[str, str | int]:
        """As MySQLdb.connect takes them."""
        if self.host.startswith("/"):
            return {"unix_socket": self.host}
        return {"host": self.host, "port": self.port}


def is_list(host: str) -> bool:
    return "," in host


def host_fault(host: str, port: int) -> str | None:
    """What is wrong with DB_HOST, be it a list or one host; None: nothing."""
    try:
        first, *_ = read_addresses(host, port)
    except ValueError as fault:
        return str(fault)
    if is_list(host) or first.host == host:
        return None
    return "one host is written without brackets and without a port, which is DB_PORT"


def read_addresses(hosts: str, port: int) -> list[Address]:
    """The addresses in their order. `port`: of those that name none. Raises ValueError, which says what is wrong."""
    addresses = [_read(text.strip(), port) for text in hosts.split(",") if text.strip()]
    if len(addresses) != len(set(addresses)):
        raise ValueError(f"{hosts!r} names an address twice")
    if not addresses:
        raise ValueError(f"{hosts!r} names no address")
    return addresses


def _read(text: str, port: int) -> Address:
    if text.startswith("/"):
        return Address(text, 0)
    host, colon, number = text.rpartition(":") if _names_port(text) else (text, "", "")
    host = host.removeprefix("[").removesuffix("]")
    if not is_host(host) or (colon and not _is_port(number)):
        shown = "what holds an @" if "@" in text else repr(text)  # a URL with a password, for one
        raise ValueError(f"{shown} is not an address such as db1, db1:3306, [::1]:3306 or /run/mysqld/mysqld.sock")
    return Address(host, int(number) if colon else port)


def _names_port(text: str) -> bool:
    """`::1` is a host without a port; `[::1]:3306` and `db1:3306` name one."""
    return "]:" in text or text.count(":") == 1


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= _LAST_PORT
