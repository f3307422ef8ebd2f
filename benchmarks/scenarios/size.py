"""What a large table, many waiting and many queued requests cost."""

import statistics
import time
from collections.abc import Iterator

from benchmarks import fill, look
from benchmarks.scenarios.latency import PASSES
from benchmarks.scenarios.scale import Measures, Scale, repeated, say
from benchmarks.scenarios.throughput import our_worker, raw_loop
from benchmarks.workload import (
    ONE_THEN_THREE,
    clear,
    forget,
    last_request,
    memory_mb,
    most_memory_mb,
    place_many,
    run_command,
    steps,
    workers,
)
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.shutdown import Stop
from requests_app.passes import run_inprogress_requests

SIZES = (0, 10_000, 100_000, 1_000_000, 5_000_000)  # finished jobs
JOBS_PER_REQUEST = 5
QUEUED = (1_000, 1_000_000)
WAITING = 100_000


def big(scale: Scale) -> Iterator[Measures]:
    """The table grows by finished jobs; what is measured on each size is deleted again. Filling takes minutes.

    So a machine may have become slower or faster meanwhile: the empty table is measured before and after.
    """
    clear()
    sizes = [scale.rows(size) if size else 0 for size in SIZES]
    turns = empty = _turns(0, scale)
    yield from empty
    filled = 0
    for size in sizes[1:]:
        say(f"fills the table up to {size:,} finished jobs")
        fill.fill(filled, size // JOBS_PER_REQUEST, sizes[-1] // JOBS_PER_REQUEST, JOBS_PER_REQUEST)
        fill.write_out()
        filled = size // JOBS_PER_REQUEST
        turns = _turns(size, scale)
        yield from turns
    largest = _medians(turns)
    for _ in range(scale.repeat):
        yield _pages()
    clear()
    again = _turns(0, scale)
    yield from again
    yield {
        f"largest / empty table: {name}": largest[name] / of_empty for name, of_empty in _medians(empty + again).items()
    }


def _turns(size: int, scale: Scale) -> list[Measures]:
    return [_on_grown_table(size, scale) for _ in range(scale.repeat)]


def _medians(turns: list[Measures]) -> dict[str, float]:
    """By name, without the size."""
    return {name.partition(": ")[2]: statistics.median(turn[name] for turn in turns) for name in turns[0]}


def _on_grown_table(size: int, scale: Scale) -> Measures:
    after = last_request()
    requests = scale.rows(12_000)  # of 4,000, half a second, one in five was a fifth slower at any size
    limit = raw_loop(requests, steps(*ONE_THEN_THREE), after=after)
    ours = our_worker(requests, steps(*ONE_THEN_THREE), after=after)
    forget(after)
    return {
        f"{size:,} finished jobs: raw loop, jobs/s": limit,
        f"{size:,} finished jobs: worker, jobs/s": ours,
        **{f"{size:,} finished jobs: {name}, idle, s": run_command(name).seconds for name in PASSES},
    }


def _pages() -> Measures:
    with look.visitor() as client:
        return {
            "largest table: /metrics, ms": look.measure(client, "/metrics").median_ms,
            "largest table: admin's list, ms": look.measure(client, look.LIST).median_ms,
        }


@repeated
def waiting(scale: Scale) -> Measures:
    """An idle run_inprogress_requests beside requests that wait for jobs: as cron starts it, and the pass alone."""
    place_many(scale.rows(WAITING), steps(("sleeps",)))
    run_command("run_new_requests")
    beside = f"idle pass beside {WAITING:,} waiting"
    return {
        f"{beside}: ms": statistics.median(_idle_pass_ms() for _ in range(7)),
        f"{beside}: whole process, s": run_command("run_inprogress_requests").seconds,
    }


def _idle_pass_ms() -> float:
    began, run = time.perf_counter(), RunRecord("run_inprogress_requests")
    run_inprogress_requests(Stop(), run)
    run.end()
    return 1000 * (time.perf_counter() - began)


@repeated
def memory(scale: Scale) -> Measures:
    """The most that a process holds at any time, with few and with many requests queued."""
    figures: dict[int, float] = {}
    measures: Measures = {}
    for queued in QUEUED:
        clear()
        place_many(scale.rows(queued), steps(("noop",)))
        seconds = f"{scale.seconds(8)}"
        held = {name: most_memory_mb(name, "--max-seconds", seconds) for name in PASSES}
        with workers() as (worker,):
            time.sleep(scale.seconds(8))
            held["run_worker"] = memory_mb(worker.pid)
        measures |= {f"memory, {queued:,} queued: {name}, MB": megabytes for name, megabytes in held.items()}
        figures[queued] = max(held.values())
    few, many = figures.values()
    return measures | {"memory: most, MB": max(few, many), "memory: 1,000,000 queued / 1,000": many / few}
