"""What is measured, by name. Each scenario starts on empty tables and answers its figures."""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.workload import (
    ONE_THEN_THREE,
    ROOT,
    clear,
    cpu_seconds,
    drain,
    jobs_per_second,
    memory_mb,
    place,
    query,
    steps,
    workers,
)

Measures = dict[str, float]
FINDS = ("finds_1",), ("finds_2", "finds_3", "finds_4")


def raw_loop(requests: int, of_steps: str, *options: str, processes: int = 1) -> float:
    clear()
    place(requests, of_steps)
    command = [sys.executable, "-m", "benchmarks.raw_loop", *options]
    started = [subprocess.Popen(command, cwd=ROOT, env=os.environ) for _ in range(processes)]
    if any(process.wait() for process in started):
        raise RuntimeError("the raw loop failed")
    return jobs_per_second()


def our_worker(requests: int, of_steps: str, *options: str, processes: int = 1, params: str = "{}") -> float:
    """Placed while the workers are there and idle; so their start-up is not in the figure, their waking up is."""
    clear()
    with workers(processes, *options):
        place(requests, of_steps, params)
        drain()
    return jobs_per_second()


def noop() -> Measures:
    limit = raw_loop(4000, steps(*ONE_THEN_THREE))
    ours = our_worker(4000, steps(*ONE_THEN_THREE))
    return {"no-op, jobs/s": ours, "no-op, raw loop": limit, "no-op, ratio": ours / limit}


def extras() -> Measures:
    limit = raw_loop(4000, steps(*FINDS), "--find")
    ours = our_worker(4000, steps(*FINDS))
    return {"extras merged, jobs/s": ours, "extras merged, raw loop": limit, "extras merged, ratio": ours / limit}


def sleeping() -> Measures:
    threads = our_worker(4000, steps(("sleeps",), ("sleeps",)), params='{"seconds": 0.02}')
    loop = our_worker(
        10_000, steps(("async_sleeps",), ("async_sleeps",)), "--concurrency", "500", params='{"seconds": 0.02}'
    )
    return {"20 ms, 32 threads, jobs/s": threads, "20 ms, async, 500 at once, jobs/s": loop}


def two_processes() -> Measures:
    limit = raw_loop(8000, steps(*ONE_THEN_THREE), processes=2)
    ours = our_worker(8000, steps(*ONE_THEN_THREE), processes=2)
    return {"two processes, jobs/s": ours, "two raw loops": limit, "two processes, ratio": ours / limit}


def eight_processes() -> Measures:
    return {"eight processes, jobs/s": our_worker(8000, steps(*ONE_THEN_THREE), processes=8)}


def latency() -> Measures:
    """From an INSERT to `Completed`, one request of two steps at a time; and what an idle worker costs."""
    of_steps = steps(*ONE_THEN_THREE)
    with workers() as (worker,):
        busy = sorted(_one(of_steps, random.uniform(0.005, 0.05)) for _ in range(200))
        idle = sorted(_one(of_steps, 4.0) for _ in range(5))
        time.sleep(4)
        before = cpu_seconds(worker.pid)
        time.sleep(5)
        cost = (cpu_seconds(worker.pid) - before) / 5
    return {
        "latency when busy, p50 ms": statistics.median(busy),
        "latency when busy, p99 ms": busy[197],
        "latency after idling, most ms": idle[-1],
        "idle worker, % of a core": 100 * cost,
    }


def _one(of_steps: str, pause: float) -> float:
    """Milliseconds."""
    time.sleep(pause)
    began = time.perf_counter()
    place(1, of_steps)
    while query("SELECT COUNT(*) FROM requests WHERE status IN ('Queuing', 'Inprogress')"):
        time.sleep(0.0005)
    return 1000 * (time.perf_counter() - began)


def idle_passes() -> Measures:
    """Whole processes with nothing to do; with many requests waiting for their jobs beside it."""
    figures = {f"{name}, idle, s": _timed(name) for name in ("run_new_requests", "run_jobs", "run_inprogress_requests")}
    for waiting in (1_000, 100_000):
        clear()
        place(waiting, steps(("sleeps",)))
        _timed("run_new_requests")
        figures[f"run_inprogress_requests beside {waiting:,} waiting, s"] = _timed("run_inprogress_requests")
    return figures


def _timed(command: str, *options: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "manage.py", command, *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def memory() -> Measures:
    """The most that a worker holds, with few and with many requests queued."""
    figures = {}
    for queued in (1_000, 200_000):
        clear()
        place(queued, steps(("noop",)))
        with workers() as (worker,):
            time.sleep(5)
            figures[f"memory of a worker, {queued:,} queued, MB"] = memory_mb(worker.pid)
    return figures


SCENARIOS: dict[str, Callable[[], Measures]] = {
    scenario.__name__: scenario
    for scenario in (noop, extras, sleeping, two_processes, eight_processes, latency, idle_passes, memory)
}
