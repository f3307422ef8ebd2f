"""Records how attempts ended: in batches, in threads and on connections of their own, beside the one that claims."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Thread

from django.db import DatabaseError, transaction

from jobs_app.db.connections import close_connections
from jobs_app.db.transactions import Fault, fault_line, run_transaction, sort_fault
from jobs_app.models import Job, UnseenEnd
from jobs_app.models import tally as tallies
from jobs_app.models.attempts import End, JobStatus, LockedRequest
from jobs_app.models.completions import LostSome
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.tally import Key
from jobs_app.telemetry import counters as job_tallies
from jobs_app.telemetry import events as job_events
from jobs_app.worker.executor import Pool

BATCH = 500
_BATCH_CHARACTERS = 2_000_000  # a statement must stay below the server's max_allowed_packet (16 MB by default)
RECORDERS = 2
_LINGER_SECONDS = 0.01  # an end waits this long for company, and only while other jobs run
_CROWD, _CROWD_SECONDS = 8, 0.001  # of so many at once none is waited for by itself: each would wake this thread

_COUNTED = {
    JobStatus.COMPLETED: "completed",
    JobStatus.RETRY: "retry",
    JobStatus.FAILURE: "failure",
    JobStatus.NEW: "handed_back",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """What a part of a transaction did how often: for the row of its run, and for the tallies."""

    of_run: Mapping[str, int] = field(default_factory=dict)
    tallies: Mapping[Key, int] = field(default_factory=dict)


# What is to follow the recording of a batch, inside its transaction: given the ends that won, and their requests,
# locked. It answers what it did how often, and what to do once that is committed.
FollowUp = Callable[[list[LockedRequest], Sequence[End]], tuple[Counts, Callable[[], None]]]


def record_ends(
    ends: Sequence[End],
    run: RunRecord,
    *,
    lease_expired: bool = False,
    seconds: float = 0,
    follow_up: FollowUp | None = None,
) -> list[End]:
    """Records ends and counts them, in one transaction; answers those that won.

    One that the database cannot store fails alone, with its reason. When the database refuses the follow-up's part, the
    ends are recorded without it. `seconds`: how long to try for a lost connection.
    """
    recording = _Recording(ends, run, lease_expired=lease_expired, follow_up=follow_up)
    try:
        won = run_transaction(recording.transaction, seconds=seconds)
    except (DatabaseError, ValueError) as error:
        if isinstance(error, DatabaseError) and sort_fault(error) is not Fault.DATA:
            raise  # no row's fault
        if follow_up:
            return record_ends(ends, run, lease_expired=lease_expired, seconds=seconds)
        parts = [[end] for end in ends] if len(ends) > 1 else [[_unstorable(ends[0], error)]]
        return [end for part in parts for end in record_ends(part, run, lease_expired=lease_expired, seconds=seconds)]
    recording.committed(won)
    return won


class _Recording:
    """The transaction of `record_ends`, and what it has to remember to run again after an unanswered COMMIT."""

    def __init__(self, ends: Sequence[End], run: RunRecord, *, lease_expired: bool, follow_up: FollowUp | None) -> None:
        self._ends, self._run = ends, run
        self._lease_expired, self._follow_up = lease_expired, follow_up
        self._if_all_won = job_tallies.ended(ends, (), lease_expired=lease_expired)  # outside of any lock
        self._unanswered: list[End] = []  # won by a try whose COMMIT brought no answer
        self._tried = False
        self._moved, self._then = Counts(), _nothing

    def transaction(self) -> list[End]:
        """Answers those that won, in this try or in one before it."""
        standing = Job.objects.standing(self._unanswered)
        try:
            return standing + self._record(standing, expect_all=not self._tried)
        except LostSome:
            return standing + self._record(standing, expect_all=False)

    def _record(self, standing: list[End], *, expect_all: bool) -> list[End]:
        with transaction.atomic():
            requests = Job.objects.lock_requests_of(self._ends) if self._follow_up else None
            won = Job.objects.record(self._ends, requests, lease_expired=self._lease_expired, expect_all=expect_all)
            moved, then = Counts(), _nothing
            if self._follow_up and requests and won:
                moving = sorted({end.job.request_id for end in won})
                moved, then = self._follow_up([requests[id_] for id_ in moving], won)
            else:
                UnseenEnd.objects.tell_of({end.job.request_id for end in won})
            tallies.add(self._tallies(standing, won) + Counter(moved.tallies))
            self._tried = True
            if won:  # else a try whose COMMIT brought no answer has done it all
                self._unanswered, self._moved, self._then = won, moved, then
        return won

    def committed(self, won: Sequence[End]) -> None:
        job_events.ended(won, lease_expired=self._lease_expired)
        self._then()
        self._run.add(_counts(won) + Counter(self._moved.of_run))

    def _tallies(self, standing: list[End], won: list[End]) -> Counter[Key]:
        if len(won) == len(self._ends):
            return self._if_all_won
        return job_tallies.ended(won, self._late(standing, won), lease_expired=self._lease_expired)

    def _late(self, standing: list[End], won: list[End]) -> list[End]:
        """What came too late has no guard to count it once: of a try that wins nothing, only the first one counts."""
        if self._lease_expired or (self._tried and not won):
            return []
        return _without(self._ends, standing + won)


def _nothing() -> None:
    pass


def _counts(ends: Sequence[End]) -> Counter[str]:
    return Counter(_COUNTED[end.status] for end in ends)


def _without(ends: Sequence[End], won: Sequence[End]) -> list[End]:
    ids = {end.job.id for end in won}
    return [end for end in ends if end.job.id not in ids] if len(ids) < len(ends) else []


def _unstorable(end: End, error: DatabaseError | ValueError) -> End:
    """What is recorded in place of an end that cannot be stored. Raises the error when that was refused as well."""
    if end.status == JobStatus.FAILURE:
        raise error
    job_events.not_storable(end, error)
    return End(end.job, JobStatus.FAILURE, f"the end of this attempt cannot be stored: {fault_line(error)}")


class Recorder:
    """The recording threads. Batches grow by themselves: each is whatever ended while others were written.

    One for each queue of the pool, so that one's batch is worked out here while another's is in the database. `changed`
    is set whenever a batch is taken up or done. `fault` holds what ended a thread, if anything did.
    """

    def __init__(self, pool: Pool, run: RunRecord, *, seconds: float, follow_up: FollowUp | None = None) -> None:
        self._pool, self._run, self._seconds, self._follow_up = pool, run, seconds, follow_up
        self.changed = Event()
        self.fault: BaseException | None = None
        self._threads = [
            Thread(target=self._work, args=(ended,), name=f"recorder-{n}", daemon=True)
            for n, ended in enumerate(pool.ended)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Records what is left and ends the threads."""
        for ended in self._pool.ended:
            ended.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, ended: "SimpleQueue[End | None]") -> None:
        try:
            while batch := self._collect(ended):
                self.changed.set()
                self._record(batch)
                self._pool.recorded([end.job.id for end in batch])
                self.changed.set()
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread of the pass
            self.fault = fault
            self.changed.set()
        finally:
            close_connections()

    def _record(self, ends: list[End]) -> None:
        won = record_ends(ends, self._run, seconds=self._seconds, follow_up=self._follow_up)
        if len(won) < len(ends):
            kept = {end.job.id for end in won}
            self._run.add({"too_late": len(ends) - len(kept)})
            job_events.too_late(end for end in ends if end.job.id not in kept)

    def _collect(self, ended: "SimpleQueue[End | None]") -> list[End]:
        """The next batch of ends, as soon as it is full or nothing else that runs could join it; empty: all is over."""
        batch: list[End] = []
        characters, closes_at = 0, math.inf
        while len(batch) < BATCH and characters < _BATCH_CHARACTERS:
            linger = max(0.0, closes_at - time.monotonic()) if self._pool.ends_will_come() else 0.0
            crowded = len(batch) >= _CROWD
            try:
                end = ended.get(timeout=0.0 if crowded else linger) if batch else ended.get()
            except Empty:
                if not crowded or not linger:
                    break
                time.sleep(min(linger, _CROWD_SECONDS))
                continue
            if end is None:
                ended.put(None)  # for the next call: this batch is the last
                break
            batch.append(end)
            characters += len(end.error) + len(end.extras or "")
            closes_at = closes_at if len(batch) > 1 else time.monotonic() + _LINGER_SECONDS
        return batch
