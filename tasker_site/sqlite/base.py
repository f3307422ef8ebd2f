"""Reads a moment that Python has none for, such as one of the year 0, where Django's backend would raise."""

import sqlite3
from datetime import datetime

from django.db.backends.sqlite3 import base, operations

from jobs_app.db.dialect import from_driver


def _read(text: bytes) -> datetime:
    """Naive, as Django's own."""
    return from_driver(text.decode(errors="replace")).replace(tzinfo=None)


sqlite3.register_converter("datetime", _read)  # of columns; in place of Django's, so after its import


class DatabaseOperations(operations.DatabaseOperations):
    def convert_datetimefield_value(
        self, value: str | datetime | None, expression: object, connection: object
    ) -> datetime | None:
        """Of columns and of what is reckoned from them, which comes as a text."""
        return None if value is None else from_driver(value)


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations
