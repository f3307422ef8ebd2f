"""What the benchmarks place, run and time: rows inserted raw, our commands as processes, the database's own times."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

ROOT = Path(__file__).resolve().parent.parent
ONE_THEN_THREE = ("noop_1",), ("noop_2", "noop_3", "noop_4")
ROWS = 1000


def steps(*jobs: tuple[str, ...]) -> str:
    return json.dumps([{"name": f"step_{index}", "jobs": list(names)} for index, names in enumerate(jobs)])


def place(count: int, of_steps: str, params: str = "{}") -> None:
    """Inserts requests as a foreign program would, many rows a statement."""
    with connection.cursor() as cursor:
        for start in range(0, count, ROWS):
            rows = min(ROWS, count - start)
            cursor.execute(
                f"INSERT INTO requests (action, params, steps) VALUES {', '.join(['(%s, %s, %s)'] * rows)}",
                ["bench", params, of_steps] * rows,
            )


def clear() -> None:
    with connection.cursor() as cursor:
        for table in ("jobs", "requests", "passes"):
            cursor.execute(f"DELETE FROM {table}")


def query(sql: str, values: list[Any] | None = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or [])
        return cursor.fetchone()[0]


@contextmanager
def workers(count: int = 1, *options: str, **environment: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`manage.py run_worker` processes that have started; ended in order at the end."""
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "benchmarks.settings"} | environment
    command = [sys.executable, "manage.py", "run_worker", *options]
    before = query("SELECT COUNT(*) FROM passes")
    started = [
        subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        while query("SELECT COUNT(*) FROM passes") < before + count:
            time.sleep(0.02)
        time.sleep(0.3)
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def drain(seconds: float = 300) -> None:
    """Until no request is open."""
    ends_at = time.monotonic() + seconds
    while query("SELECT COUNT(*) FROM requests WHERE status IN ('Queuing', 'Inprogress')"):
        if time.monotonic() > ends_at:
            raise TimeoutError("the requests did not end")
        time.sleep(0.05)


def jobs_per_second() -> float:
    """By the database's own times: from the first pick-up to the last request's end."""
    jobs = query("SELECT COUNT(*) FROM jobs WHERE status = 'completed'")
    if connection.vendor == "mysql":
        span = query("SELECT TIMESTAMPDIFF(MICROSECOND, MIN(started_at), MAX(completed_at)) / 1e6 FROM requests")
    else:
        span = query("SELECT (julianday(MAX(completed_at)) - julianday(MIN(started_at))) * 86400 FROM requests")
    return float(jobs) / float(span)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """The most that a process has held in memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
