"""How long a request, the record of an end, and a pass with nothing to do take."""

import json
import random
import time
from itertools import islice

from django.db import connection

from benchmarks.scenarios.scale import Measures, Scale, repeated
from benchmarks.scenarios.throughput import SLEEPS_20_MS
from benchmarks.workload import ONE_THEN_THREE, any_open, cpu_seconds, drain, place, run_command, steps, workers
from jobs_app.db.dialect import marks, numbers

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
STAMPS = ("stamps_1",), ("stamps_2", "stamps_3", "stamps_4")
WATCHED, LOOK_SECONDS = 100, 0.002


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@repeated
def latency(scale: Scale) -> Measures:
    """From an INSERT to `Completed`, one request of two steps at a time; and what an idle worker costs."""
    of_steps = steps(*ONE_THEN_THREE)
    with workers() as (worker,):
        busy = [_one(of_steps, random.uniform(0.005, 0.05)) for _ in range(scale.rows(400))]
        idle = [_one(of_steps, 4.0) for _ in range(2 if scale.quick else 8)]
        time.sleep(scale.seconds(4))
        before, pause = cpu_seconds(worker.pid), scale.seconds(5)
        time.sleep(pause)
        cost = (cpu_seconds(worker.pid) - before) / pause
    return {
        "latency when busy: p50 ms": percentile(busy, 50),
        "latency when busy: p99 ms": percentile(busy, 99),
        "latency after 4 idle s: p50 ms": percentile(idle, 50),
        "latency after 4 idle s: most ms": max(idle),
        "idle worker: % of a core": 100 * cost,
        **{f"latency when busy by percentile {percent}": percentile(busy, percent) for percent in PERCENTILES},
    }


def _one(of_steps: str, pause: float) -> float:
    """Milliseconds."""
    time.sleep(pause)
    began = time.perf_counter()
    place(1, of_steps)
    while any_open():
        time.sleep(0.0005)
    return 1000 * (time.perf_counter() - began)


@repeated
def record_delay(scale: Scale) -> Measures:
    """From a callback's return until its end is seen in the table, by a reader that looks every 2 ms.

    Of every 40th request, while the others keep the worker as busy as it gets; also of eight workers at once.
    """
    figures: Measures = {}
    loads = [
        ("no-op", 1, scale.rows(8000), steps(*ONE_THEN_THREE), "{}"),
        ("20 ms", 1, scale.rows(3000), steps(("sleeps",), ("sleeps",)), SLEEPS_20_MS),
    ]
    if connection.vendor == "mysql":
        loads.append(("no-op, 8 processes", 8, scale.rows(24_000), steps(*ONE_THEN_THREE), "{}"))
    for load, count, requests, of_steps, params in loads:
        with workers(count):
            for _ in range(40):
                place(requests // 40, of_steps, params)
                place(requests // 40 // 40 or 1, steps(*STAMPS), params)
            delays = _watch_stamped()
            drain()
        figures |= {f"record delay, {load}: p{percent} ms": percentile(delays, percent) for percent in (50, 99)}
        figures |= {f"record delay, {load}: most ms": max(delays)}
        figures |= {
            f"record delay, {load} by percentile {percent}": percentile(delays, percent) for percent in PERCENTILES
        }
    return figures


def _watch_stamped() -> list[float]:
    """Milliseconds, of all jobs that say when they returned.

    It looks at the oldest that have not ended, several times as many as are in progress at once: a look at all of them
    takes a fifth of two cores (MySQL) from what is being measured.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM requests WHERE status <> 'Completed' AND steps LIKE %s ORDER BY id", ['%"stamps_1"%']
        )
        left = {id_: 4 for (id_,) in cursor.fetchall()}  # jobs to be seen of each
        seen: dict[int, float] = {}
        while left:
            oldest = list(islice(left, WATCHED))
            cursor.execute(
                f"SELECT id, request_id, extras FROM jobs WHERE request_id IN ({numbers(oldest)}) "
                "AND status = 'completed'",
            )
            now = time.time()
            for id_, request_id, extras in cursor.fetchall():
                if id_ not in seen:
                    (returned_at,) = json.loads(extras).values()
                    seen[id_] = 1000 * (now - returned_at)
                    left[request_id] -= 1
            left = {request_id: jobs for request_id, jobs in left.items() if jobs}
            time.sleep(LOOK_SECONDS)
    return list(seen.values())


@repeated
def idle_passes(_: Scale) -> Measures:
    """Whole processes with nothing to do, as cron starts them."""
    figures: Measures = {}
    counts_statements = connection.vendor == "mysql"
    for name in PASSES:
        before = _statements() if counts_statements else 0
        ended = run_command(name)
        figures |= {f"{name}, idle: s": ended.seconds, f"{name}, idle: CPU s": ended.cpu_seconds}
        if counts_statements:
            figures[f"{name}, idle: statements"] = _statements() - before
    return figures


def _statements() -> int:
    """What the server was asked so far, but for settings of sessions, commits and this question."""
    kinds = ("select", "insert", "update", "delete", "insert_select")
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({marks(kinds)})", [f"Com_{kind}" for kind in kinds])
        return sum(int(value) for _, value in cursor.fetchall())
