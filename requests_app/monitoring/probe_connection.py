"""A database connection for probes and scrapes: its own, opened anew each time, and quick to give up."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

_CONNECT_SECONDS = 2


@contextmanager
def probe_connection(answer_seconds: int) -> Iterator[BaseDatabaseWrapper]:
    """The settings' timeouts are made for workers; a probe needs an answer soon, also when the database is frozen.

    `answer_seconds`: how long one statement may take. Raises django.db.Error at the first use.
    """
    connection = connections[DEFAULT_DB_ALIAS].copy()
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "mysql":
        timeouts = {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": answer_seconds,
            "write_timeout": answer_seconds,
        }
        options.update(timeouts)
    else:
        options["timeout"] = answer_seconds
    try:
        yield connection
    finally:
        connection.close()
