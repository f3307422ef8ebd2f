"""One claimed job as this process holds it, from its claim until its end."""

import asyncio
import math
import time
from dataclasses import dataclass, field
from threading import Lock

from jobs_app.models.attempts import ClaimedJob
from jobs_app.outcomes import JobContext
from jobs_app.registry import JobDefinition


@dataclass(eq=False, slots=True)
class Execution:
    """One claimed job in this process. Times are on the process's own monotonic clock, in seconds."""

    job: ClaimedJob
    context: JobContext
    definition: JobDefinition
    timeout: float
    claimed_at: float
    lease_ends: float
    begin_by: float = math.inf
    times_out: float | None = None  # set when the callback begins
    task: asyncio.Task[None] | None = None
    # A callback that begins and a hand-back of the same job must not both succeed. One lock for all jobs would be what
    # the threads of short callbacks queue for.
    lock: Lock = field(default_factory=Lock, init=False)

    def may_begin(self, now: float) -> bool:
        """A lease with less left than the timeout may be over before the callback is: then somebody else may run it.

        A permit that is used too late would meet those that were given after it.
        """
        return self.lease_ends - now >= self.timeout and now <= self.begin_by

    def ran_microseconds(self) -> int | None:
        if self.times_out is None:
            return None
        return int((time.monotonic() - self.times_out + self.timeout) * 1_000_000)
