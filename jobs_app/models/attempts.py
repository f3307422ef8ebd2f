"""A job's attempts as values: what a claim holds, how an attempt ends, what is to be inserted. Knows no database.

Named tuples: they come by thousands a second, and a frozen dataclass takes four times as long to make.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import models


class JobStatus(models.TextChoices):
    NEW = "new", "new"
    INPROGRESS = "inprogress", "in progress"
    COMPLETED = "completed", "completed"
    FAILURE = "failure", "failure"
    RETRY = "retry", "retry"
    CANCELLED = "cancelled", "cancelled"


class IfFails(models.TextChoices):
    """How far the failure of a job reaches."""

    STOP = "stop", "stop"  # nothing of its request is started any more
    FINISH = "finish", "finish"  # its step's other jobs end first; then the request is Failed
    CONTINUE = "continue", "continue"  # the request goes on without it


OPEN = (JobStatus.NEW, JobStatus.INPROGRESS)
NEEDS_NO_ATTEMPT = (JobStatus.NEW, JobStatus.INPROGRESS, JobStatus.COMPLETED)  # it has one, or is done
ENDED = (JobStatus.COMPLETED, JobStatus.FAILURE, JobStatus.RETRY, JobStatus.CANCELLED)
LARGE = 16 * 1024  # bytes of a request's params and extras; fewer are read with those of a whole batch
MAX_STEPS_BYTES = 256 * 1024  # of a request's steps; longer ones are not read


class ClaimedJob(NamedTuple):
    """One attempt as the process that claimed it holds it. `claim` is the claiming transaction's UUID.

    `waited_microseconds`: from when it was due until it was claimed, on the database's clock; None when the row does
    not say. `token`, `action` and `caller_trace` (its `traceparent`): its request's, for the log.
    """

    id: int
    request_id: int
    step: int
    name: str
    attempt: int
    last_attempt: int
    claim: str
    waited_microseconds: int | None = 0
    token: str = ""
    action: str = ""
    if_fails: str = "stop"
    caller_trace: str = ""


class CallbackInput(NamedTuple):
    """What a job's callback is given of its request; `params` and `extras` are JSON texts.

    `checks`: as JobContext has them. `unanswered_seconds`: in what time `waits_for` should have come, if it is over.
    `size`: of both texts; when it is above LARGE they are None, and read one by one.
    """

    params: str | None
    extras: str | None
    size: int = 0
    checks: int = 0
    waits_for: str | None = None
    unanswered_seconds: int | None = None


class Claimed(NamedTuple):
    """What a claim won, the oldest due first. `seen`: rows that it had locked, those included that it only put off."""

    ids: list[int]
    seen: int


class LockedRequest(NamedTuple):
    """A request as read under its lock. `steps`: JSON text; None when it is NULL, or too long to read.

    `shortfall`: how many jobs failed that it went on without. `extras`: JSON text, if asked for. `notify`: the name of
    a receiver that is to be told of its end, or empty.
    """

    id: int
    token: str
    action: str
    status: str
    step: int
    steps: str | None
    shortfall: int
    extras: str
    notify: str


class Result(NamedTuple):
    """How an attempt ended, ready to be recorded. Each field:

    `status`: NEW hands the job back: its callback was not called, or (with `wait`) it waits for an answer.
    `error`: a sentence of ours; with `wait`, which answer it waits for.
    `extras`: JSON text, to be merged into those of its request.
    `delay_seconds`: of a retry, until its successor is due; of a job handed back, until it is due again (0: it is due).
    `last_attempt`: of a retry, for its successor.
    `ran_microseconds`: how long its callback ran, if it began here.
    `answer`: what a service or an exception said; it may be personal data.
    `wait`: seconds until an answer must have come, and until the next look.
    `is_unanswered`: no answer came in time. When one is there that is not taken yet, the job is handed back instead.
    `is_unavailable`: its service gave no answer, or a 5xx.
    `gave_up`: it is a failure that another attempt might have mended.
    """

    job: ClaimedJob
    status: JobStatus
    error: str = ""
    extras: str | None = None
    delay_seconds: float = 0.0
    last_attempt: int = 0
    ran_microseconds: int | None = None
    answer: str | None = None
    wait: tuple[float, float] | None = None
    is_unanswered: bool = False
    is_unavailable: bool = False
    gave_up: bool = False

    @property
    def stops(self) -> bool:
        """Whether it is a failure after which nothing of its request is started any more."""
        return self.status == JobStatus.FAILURE and self.job.if_fails == IfFails.STOP


class NewJob(NamedTuple):
    """A row to insert as `new`, due `delay_seconds` from the database's now."""

    request_id: int
    step: int
    name: str
    last_attempt: int
    attempt: int = 1
    delay_seconds: float = 0.0
    if_fails: str = "stop"


class Attempt(NamedTuple):
    """What counts of one job row when its request is to move on. `error`: its beginning."""

    name: str
    attempt: int
    status: str
    error: str = ""
    if_fails: str = "stop"


@dataclass(slots=True)
class ClaimOnInsert:
    """Lets a transaction that inserts jobs claim up to `limit` of them for this process, which saves a claim's commit.

    `id`: the claim's UUID. `sent_at`: the process's monotonic clock before the transaction. `paused`: names to
    leave `new`. `steps`: (request id, step) of the jobs that were claimed, in any try of the transaction. `count`: how
    many, in the last.
    """

    id: str
    limit: int
    lease_seconds: float
    sent_at: float
    paused: Collection[str] = ()
    steps: set[tuple[int, int]] = field(default_factory=set)
    count: int = 0


@dataclass(frozen=True, slots=True)
class Poll:
    """What a poll of the tables found. `now` is the database's clock as its driver gives it, for use in a query.

    `paused`: job names of which nothing may be claimed. `resumed`: those whose parked jobs are to be brought back.
    `has_strays`: jobs wait for the permits of a limit that WRK_LIMITS does not name, or that no job has, any more.
    `has_limits`: some job needs a permit, so more than what is due may be there to run.
    """

    now: Any
    has_due: bool
    has_expired: bool
    paused: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()
    has_strays: bool = False
    has_limits: bool = False
