"""The limit of real calls: threads that do nothing but call the service through our client, no table in sight.

`URL_SERVICE1=... python -m benchmarks.bare_calls --calls 8000 --threads 32` prints the calls per second and, by
getrusage, the CPU seconds a call, as JSON.
"""

import argparse
import json
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from benchmarks.jobs import calls_service  # noqa: E402 - needs the settings
from jobs_app.outcomes import JobContext  # noqa: E402

CONTEXT = JobContext("a-token", "bench", 0, "calls_service", 1, {}, {})


def call_until(numbers: "count[int]", calls: int) -> None:
    while next(numbers) < calls:
        calls_service(CONTEXT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=32)
    arguments = parser.parse_args()
    numbers, before, began = count(), _cpu_seconds(), time.perf_counter()
    with ThreadPoolExecutor(arguments.threads) as threads:
        for ended in [threads.submit(call_until, numbers, arguments.calls) for _ in range(arguments.threads)]:
            ended.result()
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - before
    print(json.dumps({"calls_per_second": arguments.calls / seconds, "cpu_seconds_per_call": cpu / arguments.calls}))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
