"""Jobs that call a service, which records every call with its Idempotency-Key and attempt; some then wait."""

import random
import time

from jobs_app.clients.http import Service
from jobs_app.outcomes import Failure, JobContext, Json, Wait
from jobs_app.registry import job
from tests.chaos import kinds

NAMES = kinds.CALLS
LONGEST_SECONDS = 0.02

_service = Service("service1", "URL_SERVICE1")
_WAITS_SECONDS = 3600.0  # longer than any storm: who waits so long is answered


def calls(context: JobContext) -> Json:
    """Takes up to LONGEST_SECONDS after its call, so that kills also come between a call and its recording."""
    _service.call(context, "GET", "/user/{id}", id=1)
    time.sleep(random.uniform(0, LONGEST_SECONDS))
    match context.name:
        case kinds.REFUSES:
            raise Failure("refused")
        case kinds.NEVER | kinds.JUST if context.attempt == 1:
            raise Wait("an answer that may not come", within=kinds.JUST_SECONDS)
        case kinds.LOOKS if not context.checks:
            raise Wait("an answer that nobody gives", within=_WAITS_SECONDS, check_after=1)
        case kinds.EARLY | kinds.SOON | kinds.TWICE | kinds.BOTH | kinds.AGAIN | kinds.REFUSED | kinds.BESIDE:
            raise Wait("the service's answer", within=_WAITS_SECONDS)
    return {f"{context.step} {context.name}": context.attempt}


for name in kinds.NAMES:
    job(name, limit=kinds.LIMIT if name in kinds.LIMITED else None)(calls)


@job("limited", limit="service1")
def limited(context: JobContext) -> None:
    _service.call(context, "GET", "/")
