"""The embedded database's connection."""

import sqlite3
from typing import Any


class Connection(sqlite3.Connection):
    """SQLite keeps whatever bytes it is given as a text: what is no UTF-8 must neither end a pass nor reach a log."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.text_factory = lambda text: text.decode(errors="replace")
