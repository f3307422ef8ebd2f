"""Django's backend of SQLite, but for what foreign programs may have written into its columns."""

from typing import Any

from tasker_site.sqlite.connection import Connection

# IMMEDIATE: a transaction that starts as a reader cannot become a writer when another one wrote meanwhile. WAL: readers
# and the writer do not wait for each other. FULL: every commit is synced to disk.
OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "factory": Connection,
    "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
}
