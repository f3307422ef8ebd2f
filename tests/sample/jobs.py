"""Jobs that behave in one known way each, for tests that run real passes in real processes."""

import asyncio
import gc
import os
import time

from jobs_app.outcomes import Failure, JobContext, Json, Retry, Wait
from jobs_app.registry import job

RECORD_VARIABLE = "TASKER_TEST_RECORD"


@job("noop")
def noop(context: JobContext) -> None:
    """Returns at once."""


for number in (1, 2, 3, 4):
    job(f"noop_{number}")(noop)


@job("returns_extras")
def returns_extras(context: JobContext) -> Json:
    return {context.name: context.attempt}


@job("tells_collected")
def tells_collected(context: JobContext) -> Json:
    """How many objects of this process the garbage collector looks at, and how many it leaves alone."""
    return {"collected": len(gc.get_objects()), "left_alone": gc.get_freeze_count()}


@job("sleeps")
def sleeps(context: JobContext) -> None:
    """For params.seconds."""
    time.sleep(context.params["seconds"])


@job("fails")
def fails(context: JobContext) -> None:
    raise Failure("refused, as asked")


@job("retries")
def retries(context: JobContext) -> Json:
    """Until attempt params.succeed_at (never, without it); then says which attempt that was."""
    if context.attempt != context.params.get("succeed_at"):
        raise Retry("not yet", after=context.params.get("after"))
    return {context.name: context.attempt}


@job("raises")
def raises(context: JobContext) -> None:
    raise ValueError("a bug, as asked")


@job("kills_worker")
def kills_worker(context: JobContext) -> None:
    """As the kernel does when memory runs out."""
    os._exit(137)


@job("async_noop")
async def async_noop(context: JobContext) -> None:
    """Returns at once, from the event loop."""


@job("async_sleeps")
async def async_sleeps(context: JobContext) -> None:
    """For params.seconds, in the event loop."""
    await asyncio.sleep(context.params["seconds"])


def records(context: JobContext) -> None:
    """Adds a line `token step name attempt pid` to the file that TASKER_TEST_RECORD names; then sleeps params.seconds.

    One write to a file opened for appending: lines of several processes never mix.
    """
    _record(f"{context.token} {context.step} {context.name} {context.attempt} {os.getpid()}")
    time.sleep(context.params.get("seconds", 0))


def _record(line: str) -> None:
    record = os.open(os.environ[RECORD_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(record, f"{line}\n".encode())
    finally:
        os.close(record)


for name in ("records", "records_1", "records_2", "records_3"):
    job(name)(records)


@job("asks_later")
def asks_later(context: JobContext) -> None:
    """Adds a line `token answer_url` to that file and waits ten days, with a check each hour; that of params.slow_check
    takes a minute.
    """
    if context.checks == 0:
        _record(f"{context.token} {context.answer_url}")
    if context.checks == context.params.get("slow_check"):
        time.sleep(60)
    raise Wait("the vendor's next batch", within=10 * 86_400, check_after=3600)
