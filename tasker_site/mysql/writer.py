"""Tells whether the server at the other end of a connection is the one that takes writes. Knows nothing of Django."""

from typing import Any

import MySQLdb

NO_WRITER = 1290  # the number of the server's own "running with --read-only", so sorted as that (jobs_app/db/faults.py)
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


def refuse_unless_writer(connection: Any) -> None:
    """Raises MySQLdb.OperationalError that says what else it is. `connection`: as MySQLdb.connect gives it."""
    with connection.cursor() as cursor:
        cursor.execute(_VARIABLES)
        variables = dict(cursor.fetchall())
        if variables.get("read_only", "OFF") != "OFF":
            raise MySQLdb.OperationalError(NO_WRITER, "it is read only")
        if variables.get("group_replication_group_name"):
            if variables.get("group_replication_single_primary_mode") == "OFF":
                raise MySQLdb.OperationalError(NO_WRITER, "its group has several primaries")
            cursor.execute(_ROLE)
            role = (cursor.fetchone() or ("not in the group",))[0]
            if role != "ONLINE PRIMARY":
                raise MySQLdb.OperationalError(NO_WRITER, f"it is {role}")
        if variables.get("wsrep_on") == "ON":
            for statement in _CATCH_UP:
                cursor.execute(statement)
