"""Jobs per second, each beside its limit in the same minute: the raw loop, or threads without a table."""

import json
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
THREADS = 32  # of a worker; its default
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


def bare_calls(callback: str, calls: int, **environment: str) -> dict[str, float]:
    """Calls a second, and CPU seconds a call, of as many threads as a worker's, which do nothing else."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.bare_calls",
        callback,
        "--calls",
        str(calls),
        "--threads",
        str(THREADS),
    ]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(ran.stdout)
    return figures


@repeated
def noop(scale: Scale) -> Measures:
    return _beside_raw_loop("no-op", scale.rows(12_000), ONE_THEN_THREE)


@repeated
def extras(scale: Scale) -> Measures:
    return _beside_raw_loop("extras merged", scale.rows(8000), FINDS, "--find")


def _beside_raw_loop(name: str, requests: int, jobs: tuple[tuple[str, ...], ...], *options: str) -> Measures:
    limit = raw_loop(requests, steps(*jobs), *options)
    ours = our_worker(requests, steps(*jobs))
    return {
        f"{name}: jobs/s": ours,
        f"{name}: raw loop, jobs/s": limit,
        f"{name}: ours / raw loop": ours / limit,
    }


@repeated
def sleeping(scale: Scale) -> Measures:
    requests = scale.rows(4000)
    bare = bare_calls("sleeps", 2 * requests)["calls_per_second"]
    threads = our_worker(requests, steps(("sleeps",), ("sleeps",)), params=SLEEPS_20_MS)
    loop = our_worker(
        scale.rows(10_000), steps(("async_sleeps",), ("async_sleeps",)), "--concurrency", "500", params=SLEEPS_20_MS
    )
    return {
        "20 ms, 32 threads: jobs/s": threads,
        "20 ms, 32 bare threads: calls/s": bare,
        "20 ms: ours / bare threads": threads / bare,
        "20 ms, async, 500 at once: jobs/s": loop,
    }


@repeated
def processes(scale: Scale) -> Measures:
    """Requests enough that eight processes spend most of the time at their pace, not on the way to it.

    One and two, on the way there and back, so that a machine that becomes slower or faster meanwhile spoils neither.
    """
    requests, of_steps = scale.rows(24_000), steps(*ONE_THEN_THREE)
    rates: dict[int, list[float]] = {1: [], 2: [], 8: []}
    raw = [raw_loop(requests, of_steps)]
    for count in (1, 2, 8, 2, 1):
        rates[count].append(our_worker(requests, of_steps, processes=count))
    raw.append(raw_loop(requests, of_steps))
    ours = {count: mean(of_count) for count, of_count in rates.items()}
    return {
        **{f"{count} processes: jobs/s": rate for count, rate in ours.items()},
        "beside them, raw loop: jobs/s": mean(raw),
        "2 processes: ours / raw loop": ours[2] / mean(raw),
        "2 processes / 1": ours[2] / ours[1],
        "8 processes / 2": ours[8] / ours[2],
    }
