"""How long a request, the record of an end, and a pass with nothing to do take."""

import json
import random
import time

from django.db import connection

from benchmarks.scenarios.scale import Measures, Scale, repeated
from benchmarks.scenarios.throughput import SLEEPS_20_MS
from benchmarks.workload import ONE_THEN_THREE, any_open, clear, cpu_seconds, drain, place, run_command, steps, workers

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
STAMPS = ("stamps_1",), ("stamps_2", "stamps_3", "stamps_4")


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@repeated
def latency(scale: Scale) -> Measures:
    """From an INSERT to `Completed`, one request of two steps at a time; and what an idle worker costs."""
    with workers() as (worker,):
        busy = busy_latencies(scale.rows(400))
        idle = [_one(4.0) for _ in range(2 if scale.quick else 8)]
        time.sleep(scale.seconds(4))
        cost = idle_percent(worker.pid, scale.seconds(5))
    return {
        "latency when busy: p50 ms": percentile(busy, 50),
        "latency when busy: p99 ms": percentile(busy, 99),
        "latency after 4 idle s: p50 ms": percentile(idle, 50),
        "latency after 4 idle s: most ms": max(idle),
        "idle worker: % of a core": cost,
        **{f"latency when busy by percentile {percent}": percentile(busy, percent) for percent in PERCENTILES},
    }


def busy_latencies(count: int) -> list[float]:
    """Milliseconds of so many requests, 5 to 50 ms after each other."""
    return [_one(random.uniform(0.005, 0.05)) for _ in range(count)]


def _one(pause: float) -> float:
    time.sleep(pause)
    began = time.perf_counter()
    place(1, steps(*ONE_THEN_THREE))
    while any_open():
        time.sleep(0.0005)
    return 1000 * (time.perf_counter() - began)


def idle_percent(pid: int, seconds: float) -> float:
    """Of one core, that a process uses while nothing is there to do."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / seconds


@repeated
def record_delay(scale: Scale) -> Measures:
    """From a callback's return until its result is recorded, while the others keep the worker as busy as it gets."""
    figures: Measures = {}
    loads = [
        ("no-op", 1, scale.rows(8000), steps(*ONE_THEN_THREE), "{}"),
        ("20 ms", 1, scale.rows(3000), steps(("sleeps",), ("sleeps",)), SLEEPS_20_MS),
    ]
    if connection.vendor == "mysql":
        loads.append(("no-op, 8 processes", 8, scale.rows(24_000), steps(*ONE_THEN_THREE), "{}"))
    for load, count, requests, of_steps, params in loads:
        clear()
        delays = record_delays(requests, of_steps, params, processes=count)
        figures |= {f"record delay, {load}: p{percent} ms": percentile(delays, percent) for percent in (50, 99)}
        figures |= {f"record delay, {load}: most ms": max(delays)}
        figures |= {
            f"record delay, {load} by percentile {percent}": percentile(delays, percent) for percent in PERCENTILES
        }
    return figures


def record_delays(requests: int, of_steps: str, params: str = "{}", processes: int = 1) -> list[float]:
    """Milliseconds, of the jobs of one request in 40: they return the moment of their return.

    Recorded is `completed_at`, the moment of the statement that writes the result, by the same machine's clock: the
    rest of its transaction and the COMMIT are not counted.
    """
    with workers(processes):
        for _ in range(40):
            place(requests // 40, of_steps, params)
            place(requests // 40 // 40 or 1, steps(*STAMPS), params)
        drain()
    recorded = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', completed_at) / 1e6"
    if connection.vendor == "sqlite":
        recorded = "(julianday(completed_at) - 2440587.5) * 86400"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT extras, {recorded} FROM jobs WHERE name LIKE %s", ["stamps%"])
        return [1000 * (float(at) - returned) for extras, at in cursor for returned in json.loads(extras).values()]


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
        cursor.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN {tuple(f'Com_{kind}' for kind in kinds)}")
        return sum(int(value) for _, value in cursor.fetchall())
