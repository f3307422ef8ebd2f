"""Connects to the one of several MySQL or MariaDB servers that is the writer now.

A cluster outlives the loss of a server only if its clients find the next one. Drivers that can try several addresses
take the first that answers, and a replica answers too. A router in front does the same as this, and is one more thing
to run. docs/clusters.md says what the cluster has to be like.
"""

from contextlib import suppress
from typing import Any

import MySQLdb
import structlog
from django.db import DatabaseError, InterfaceError
from django.db.backends.mysql import base

from tasker_site.mysql.addresses import Address, read_addresses
from tasker_site.mysql.writer import NO_WRITER, refuse_unless_writer

log = structlog.stdlib.get_logger(__name__)

_CONNECT_SECONDS = 2  # for each address; one that is down must not use up the budget of those after it
_NO_GRANT = 1142  # a fault of the set-up: no other address will do better
_last_good: dict[str, Address] = {}  # by DB_HOST, for all threads


def last_good(hosts: str) -> Address | None:
    """Where the latest connection of this process to the writer among `hosts` went."""
    return _last_good.get(hosts)


class DatabaseWrapper(base.DatabaseWrapper):
    """Goes to the last good address first, then through the list in its order."""

    _address: Address | None = None

    def ensure_connection(self) -> None:
        """As always, but when another thread has found a new writer, this one leaves the old one too.

        An idle connection to a frozen server would cost its thread a whole timeout, while the others go on.
        """
        stale = self._address != last_good(str(self.settings_dict["HOST"]))
        if self.connection is not None and stale and not self.in_atomic_block:
            with suppress(DatabaseError, InterfaceError):
                self.close()
        super().ensure_connection()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        hosts = str(self.settings_dict["HOST"])
        before = last_good(hosts)
        addresses = read_addresses(hosts, int(self.settings_dict["PORT"]))
        refusals: dict[Address, tuple[Any, ...]] = {}
        for address in sorted(addresses, key=lambda address: address != before):
            try:
                connection = self._connect(conn_params, address)
            except MySQLdb.Error as error:
                if error.args[0] == _NO_GRANT:
                    raise
                refusals[address] = error.args
                continue
            self._address = _last_good[hosts] = address
            if before not in {None, address}:
                log.warning("database_writer_changed", writer=str(address), before=str(before))
            return connection
        raise _no_writer(refusals)

    def is_usable(self) -> bool:
        """Asked by Django between requests after an error: a writer that was demoted answers pings as before."""
        try:
            refuse_unless_writer(self.connection)
        except MySQLdb.Error:
            return False
        return True

    def _connect(self, conn_params: dict[str, Any], address: Address) -> Any:
        """Raises Database.Error when the server does not answer or is not the writer."""
        params = {name: value for name, value in conn_params.items() if name not in {"host", "port", "unix_socket"}}
        params["connect_timeout"] = min(_CONNECT_SECONDS, params.get("connect_timeout", _CONNECT_SECONDS))
        connection = super().get_new_connection({**params, **address.connect_arguments()})
        try:
            refuse_unless_writer(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _no_writer(refusals: dict[Address, tuple[Any, ...]]) -> MySQLdb.OperationalError:
    """With the servers' own number when they all say the same, as they do of a wrong password."""
    numbers = {args[0] for args in refusals.values()}
    said = "; ".join(f"{address}: {args[-1]}" for address, args in refusals.items())
    number = numbers.pop() if len(numbers) == 1 else NO_WRITER
    return MySQLdb.OperationalError(number, f"no server of DB_HOST is the writer ({said})")
