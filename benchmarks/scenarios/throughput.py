"""Jobs per second, each beside the raw loop on the same tables in the same minute."""

import os
import subprocess
import sys
from collections.abc import Mapping
from statistics import mean

from django.db import transaction

from benchmarks.scenarios.scale import Measures, Scale, repeated
from benchmarks.workload import (
    ONE_THEN_THREE,
    ROOT,
    clear,
    drain,
    forget,
    jobs_per_second,
    place,
    steps,
    workers,
)

FINDS = ("finds_1",), ("finds_2", "finds_3", "finds_4")
SLEEPS_20_MS = '{"seconds": 0.02}'


def raw_loop(requests: int, of_steps: str, *options: str, processes: int = 1, after: int = 0) -> float:
    """`after`: the last of the requests that are there to stay."""
    _make_room(after)
    place(requests, of_steps)
    command = [sys.executable, "-m", "benchmarks.raw_loop", *options]
    started = [subprocess.Popen(command, cwd=ROOT, env=os.environ) for _ in range(processes)]
    if any(process.wait() for process in started):
        raise RuntimeError("the raw loop failed")
    return jobs_per_second(after)


def our_worker(
    requests: int,
    of_steps: str,
    *options: str,
    processes: int = 1,
    params: str = "{}",
    after: int = 0,
    environment: Mapping[str, str] | None = None,
) -> float:
    """Placed while the workers are there and idle, in one transaction: they see all of it at once.

    So neither their start-up nor the placing is in the figure, as in the raw loop's; their waking up is.
    """
    _make_room(after)
    with workers(processes, *options, **(environment or {})):
        with transaction.atomic():
            place(requests, of_steps, params)
        drain()
    return jobs_per_second(after)


def _make_room(after: int) -> None:
    if after:
        forget(after)
    else:
        clear()


@repeated
def noop(scale: Scale) -> Measures:
    """2,000 requests are 8,000 jobs, the goal's unit; 4,000 are less noisy, and what the raw loop was timed with."""
    requests = scale.rows(4000)
    limit = raw_loop(requests, steps(*ONE_THEN_THREE))
    ours = our_worker(requests, steps(*ONE_THEN_THREE))
    fewer = our_worker(requests // 2, steps(*ONE_THEN_THREE))
    return {
        "no-op: jobs/s": ours,
        "no-op: raw loop, jobs/s": limit,
        "no-op: ours / raw loop": ours / limit,
        "no-op, half as many: jobs/s": fewer,
    }


@repeated
def extras(scale: Scale) -> Measures:
    requests = scale.rows(4000)
    limit = raw_loop(requests, steps(*FINDS), "--find")
    ours = our_worker(requests, steps(*FINDS))
    return {
        "extras merged: jobs/s": ours,
        "extras merged: raw loop, jobs/s": limit,
        "extras merged: ours / raw loop": ours / limit,
    }


@repeated
def sleeping(scale: Scale) -> Measures:
    threads = our_worker(scale.rows(4000), steps(("sleeps",), ("sleeps",)), params=SLEEPS_20_MS)
    loop = our_worker(
        scale.rows(10_000), steps(("async_sleeps",), ("async_sleeps",)), "--concurrency", "500", params=SLEEPS_20_MS
    )
    return {"20 ms, 32 threads: jobs/s": threads, "20 ms, async, 500 at once: jobs/s": loop}


@repeated
def processes(scale: Scale) -> Measures:
    """Eight raw loops too, also with a batch that eight can fill and record within the 100 ms that we promise.

    So many requests that eight processes spend most of the time at their pace, not on the way to it. One and two on the
    way there and back, so that a machine that becomes slower or faster meanwhile spoils neither.
    """
    requests, of_steps = scale.rows(24_000), steps(*ONE_THEN_THREE)
    rates: dict[int, list[float]] = {1: [], 2: [], 8: []}
    for count in (1, 2, 8, 2, 1):
        rates[count].append(our_worker(requests, of_steps, processes=count))
    ours = {count: mean(of_count) for count, of_count in rates.items()}
    raw = {count: raw_loop(requests, of_steps, processes=count) for count in (2, 8)}
    return {
        **{f"{count} processes: jobs/s": rate for count, rate in ours.items()},
        **{f"{count} raw loops: jobs/s": rate for count, rate in raw.items()},
        "8 raw loops, 100 a batch: jobs/s": raw_loop(requests, of_steps, "--batch", "100", processes=8),
        "2 processes: ours / raw loops": ours[2] / raw[2],
        "2 processes / 1": ours[2] / ours[1],
        "8 processes / 2": ours[8] / ours[2],
        "8 raw loops / 2": raw[8] / raw[2],
    }
