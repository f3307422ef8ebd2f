"""Measures the worker on rows inserted raw, beside the raw loop, on a private MariaDB with full durability.

`make bench`, or `python -m benchmarks.run [--only NAME ...] [--repeat 3] [--json FILE]`; with DB_* set, on that server,
whose database must be empty; with --sqlite, on an SQLite file. Prints medians with their spread, then which goals are
met. A busy machine spoils it: each figure that has a limit beside it is a ratio to something run in the same minute.
`--quick` only shows that everything runs.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS_HEADER, MARIADB, MYSQL, SQLITE, as_text, figures_table, goals_table
from benchmarks.machine import machine
from tests.database_server import DB_NAMES, MariaDBServer

ROOT = Path(__file__).resolve().parent.parent
# What makes a commit durable, and what of the table fits into memory.
VARIABLES = (
    "innodb_flush_log_at_trx_commit",
    "log_bin",
    "sync_binlog",
    "innodb_buffer_pool_size",
    "innodb_log_writer_threads",
)

ON_SQLITE = ["noop", "extras", "sleeping", "latency", "record_delay", "idle_passes"]  # one writer at a time: no more


@contextmanager
def database(sqlite: bool) -> Iterator[dict[str, str]]:
    """The environment of a database for us. A pool large enough for the indexes of 5 million jobs."""
    if sqlite:
        with tempfile.TemporaryDirectory() as folder:
            yield {"WRK_SQLITE_FILE": f"{folder}/bench.sqlite3"}
    elif all(name in os.environ for name in DB_NAMES):
        yield {}
    else:
        with MariaDBServer(
            durable=True, options=("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G")
        ) as server:
            yield server.environment()


def describe() -> dict[str, Any]:
    """Where it was measured."""
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            return {"machine": machine(), "engine": SQLITE, "version": sqlite3.sqlite_version}
        cursor.execute("SELECT VERSION()")
        version = cursor.fetchone()[0]
        cursor.execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN {VARIABLES}")
        variables = dict(cursor.fetchall())
    return {"machine": machine(), "engine": MARIADB if "MariaDB" in version else MYSQL, "version": version, **variables}


def refuse_a_used_database() -> None:
    from benchmarks.workload import query

    if query("SELECT COUNT(*) FROM requests"):
        sys.exit("the database of DB_* holds requests: benchmarks delete all rows, so give them an empty one")


def measure_all(names: list[str], repeat: int, quick: bool) -> dict[str, list[float]]:
    from django.db import connection

    from benchmarks.scenarios import SCENARIOS  # needs the settings, and so the database
    from benchmarks.scenarios.scale import Scale
    from benchmarks.workload import clear

    if unknown := [name for name in names if name not in SCENARIOS]:
        sys.exit(f"no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    figures: dict[str, list[float]] = {}
    began = time.monotonic()
    chosen = names or (list(SCENARIOS) if connection.vendor == "mysql" else ON_SQLITE)
    for place, name in enumerate(chosen, 1):
        for turn, measures in enumerate(SCENARIOS[name](Scale(repeat, quick)), 1):
            for figure, value in measures.items():
                figures.setdefault(figure, []).append(value)
            say = f"[{place}/{len(chosen)}] {name}, measured {turn} times, {time.monotonic() - began:.0f} s"
            print(say, file=sys.stderr, flush=True)
        clear()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small and once; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--sqlite", action="store_true")
    arguments = parser.parse_args()
    with database(arguments.sqlite) as environment:
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="benchmarks.settings")
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, check=True)
        import django

        django.setup()
        refuse_a_used_database()
        where = describe()
        figures = measure_all(arguments.only, 1 if arguments.quick else arguments.repeat, arguments.quick)
    print(as_text(("figure", "median", "least", "most"), figures_table(figures)), end="\n\n")
    print(as_text(GOALS_HEADER, goals_table(figures, where["engine"])))
    if not arguments.quick and not arguments.only:
        arguments.json = arguments.json or ROOT / "var" / "bench" / f"{where['engine'].lower()}.json"
    if arguments.json:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(
            json.dumps({"at": at, "quick": arguments.quick, "where": where, "figures": figures}, indent=1)
        )


if __name__ == "__main__":
    main()
