"""Measures the worker on rows inserted raw, beside the raw loop, on a private MariaDB with full durability.

`make bench`, or `python -m benchmarks.run [--only NAME ...] [--repeat 3] [--json FILE]`; with DB_* set, on that server;
with --sqlite, on an SQLite file. Prints medians with their spread. A busy machine spoils it: each figure that has a
limit beside it is a ratio to something run in the same minute.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.database_server import DB_NAMES, MariaDBServer

ROOT = Path(__file__).resolve().parent.parent
Measures = dict[str, float]


@contextmanager
def database(sqlite: bool) -> Iterator[dict[str, str]]:
    if sqlite:
        with tempfile.TemporaryDirectory() as folder:
            yield {"WRK_SQLITE_FILE": f"{folder}/bench.sqlite3"}
    elif all(name in os.environ for name in DB_NAMES):
        yield {}
    else:
        with MariaDBServer(durable=True) as server:
            yield server.environment()


def measure_all(names: list[str], repeat: int) -> dict[str, list[float]]:
    from benchmarks.scenarios import SCENARIOS  # needs the settings, and so the database

    figures: dict[str, list[float]] = {}
    for name in names or SCENARIOS:
        for turn in range(repeat):
            print(f"  {name} {turn + 1}/{repeat}", file=sys.stderr, flush=True)
            for measure, value in run_one(SCENARIOS[name]).items():
                figures.setdefault(measure, []).append(value)
    return figures


def run_one(scenario: Callable[[], Measures]) -> Measures:
    from benchmarks.workload import clear

    clear()
    measures = scenario()
    clear()
    return measures


def table(figures: dict[str, list[float]]) -> str:
    width = max(len(name) for name in figures)
    lines = [f"{'':<{width}}  {'median':>10}  {'least':>10}  {'most':>10}"]
    for name, values in figures.items():
        shown = (statistics.median(values), min(values), max(values))
        lines.append(f"{name:<{width}}  " + "  ".join(f"{value:>10,.{0 if value >= 100 else 2}f}" for value in shown))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--sqlite", action="store_true")
    arguments = parser.parse_args()
    with database(arguments.sqlite) as environment:
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="benchmarks.settings")
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, check=True)
        import django

        django.setup()
        figures = measure_all(arguments.only, arguments.repeat)
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "figures": figures})
        )


if __name__ == "__main__":
    main()
