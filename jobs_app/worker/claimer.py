"""Gets jobs for an executor: polls, claims, and hands over what was claimed; no more than are about to begin."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar
from uuid import uuid4

from jobs_app.db.transactions import BATCH
from jobs_app.models import Job
from jobs_app.models.attempts import CallbackInput, Claimed, ClaimedJob, ClaimOnInsert, Poll
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Failed, JobContext, NotStarted, Retried, json_object
from jobs_app.registry import limits_of, names
from jobs_app.worker.executor import Executor
from jobs_app.worker.pausing import apply_pauses
from jobs_app.worker.shutdown import Stop

_POLL_SECONDS = 0.01
_BUSY_POLL_SECONDS = 1.0  # pauses and lost leases are noticed within this time, however busy the process is
# Jobs prefetched for each result of the last batch: about as many end while one batch is recorded.
_PREFETCHED_PER_RESULT = 3
_MOST_PREFETCHED = 3 * BATCH  # more would be recorded late
_LARGE_AGAIN_SECONDS = 1.0


C = TypeVar("C")


class Claimer:
    """`due_by`: a moment of `Job.objects.poll`; None: whatever is due by now, again and again.

    `paused`: the names to leave alone, as a poll of just now says. `limit`: of jobs, in all.
    """

    def __init__(
        self,
        stop: Stop,
        executor: Executor,
        run: RunRecord,
        *,
        lease_seconds: float,
        due_by: Any = None,
        paused: Collection[str] = (),
        limit: int | None = None,
    ) -> None:
        self._stop, self._executor, self._run = stop, executor, run
        self._lease, self._due_by, self.paused, self._left = lease_seconds, due_by, paused, limit
        self._lanes = {name: rule.lane for name, rule in limits_of(names()).items()}
        self.more_is_due = due_by is not None  # whether a claim would find more; a run with `due_by` begins with yes
        self._polled_at = -math.inf if due_by is None else time.monotonic()
        self._prefetched = 0  # jobs that may wait here for a thread
        self._was_handed_back = False
        self._is_closed = False

    # Capacity --------------------------------------------------------------------------------------------------------
    def free(self, replacing: int = 0) -> int:
        """How many more jobs this process should hold; none when it is to stop.

        `replacing`: how many are about to be recorded, whose places become free.
        """
        # What others have locked takes no room, but for memory's sake no more than a batch of it.
        held = len(self._executor.unrecorded) + self._executor.reserved - min(len(self._executor.locked), BATCH)
        return self.allowed(self._executor.concurrency + self._prefetched - held + replacing)

    def allowed(self, room: int) -> int:
        """How many of so many jobs may be claimed."""
        if self._is_closed or self._stop or self._executor.hangs():
            return 0
        return max(0, room if self._left is None else min(room, self._left))

    def adapt(self, recorded: int) -> None:
        """To be called when a batch of so many results was recorded: fast jobs are claimed ahead, slow ones are not.

        It falls by halves: one small batch among large ones says little.
        """
        self._prefetched = min(_MOST_PREFETCHED, max(_PREFETCHED_PER_RESULT * recorded, self._prefetched // 2))

    def close(self) -> None:
        """Nothing more is claimed."""
        self._is_closed = True

    def is_done(self) -> bool:
        """Of a run with `due_by` or a limit: whether nothing is left to claim."""
        return not (self.more_is_due or self._was_handed_back) or self._left == 0

    def look_again(self) -> None:
        """To be called when jobs were handed back: they may be due for this very run."""
        self._was_handed_back = True

    # Claims ----------------------------------------------------------------------------------------------------------
    def poll_is_due(self) -> bool:
        since = time.monotonic() - self._polled_at
        polls_for_jobs = self._due_by is None and not self.more_is_due and self.free() > 0
        return since >= (_POLL_SECONDS if polls_for_jobs else _BUSY_POLL_SECONDS)

    def poll(self) -> Poll:
        """Learns whether jobs are due, and what is paused; paused jobs are neither claimed nor begun."""
        poll = self._run.transact(Job.objects.poll)
        self.paused, self._polled_at = poll.paused, time.monotonic()
        if poll.paused:
            self._executor.hand_back_waiting(poll.paused)
        apply_pauses(poll, self._run)
        if self._due_by is None:
            self.more_is_due |= poll.has_due
        return poll

    def claim(self) -> int:
        """Claims due jobs if there is room for them; returns how many."""
        limit = min(self.free(), BATCH)
        if not limit or not (self.more_is_due or self._was_handed_back):
            return 0
        self._was_handed_back = False
        claim, sent_at = str(uuid4()), time.monotonic()
        work = partial(Job.objects.claim, claim, limit, self._lease, self._due_by, self.paused, self._lanes)
        claimed = run_claim(self._run, claim, work, lambda won: Claimed(won, limit))
        # A run with `due_by` has had what was due then once a claim got less than it asked for.
        self.more_is_due = claimed.seen == limit
        self.run_claimed(claim, claimed.ids, sent_at)
        return len(claimed.ids)

    def run_claimed(self, claim: str, ids: Collection[int], sent_at: float, begin_by: float | None = None) -> None:
        """What this process has claimed. `begin_by`: as the executor has it."""
        if self._left is not None:
            self._left -= len(ids)
        if ids:
            read = partial(Job.objects.with_requests, claim, ids)
            self._submit(self._run.transact(read), sent_at, begin_by)

    def claim_on_insert(self, replacing: int = 0) -> ClaimOnInsert:
        """For a transaction of this process that is about to insert jobs: hand it to `adopt` once that is committed."""
        # Twice the prefetch: a claim here saves a transaction.
        limit = self.free(replacing + self._prefetched)
        return ClaimOnInsert(str(uuid4()), limit, self._lease, time.monotonic(), self.paused)

    def adopt(self, claim: ClaimOnInsert) -> None:
        """Runs what a transaction claimed as it inserted it."""
        if claim.steps:
            read = partial(Job.objects.inserted_with_requests, claim.id, claim.steps)
            self._submit(self._run.transact(read), claim.sent_at)

    def _submit(
        self, rows: Sequence[tuple[ClaimedJob, CallbackInput]], sent_at: float, begin_by: float | None = None
    ) -> None:
        self._run.add({"claimed": len(rows)})
        self._executor.submit(self._readable(rows), sent_at, self._lease, begin_by)

    def _readable(self, rows: Sequence[tuple[ClaimedJob, CallbackInput]]) -> Iterator[tuple[ClaimedJob, JobContext]]:
        """With the JSON read. A job whose request cannot be read fails; its neighbours go on.

        Keys that stand twice are refused before the first callback; a later one is not to fail for them any more.
        """
        for job, row in rows:
            if row.unanswered_seconds is not None:
                error = f"no answer within {_span(row.unanswered_seconds)} from its first call: {row.waits_for}"
                self._executor.end_unowned(job, Retried(error, is_unanswered=True))
                continue
            if (texts := self._texts(job, row)) is None:
                continue
            try:
                params, extras = json_object(texts[0], unique_keys=job.step == 0), json_object(texts[1])
            except ValueError as error:
                self._executor.end_unowned(job, Failed(f"the request's params or extras cannot be read: {error}"))
            else:
                place = job.token, job.action, job.step, job.name, job.attempt
                yield job, JobContext(*place, params, extras, row.checks, job.caller_trace)

    def _texts(self, job: ClaimedJob, row: CallbackInput) -> tuple[str, str] | None:
        """Params and extras; None when they are large and enough of such is held here: then the job is handed back."""
        if row.params is not None and row.extras is not None:
            return row.params, row.extras
        if not self._executor.may_hold(job.id, row.size):
            self._executor.end_unowned(job, NotStarted(_LARGE_AGAIN_SECONDS))
            return None
        return self._run.transact(partial(Job.objects.texts_of_request, job.request_id))


def run_claim(run: RunRecord, claim: str, work: Callable[[], C], of_won: Callable[[list[int]], C]) -> C:
    """Runs a claim's transaction. What a COMMIT without a reply has won is not claimed again, but goes to `of_won`."""
    tries = count()

    def work_once() -> C:
        won = Job.objects.won_by(claim) if next(tries) else []
        return of_won(won) if won else work()

    return run.transact(work_once)


def _span(seconds: int) -> str:
    """In the largest unit that says it to one in a hundred: 7 days, 60 hours, 1 second."""
    for unit, size in {"day": 86_400, "hour": 3600, "minute": 60}.items():
        count = round(seconds / size)
        if count and abs(count * size - seconds) * 100 <= seconds:
            return _counted(count, unit)
    return _counted(seconds, "second")


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
