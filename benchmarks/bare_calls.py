"""The limit of slow callbacks: threads that do nothing but call one of them, without any table.

`URL_SERVICE1=... python -m benchmarks.bare_calls calls_service --calls 8000 --threads 32` prints the calls per second
and, by getrusage, the CPU seconds a call, as JSON. The other callback is `sleeps`: 20 ms.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from benchmarks.jobs import calls_service  # noqa: E402 - needs the settings
from jobs_app.outcomes import JobContext  # noqa: E402
from tests.sample.jobs import sleeps  # noqa: E402

CALLBACKS: dict[str, Callable[[JobContext], None]] = {"calls_service": calls_service, "sleeps": sleeps}


def call_until(callback: Callable[[JobContext], None], context: JobContext, numbers: "count[int]", calls: int) -> None:
    while next(numbers) < calls:
        callback(context)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("callback", choices=CALLBACKS)
    parser.add_argument("--calls", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=32)
    arguments = parser.parse_args()
    context = JobContext("a-token", "bench", 0, arguments.callback, 1, {"seconds": 0.02}, {})
    call = partial(call_until, CALLBACKS[arguments.callback], context, count(), arguments.calls)
    before, began = _cpu_seconds(), time.perf_counter()
    with ThreadPoolExecutor(arguments.threads) as threads:
        for ended in [threads.submit(call) for _ in range(arguments.threads)]:
            ended.result()
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - before
    print(json.dumps({"calls_per_second": arguments.calls / seconds, "cpu_seconds_per_call": cpu / arguments.calls}))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
