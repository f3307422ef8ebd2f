"""One claimed job as this process holds it, from its claim until its end."""

import asyncio
import math
import time
from threading import Lock

from jobs_app.models.attempts import ClaimedJob
from jobs_app.outcomes import JobContext
from jobs_app.registry import JobDefinition


class Execution:
    """One claimed job in this process. Times are on the process's own monotonic clock, in seconds."""

    __slots__ = (
        *("begin_by", "claimed_at", "context", "definition", "job", "lease_ends", "lock", "task", "timeout"),
        "times_out",
    )

    def __init__(
        self,
        job: ClaimedJob,
        context: JobContext,
        known: JobDefinition,
        timeout: float,
        claimed_at: float,
        lease: float,
    ) -> None:
        self.job, self.context, self.definition = job, context, known
        # A callback that begins and a hand-back of the same job must not both succeed. One lock for all jobs would be
        # what the threads of short callbacks queue for.
        self.lock = Lock()
        self.claimed_at = claimed_at
        self.lease_ends = claimed_at + lease
        self.begin_by = math.inf
        self.timeout = timeout
        self.times_out: float | None = None  # set when the callback begins
        self.task: asyncio.Task[None] | None = None

    def may_begin(self, now: float) -> bool:
        """A lease with less left than the timeout may be over before the callback is: then somebody else may run it.

        A permit that is used too late would meet those that were given after it.
        """
        return self.lease_ends - now >= self.timeout and now <= self.begin_by

    def ran_microseconds(self) -> int | None:
        if self.times_out is None:
            return None
        return int((time.monotonic() - self.times_out + self.timeout) * 1_000_000)
