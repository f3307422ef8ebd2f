"""Connects to the one of several MySQL or MariaDB servers that is the writer now.

A cluster outlives the loss of a server only if its clients find the next one. Drivers that can try several addresses
take the first that answers, and a replica answers too. A router in front does the same as this, and is one more thing
to run. docs/clusters.md says what the cluster has to be like.
"""

import logging
from typing import Any

import MySQLdb
from django.db.backends.mysql import base

from tasker_site.mysql.addresses import Address, read_addresses

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 2  # for each address; one that is down must not use up the budget of those after it
_NO_WRITER = 1290  # the number of the server's own "running with --read-only", so sorted as that (jobs_app/faults.py)
_NO_GRANT = 1142  # a fault of the set-up: no other address will do better
_VARIABLES = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN "
    "('read_only', 'wsrep_on', 'group_replication_group_name', 'group_replication_single_primary_mode')"
)
# A server that was started again and has not joined its group yet may take writes that nobody else ever sees.
_ROLE = (
    "SELECT CONCAT(member_state, ' ', member_role) FROM performance_schema.replication_group_members "
    "WHERE member_id = @@server_uuid"
)
# What the writer before it acknowledged may still be on its way into this node's tables: wait for it, once.
_CATCH_UP = ("SET SESSION wsrep_sync_wait = 1", "SELECT 1 FROM DUAL", "SET SESSION wsrep_sync_wait = DEFAULT")

_last_good: dict[str, Address] = {}  # by DB_HOST, for all threads


def last_good(hosts: str) -> Address | None:
    """Where the latest connection of this process to the writer among `hosts` went."""
    return _last_good.get(hosts)


class DatabaseWrapper(base.DatabaseWrapper):
    """Goes to the last good address first, then through the list in its order."""

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
            _last_good[hosts] = address
            if before not in {None, address}:
                log.warning("the database's writer is %s, no longer %s", address, before)
            return connection
        raise _no_writer(refusals)

    def is_usable(self) -> bool:
        """Asked by Django between requests after an error: a writer that was demoted answers pings as before."""
        try:
            _refuse_unless_writer(self.connection)
        except MySQLdb.Error:
            return False
        return True

    def _connect(self, conn_params: dict[str, Any], address: Address) -> Any:
        """Raises Database.Error when the server does not answer or is not the writer."""
        params = {name: value for name, value in conn_params.items() if name not in {"host", "port", "unix_socket"}}
        params["connect_timeout"] = min(_CONNECT_SECONDS, params.get("connect_timeout", _CONNECT_SECONDS))
        connection = super().get_new_connection({**params, **address.connect_arguments()})
        try:
            _refuse_unless_writer(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _refuse_unless_writer(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_VARIABLES)
        variables = dict(cursor.fetchall())
        if variables.get("read_only", "OFF") != "OFF":
            raise MySQLdb.OperationalError(_NO_WRITER, "it is read only")
        if variables.get("group_replication_group_name"):
            if variables.get("group_replication_single_primary_mode") == "OFF":
                raise MySQLdb.OperationalError(_NO_WRITER, "its group has several primaries")
            cursor.execute(_ROLE)
            role = (cursor.fetchone() or ("not in the group",))[0]
            if role != "ONLINE PRIMARY":
                raise MySQLdb.OperationalError(_NO_WRITER, f"it is {role}")
        if variables.get("wsrep_on") == "ON":
            for statement in _CATCH_UP:
                cursor.execute(statement)


def _no_writer(refusals: dict[Address, tuple[Any, ...]]) -> MySQLdb.OperationalError:
    """With the servers' own number when they all say the same, as they do of a wrong password."""
    numbers = {args[0] for args in refusals.values()}
    said = "; ".join(f"{address}: {args[-1]}" for address, args in refusals.items())
    number = numbers.pop() if len(numbers) == 1 else _NO_WRITER
    return MySQLdb.OperationalError(number, f"no server of DB_HOST is the writer ({said})")
