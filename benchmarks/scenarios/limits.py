"""What those who wait for the permits of a limit cost their neighbours, who have none."""

import os
import time
from statistics import mean

from django.db import transaction

from benchmarks.scenarios.scale import Measures, Scale, repeated
from benchmarks.workload import (
    ONE_THEN_THREE,
    forget,
    jobs_per_second,
    last_request,
    manage,
    place,
    place_many,
    query,
    steps,
    workers,
)

WAITING = 100_000
LIMITS = "bench rate=10/s concurrency=8 breaker=5"
_PATIENCE_SECONDS = 600


@repeated
def limits(scale: Scale) -> Measures:
    """Alone, beside them, and alone again: so a machine that becomes slower or faster meanwhile spoils nothing."""
    requests = scale.rows(12_000)
    unlimited, alone = _rate(requests, ""), [_rate(requests, LIMITS)]
    _let_wait(scale.rows(WAITING))
    beside = [_rate(requests, LIMITS) for _ in range(2)]
    forget(0)
    alone.append(_rate(requests, LIMITS))
    return {
        "no limits set: jobs/s": unlimited,
        "a limit, nobody waits: jobs/s": mean(alone),
        f"a limit, {WAITING:,} wait: others, jobs/s": mean(beside),
        f"a limit, {WAITING:,} wait / nobody": mean(beside) / mean(alone),
    }


def _let_wait(count: int) -> None:
    place_many(count, steps(("limited",)))
    picked_up = manage("run_new_requests", env=os.environ | {"WRK_LIMITS": LIMITS})
    if picked_up.wait():
        raise RuntimeError("run_new_requests failed")


def _rate(requests: int, limits: str) -> float:
    """Of jobs without a limit, and of nothing that is there already."""
    after = last_request()
    with workers(1, WRK_LIMITS=limits):
        with transaction.atomic():
            place(requests, steps(*ONE_THEN_THREE))
        _drain(after)
    rate = jobs_per_second(after)
    forget(after)
    return rate


def _drain(after: int) -> None:
    """Until none of those after it is open. Each look begins at the first one that was: it reads few rows."""
    ends_at = time.monotonic() + _PATIENCE_SECONDS
    first_open = "SELECT MIN(id) FROM requests WHERE id > %s AND status IN ('Queuing', 'Inprogress')"
    while first := query(first_open, [after]):
        if time.monotonic() > ends_at:
            raise TimeoutError("the requests did not end")
        after = first - 1
        time.sleep(0.05)
