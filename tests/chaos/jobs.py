"""Jobs that call a service which records every call with its Idempotency-Key and attempt."""

import random
import time

from jobs_app.clients.http import Service
from jobs_app.outcomes import JobContext, Json
from jobs_app.registry import job

NAMES = ("calls_1", "calls_2", "calls_3", "calls_4")
LONGEST_SECONDS = 0.02

_service = Service("service1", "URL_SERVICE1")


def calls(context: JobContext) -> Json:
    """Takes up to LONGEST_SECONDS after its call, so that kills also come between a call and its recording."""
    _service.call(context, "GET", "/user/{id}", id=1)
    time.sleep(random.uniform(0, LONGEST_SECONDS))
    return {f"{context.step} {context.name}": context.attempt}


for name in NAMES:
    job(name)(calls)
