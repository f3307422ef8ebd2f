"""Real calls through our client to a local service that waits 20 ms, beside a bare loop of the same client."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.scenarios.scale import Measures, Scale, repeated
from benchmarks.scenarios.throughput import THREADS, bare_calls
from benchmarks.workload import ROOT, clear, cpu_seconds, drain, jobs_per_second, place, steps, workers


@contextmanager
def waiting_service() -> Iterator[tuple[str, int]]:
    """Its base URL and its process id."""
    command = [sys.executable, "-m", "benchmarks.service", "--wait", "0.02"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout  # noqa: S101 - for mypy
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
    finally:
        process.terminate()
        process.wait()


@repeated
def calls(scale: Scale) -> Measures:
    """CPU is counted while the calls are made, not while the processes start."""
    count = scale.rows(8000)
    with waiting_service() as (url, service):
        bare = bare_calls("calls_service", count, URL_SERVICE1=url)
        clear()
        with workers(1, "--concurrency", str(THREADS), URL_SERVICE1=url) as (worker,):
            before, served = cpu_seconds(worker.pid), cpu_seconds(service)
            place(count // 2, steps(("calls_service",), ("calls_service",)))
            drain()
            used, serving = cpu_seconds(worker.pid) - before, cpu_seconds(service) - served
    ours = jobs_per_second()
    return {
        "HTTP, 20 ms: calls/s": ours,
        "HTTP, 20 ms: bare loop, calls/s": bare["calls_per_second"],
        "HTTP, 20 ms: ours / bare loop": ours / bare["calls_per_second"],
        "HTTP: CPU ms a job": 1000 * used / count,
        "HTTP: CPU ms a call, bare loop": 1000 * bare["cpu_seconds_per_call"],
        "HTTP: CPU ms a call, the service": 1000 * serving / count,
    }
