"""Is a change slower? The workers of another checkout (A) and of this one (B), measured in turn: A B B A A B.

`python -m benchmarks.compare --base FOLDER [--only noop latency ...] [--pairs 3]`; FOLDER is a `git worktree` of the
commit to compare with. Both have a database of their own on one private MariaDB with full durability, so their
migrations may differ. Requests are placed and timed from here, by raw SQL.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.database_server import MariaDBServer

ROOT = Path(__file__).resolve().parent.parent
Measures = dict[str, float]
SERVER = MariaDBServer(durable=True, options=("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G"))


def scenarios() -> dict[str, Callable[[], Measures]]:
    from benchmarks.scenarios import latency as delays  # needs the settings, and so the database
    from benchmarks.scenarios.throughput import SLEEPS_20_MS, our_worker
    from benchmarks.workload import ONE_THEN_THREE, clear, steps, workers

    def rate(processes: int, requests: int) -> Measures:
        return {f"{processes} workers: jobs/s": our_worker(requests, steps(*ONE_THEN_THREE), processes=processes)}

    def sleeping() -> Measures:
        of_steps = steps(("sleeps",), ("sleeps",))
        return {"20 ms, 32 threads: jobs/s": our_worker(3000, of_steps, params=SLEEPS_20_MS)}

    def latency() -> Measures:
        clear()
        with workers() as (worker,):
            busy = delays.busy_latencies(250)
            time.sleep(3)
            idle = delays.idle_percent(worker.pid, 4)
        p50, p99 = (delays.percentile(busy, percent) for percent in (50, 99))
        return {"latency: p50 ms": p50, "latency: p99 ms": p99, "idle worker: % of a core": idle}

    def record_delay() -> Measures:
        clear()
        written, seen = delays.record_delays(8000)
        most = {"record delay: most ms": max(written), "record delay, seen: most ms": max(seen)}
        return {"record delay: p50 ms": delays.percentile(written, 50), **most}

    return {
        "noop": lambda: rate(1, 12_000),
        "two": lambda: rate(2, 16_000),
        "eight": lambda: rate(8, 20_000),
        "sleeping": sleeping,
        "latency": latency,
        "record_delay": record_delay,
    }


@contextmanager
def measuring(checkout: Path, database: str) -> Iterator[None]:
    """Within it all statements and processes are of this checkout and its database."""
    from django.db import connection

    from benchmarks.workload import CHECKOUT_VARIABLE

    os.environ.update({"DB_NAME": database, CHECKOUT_VARIABLE: str(checkout)})
    connection.settings_dict["NAME"] = database
    connection.close()
    yield


def prepare(checkouts: dict[str, Path]) -> None:
    from django.db import connection

    from benchmarks.workload import manage

    for database, checkout in checkouts.items():
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4")
        with measuring(checkout, database):
            if manage("migrate", "-v0").wait():
                sys.exit(f"{checkout} could not migrate")


def compare(measure: Callable[[], Measures], checkouts: dict[str, Path], pairs: int) -> Iterator[str]:
    """A line a figure: the medians of both, and their ratio."""
    taken: dict[str, dict[str, list[float]]] = {}
    for pair in range(pairs):
        for database, checkout in list(checkouts.items())[:: -1 if pair % 2 else 1]:
            with measuring(checkout, database):
                for figure, value in measure().items():
                    taken.setdefault(figure, {}).setdefault(database, []).append(value)
    for figure, by_database in taken.items():
        base, this = (by_database[database] for database in checkouts)
        medians = statistics.median(base), statistics.median(this)
        ratio = medians[1] / medians[0] if medians[0] else 0.0
        of_each = " | ".join(" ".join(f"{value:,.5g}" for value in values) for values in (base, this))
        yield f"{figure:26} {medians[0]:10,.5g} {medians[1]:10,.5g} {ratio:8.3f}   {of_each}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--this", type=Path, default=ROOT, metavar="FOLDER", help="default: this checkout")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    with SERVER as server:
        os.environ.update(server.environment(), DJANGO_SETTINGS_MODULE="benchmarks.settings")
        import django

        django.setup()
        of_name = scenarios()
        if unknown := set(arguments.only) - of_name.keys():
            sys.exit(f"no {', '.join(sorted(unknown))}; there are: {', '.join(of_name)}")
        checkouts = {"base": arguments.base.resolve(), "tasker": arguments.this.resolve()}
        prepare(checkouts)
        print(f"{'figure':26} {'base':>10} {'this':>10} {'ratio':>8}   each", flush=True)
        for name in arguments.only or of_name:
            for line in compare(of_name[name], checkouts, arguments.pairs):
                print(line, flush=True)


if __name__ == "__main__":
    main()
