"""`manage.py migrate`: Django's, except for how it waits on MySQL and MariaDB, which finish a statement that was cut.

So a statement that changes a table has no read timeout: the server would go on with it, and nobody would record it. It
waits for other sessions' transactions in short turns, because every statement after it queues behind it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DatabaseError, OperationalError, connections

from jobs_app.db.faults import fault_line

_LOCK_WAIT = 1205
_TURN_SECONDS = 5
_TURNS = 12
_PAUSE_SECONDS = 1.0  # in which the sessions go on that came after it
# Table, column, key or constraint are there already; or what is to be dropped or changed is gone.
_DONE_ALREADY = {1050, 1060, 1061, 1826, 3822, 1091, 1146, 1054}
_REMEDY = "docs/running.md#a-migrate-that-did-not-end"


class Command(migrate.Command):
    _migration = "its preparation"

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        try:
            with _patient(connection), connection.execute_wrapper(self._in_turns):
                super().handle(*args, **options)
        except DatabaseError as error:
            raise CommandError(f"migrate: {self._sentence(error)}") from error

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        self._migration = str(migration or self._migration)
        super().migration_progress_callback(action, migration, fake)

    def _in_turns(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        for _ in range(_TURNS - 1):
            try:
                return execute(sql, params, many, context)
            except OperationalError as error:
                if error.args[0] != _LOCK_WAIT:
                    raise
            self.stderr.write(f"migrate: {self._migration} waits for a transaction of another session")
            time.sleep(_PAUSE_SECONDS)
        return execute(sql, params, many, context)

    def _sentence(self, error: DatabaseError) -> str:
        number = error.args[0] if error.args else None
        if number == _LOCK_WAIT:
            return (
                f"{self._migration}: a transaction of another session has not ended in {_TURNS * _TURN_SECONDS} s: end "
                f"it, and run this again; {_REMEDY} says how to find it"
            )
        if number in _DONE_ALREADY:
            return (
                f"{self._migration}: {error.args[-1]} (error {number}): a part of it is done already, by a migrate "
                f"that did not end or that runs beside this one: {_REMEDY}"
            )
        return f"{self._migration}: {fault_line(error)}"


@contextmanager
def _patient(connection: Any) -> Iterator[None]:
    """New connections meanwhile wait for an answer as long as it takes, but for a lock one turn."""
    if connection.vendor != "mysql":
        yield
        return
    options = connection.settings_dict["OPTIONS"]
    first = options.get("init_command", "SET autocommit = 1")  # as it is anyway: something to add to
    waits = f"{first}, lock_wait_timeout = {_TURN_SECONDS}, innodb_lock_wait_timeout = {_TURN_SECONDS}"
    connection.close()
    connection.settings_dict["OPTIONS"] = options | {"read_timeout": 0, "init_command": waits}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = options
