"""How long a request, the record of a result, and a pass with nothing to do take."""

import json
import random
import time

from django.db import connection, transaction

from benchmarks.raw_loop import RawLoop
from benchmarks.scenarios.scale import Measures, Scale, repeated
from benchmarks.workload import ONE_THEN_THREE, any_open, clear, cpu_seconds, drain, place, run_command, steps, workers

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
STAMPS = ("stamps_1",), ("stamps_2", "stamps_3", "stamps_4")
STAMPED, JOBS = 40, 4  # requests, and jobs of each


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@repeated
def latency(scale: Scale) -> Measures:
    """From an INSERT to `Completed`, one request of two steps at a time; and what an idle worker costs.

    Before and after, the same transactions in a row on one connection.
    """
    raw = raw_latencies(scale.rows(200))
    with workers() as (worker,):
        busy = busy_latencies(scale.rows(400))
        idle = [_one(4.0) for _ in range(2 if scale.quick else 8)]
        time.sleep(scale.seconds(4))
        cost = idle_percent(worker.pid, scale.seconds(5))
    raw += raw_latencies(scale.rows(200))
    return {
        "latency when busy: p50 ms": percentile(busy, 50),
        "latency when busy: p99 ms": percentile(busy, 99),
        "latency, raw loop: p50 ms": percentile(raw, 50),
        "latency when busy: ours / raw loop": percentile(busy, 50) / percentile(raw, 50),
        "latency after 4 idle s: p50 ms": percentile(idle, 50),
        "latency after 4 idle s: most ms": max(idle),
        "idle worker: % of a core": cost,
        **{f"latency when busy by percentile {percent}": percentile(busy, percent) for percent in PERCENTILES},
    }


def busy_latencies(count: int) -> list[float]:
    """Milliseconds of so many requests, each after a pause of 5 to 50 ms."""
    return [_one(random.uniform(0.005, 0.05)) for _ in range(count)]


def _one(pause: float) -> float:
    time.sleep(pause)
    began = time.perf_counter()
    place(1, steps(*ONE_THEN_THREE))
    while any_open():
        time.sleep(0.0005)
    return 1000 * (time.perf_counter() - began)


def raw_latencies(count: int) -> list[float]:
    """Of INSERT; pick-up; first step ended and second begun; `Completed`: one request after the other, no worker."""
    clear()
    loop, milliseconds = RawLoop([list(names) for names in ONE_THEN_THREE]), []
    for _ in range(count):
        began = time.perf_counter()
        place(1, steps(*ONE_THEN_THREE))
        with loop.transaction():
            ids = loop.pick_up()
        for step in range(len(ONE_THEN_THREE)):
            with loop.transaction():
                loop.end_step(ids, step)
        milliseconds.append(1000 * (time.perf_counter() - began))
    return milliseconds


def idle_percent(pid: int, seconds: float) -> float:
    """Of one core, that a process uses while nothing is there to do."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / seconds


@repeated
def record_delay(scale: Scale) -> Measures:
    """From a callback's return until its result is written, and until a reader sees it, under full load."""
    figures: Measures = {}
    loads = [("no-op", 1, scale.rows(8000))]
    if connection.vendor == "mysql":
        loads.append(("no-op, 8 processes", 8, scale.rows(24_000)))
    for load, count, requests in loads:
        clear()
        written, seen = record_delays(requests, processes=count)
        for name, delays in ((f"record delay, {load}", written), (f"record delay, {load}, seen", seen)):
            figures |= {f"{name}: p{percent} ms": percentile(delays, percent) for percent in (50, 99)}
            figures |= {f"{name}: most ms": max(delays)}
            figures |= {f"{name} by percentile {percent}": percentile(delays, percent) for percent in PERCENTILES}
    return figures


def record_delays(requests: int, processes: int = 1) -> tuple[list[float], list[float]]:
    """Milliseconds, of the jobs of 40 requests among the others: they return the moment of their return.

    Written: `completed_at`, the moment of the statement that writes it, by the same machine's clock. Seen: the rest of
    the transaction, its COMMIT and up to 2 ms of the reader come on top.
    """
    with workers(processes):
        with transaction.atomic():
            for _ in range(STAMPED):
                place(requests // STAMPED, steps(*ONE_THEN_THREE))
                place(1, steps(*STAMPS))
        seen_at = _watch_stamped()
        drain()
    written_at = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', completed_at) / 1e6"
    if connection.vendor == "sqlite":
        written_at = "(julianday(completed_at) - 2440587.5) * 86400"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, {written_at}, extras FROM jobs WHERE name LIKE %s", ["stamps%"])
        rows = [(id_, float(at), *json.loads(extras).values()) for id_, at, extras in cursor.fetchall()]
    return [1000 * (at - back) for _, at, back in rows], [1000 * (seen_at[id_] - back) for id_, _, back in rows]


def _watch_stamped() -> dict[int, float]:
    """When each job of these requests was seen to be completed. Looks at all of them: a few, so as not to disturb."""
    seen: dict[int, float] = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM requests WHERE steps LIKE %s", ['%"stamps_1"%'])
        left = dict.fromkeys((id_ for (id_,) in cursor.fetchall()), JOBS)
        while left:
            ids = ", ".join(map(str, left))
            cursor.execute(f"SELECT id, request_id FROM jobs WHERE request_id IN ({ids}) AND status = 'completed'")
            now = time.time()
            for id_, request_id in cursor.fetchall():
                if id_ not in seen:
                    seen[id_] = now
                    left[request_id] -= 1
            left = {request_id: jobs for request_id, jobs in left.items() if jobs}
            time.sleep(0.001)
    return seen


@repeated
def idle_passes(_: Scale) -> Measures:
    """Whole processes with nothing to do, as cron starts them."""
    figures: Measures = {}
    for name in PASSES:
        ended = run_command(name)
        figures |= {f"{name}, idle: s": ended.seconds, f"{name}, idle: CPU s": ended.cpu_seconds}
    return figures
