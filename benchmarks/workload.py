"""What the benchmarks place, run and time: rows inserted raw, our commands as processes, the database's own times."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.db import connection

ROOT = Path(__file__).resolve().parent.parent
CHECKOUT_VARIABLE = "TASKER_BENCH_CHECKOUT"  # the folder whose manage.py is run, in place of this one
ONE_THEN_THREE = ("noop_1",), ("noop_2", "noop_3", "noop_4")
ROWS = 1000


def steps(*jobs: tuple[str, ...]) -> str:
    return json.dumps([{"name": f"step_{index}", "jobs": list(names)} for index, names in enumerate(jobs)])


# Rows ----------------------------------------------------------------------------------------------------------------
def place(count: int, of_steps: str, params: str = "{}") -> None:
    """Inserts requests as a foreign program would, many rows a statement."""
    with connection.cursor() as cursor:
        for start in range(0, count, ROWS):
            rows = min(ROWS, count - start)
            cursor.execute(
                f"INSERT INTO requests (action, params, steps) VALUES {', '.join(['(%s, %s, %s)'] * rows)}",
                ["bench", params, of_steps] * rows,
            )


def place_many(count: int, of_steps: str) -> None:
    """As `place`, for hundreds of thousands: doubles what is there, inside the database."""
    place(min(count, ROWS), of_steps)
    placed = min(count, ROWS)
    while placed < count:
        more = min(placed, count - placed, 100 * ROWS)
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO requests (action, params, steps) SELECT action, params, steps FROM requests LIMIT {more}"
            )
        placed += more


def clear() -> None:
    """Empties the tables, their statistics too."""
    on_server = connection.vendor == "mysql"
    with connection.cursor() as cursor:
        there = connection.introspection.table_names(cursor)  # another checkout may lack one
        if on_server:
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
        for table in ("jobs", "requests", "answers", "passes", "unseen_ends"):
            if table in there:
                cursor.execute(f"TRUNCATE TABLE {table}" if on_server else f"DELETE FROM {table}")
        if on_server:
            cursor.execute("SET FOREIGN_KEY_CHECKS = 1")


def last_request() -> int:
    return int(query("SELECT COALESCE(MAX(id), 0) FROM requests"))


def forget(after: int) -> None:
    """Deletes the requests after this one, and their jobs."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM jobs WHERE request_id > %s", [after])
        cursor.execute("DELETE FROM requests WHERE id > %s", [after])


def query(sql: str, values: list[Any] | None = None) -> Any:
    """The first value of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or [])
        return cursor.fetchone()[0]


def any_open() -> bool:
    """Whether any request is open. It stops at the first one: a count of them all costs what is being measured."""
    index = "FORCE INDEX (requests_status_due)" if connection.vendor == "mysql" else ""
    of_status = f"SELECT 1 FROM requests {index} WHERE status ="
    return bool(query(f"SELECT EXISTS({of_status} 'Queuing') OR EXISTS({of_status} 'Inprogress')"))


def drain(seconds: float = 600) -> None:
    """Until no request is open."""
    ends_at = time.monotonic() + seconds
    while any_open():
        if time.monotonic() > ends_at:
            raise TimeoutError("the requests did not end")
        time.sleep(0.05)


def jobs_per_second(after: int = 0) -> float:
    """Of the requests after this one, by the database's own times: from the first pick-up to the last end."""
    jobs = query("SELECT COUNT(*) FROM jobs WHERE status = 'completed' AND request_id > %s", [after])
    span = "TIMESTAMPDIFF(MICROSECOND, MIN(started_at), MAX(completed_at)) / 1e6"
    if connection.vendor == "sqlite":
        span = "(julianday(MAX(completed_at)) - julianday(MIN(started_at))) * 86400"
    return float(jobs) / float(query(f"SELECT {span} FROM requests WHERE id > %s", [after]))


# Processes -----------------------------------------------------------------------------------------------------------
def manage(command: str, *options: str, **popen: Any) -> subprocess.Popen[bytes]:
    """A process of `manage.py` of the checkout that is measured."""
    folder = os.environ.get(CHECKOUT_VARIABLE, ROOT)
    return subprocess.Popen([sys.executable, "manage.py", command, *options], cwd=folder, **popen)


@contextmanager
def workers(count: int = 1, *options: str, **environment: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`manage.py run_worker` processes that have started; ended in order at the end. One that fails is an error."""
    before = query("SELECT COUNT(*) FROM passes")
    with tempfile.TemporaryFile() as said:
        start = partial(manage, "run_worker", *options, env=os.environ | environment, stdout=said, stderr=said)
        started = [start() for _ in range(count)]
        try:
            while query("SELECT COUNT(*) FROM passes") < before + count and not any(one.poll() for one in started):
                time.sleep(0.02)
            time.sleep(0.3)
            yield started
        finally:
            for process in started:
                process.terminate()
            codes = [process.wait() for process in started]
        if any(codes):
            said.seek(0)
            raise RuntimeError(f"workers ended with exit codes {codes}:\n{said.read().decode()}")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process that ended has used, by the kernel's count."""

    seconds: float
    cpu_seconds: float


def run_command(command: str, *options: str) -> Ended:
    """One `manage.py` command from its start to its end."""
    began = time.perf_counter()
    process = manage(command, *options, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}")
    seconds = time.perf_counter() - began
    return Ended(seconds, used.ru_utime + used.ru_stime)


def most_memory_mb(command: str, *options: str) -> float:
    """That one command held, looked at while it runs: the kernel's ru_maxrss begins with what its parent held."""
    process, held = manage(command, *options, stdout=subprocess.DEVNULL), 0.0
    while process.poll() is None:
        held = max(held, memory_mb(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}")
    return held


def cpu_seconds(pid: int) -> float:
    """Of a process that runs: what getrusage would tell itself."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """The most that a process has held in memory so far; 0 when it has just ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
