"""The pass over the jobs: claim, execute, record. Here is the claiming side; recorder.py records, pool.py executes."""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any, Self
from uuid import uuid4

from django.conf import settings
from django.db import connection

from jobs_app.db.transactions import RECONNECT_SECONDS, run_transaction
from jobs_app.models import Job
from jobs_app.models.attempts import ClaimedJob, DirectClaim, Outlook, RequestRow
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Failed, JobContext, Retried, json_object
from jobs_app.pausing import apply_pauses
from jobs_app.worker.completer import BATCH, RECORDERS, FollowUp, Recorder, record_ends
from jobs_app.worker.executor import Pool
from jobs_app.worker.retry_policy import end_of
from jobs_app.worker.room import Room
from jobs_app.worker.seats import Seats
from jobs_app.worker.shutdown import Stop

_JOBS_POLL_SECONDS = 0.01
_TURN_SECONDS = 0.05  # the longest wait of the claiming thread
_LOOK_SECONDS = 1.0  # a pause is noticed within this time
LEASE_LOST = "the lease ran out: its worker died, froze or lost the database"


def run_jobs(stop: Stop, run: RunRecord, *, limit: int | None = None, concurrency: int | None = None) -> None:
    """One pass over what is due at its start, by the database's clock.

    1. Ends attempts whose lease ran out.
    2. Claims due jobs in batches. 3. Runs their callbacks concurrently. 4. Records how they ended.
    Ends when nothing is due, at `limit` jobs, or when `stop` says so. Raises DatabaseAway.
    """
    outlook = run_transaction(Job.objects.outlook)
    if outlook.has_expired:
        end_lost_leases(stop, run)
    apply_pauses(outlook)
    if outlook.has_due or outlook.resumed:
        with JobRunner(
            stop, run, due_by=outlook.now, paused=outlook.paused, limit=limit, concurrency=concurrency
        ) as runner:
            while not stop and not runner.done():
                runner.turn()
                runner.wait()


def end_lost_leases(stop: Stop, run: RunRecord, ours: Collection[int] = ()) -> None:
    """Ends attempts whose holder fell silent as retries, or gives up: what kills its worker must end some time.

    `ours`: ids that this very process is about to record. The database was away for longer than their lease.
    """
    while not stop:
        lost = run_transaction(lambda: Job.objects.lease_expired(BATCH), seconds=RECONNECT_SECONDS)
        ends = [end_of(job, Retried(LEASE_LOST)) for job in lost if job.id not in ours]
        won = record_ends(ends, run, lease_expired=True, seconds=RECONNECT_SECONDS) if ends else []
        run.add({"lease_lost": len(won)})
        if len(lost) < BATCH or not ends:
            return


class CallbacksHang(Exception):
    """This process can run nothing more. Its text is one line for the operator."""

    def __str__(self) -> str:
        return "callbacks ignore their timeout and hold every thread: start a new process"


class JobRunner:
    """Claims, runs and records jobs until told to stop. A context manager: leaving it ends everything in order.

    `due_by`: a moment of `Job.objects.outlook`; None: whatever is due by now, again and again. `paused`: the names to
    leave alone, as an outlook of just now says. `follow_up`: what the recorder is to do with each batch of ends.
    `seats`: by which it takes on more, or leaves that to others; what it begins is claimed all the same.
    """

    def __init__(
        self,
        stop: Stop,
        run: RunRecord,
        *,
        due_by: Any = None,
        paused: Collection[str] = (),
        limit: int | None = None,
        concurrency: int | None = None,
        follow_up: FollowUp | None = None,
        seats: Seats | None = None,
    ) -> None:
        self._stop, self._run = stop, run
        self._due_by, self._left = due_by, limit
        # What callbacks did is lost with this process: it waits longer for the database than one that holds no jobs.
        self._seconds: float = settings.WRK_DATABASE_AWAY_SECONDS
        self._lease: float = settings.WRK_JOB_LEASE_SECONDS
        recorders = 1 if connection.vendor == "sqlite" else RECORDERS  # one writer at a time: a second would wait
        self._pool = Pool(concurrency or settings.WRK_JOB_CONCURRENCY, recorders)
        self.room = Room(self._pool, seats)
        self._recorder = Recorder(self._pool, run, seconds=self._seconds, follow_up=follow_up)
        # Whether more is due than there was room for. A run with `due_by` has seen that something is.
        self.full = due_by is not None
        self._renewed_at = time.monotonic()
        self._looked_at = -math.inf if due_by is None else self._renewed_at  # with `due_by`, the pass has just looked
        self._paused = paused

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            self._wind_down(cut=bool(self._stop) or kind is not None)
        finally:
            self._recorder.close()
            self._pool.close()
        if self._recorder.fault and kind is None:
            raise self._recorder.fault

    def turn(self) -> int:
        """One turn: watches over what runs and, if there is room, claims; answers how many jobs it claimed."""
        self.watch()
        room = self.room.to_claim(self._left)
        # A run with `due_by` has had what was due then once a claim got less than it asked for.
        polls = room > 0 and self._due_by is None and not self.full
        is_due = self.full
        if time.monotonic() - self._looked_at >= (_JOBS_POLL_SECONDS if polls else _LOOK_SECONDS):
            is_due |= self._look().has_due and polls
        if not is_due or not room or not self.room.may_take():
            return 0
        claimed = self._claim(room)
        self.full = claimed == room
        return claimed

    def done(self) -> bool:
        """Whether nothing runs and, of a run with `due_by` or a limit, nothing is left to claim."""
        return not self._pool.held and (not self.full or self._left == 0 or self.hangs())

    def unrecorded(self) -> Collection[int]:
        """Ids of the jobs that this process holds, or has yet to record."""
        return self._pool.unrecorded

    def hangs(self) -> bool:
        """Whether as many threads as may run are lost to callbacks that ignore their timeout: no more is claimed."""
        return self._pool.hangs()

    def wait(self, seconds: float = _TURN_SECONDS, *, for_room: bool = True) -> None:
        """Until the time is over, or the recorder took up or finished a batch. Not `for_room`: the time alone.

        Whoever wakes only to find nothing more to claim takes the processor from the recorder.
        """
        if for_room or self.full:
            self._recorder.changed.wait(seconds)
            self._recorder.changed.clear()
        else:
            time.sleep(seconds)

    # Claim -----------------------------------------------------------------------------------------------------------
    def _look(self) -> Outlook:
        """Also learns what is paused; of that nothing more is claimed or begun here."""
        outlook = run_transaction(Job.objects.outlook, seconds=self._seconds)
        self._paused, self._looked_at = outlook.paused, time.monotonic()
        if outlook.paused:
            self._pool.hand_back_waiting(outlook.paused)
        apply_pauses(outlook, seconds=self._seconds)
        return outlook

    def direct_claim(self, replacing: int = 0) -> DirectClaim:
        """For a transaction of this process that is about to insert jobs: hand it to `adopt` once that is committed.

        Where older jobs are due as well, half of the room is left to them. `replacing`: how many ends it records.
        """
        room = 0 if self._stop else self.room.to_insert(replacing)
        room = room // 2 if self.full else room
        return DirectClaim(str(uuid4()), room, self._lease, time.monotonic(), self._paused)

    def adopt(self, claim: DirectClaim) -> None:
        """Runs what a transaction claimed directly."""
        if claim.request_ids:
            read = partial(Job.objects.with_requests, claim.id, sorted(claim.request_ids), by="request_id")
            self._submit(run_transaction(read, seconds=self._seconds), claim.sent_at)

    def _claim(self, limit: int) -> int:
        claim, sent_at, tried = str(uuid4()), time.monotonic(), False

        def work() -> list[int]:
            nonlocal tried
            won = Job.objects.held_by(claim) if tried else []  # by a COMMIT whose answer was lost
            tried = True
            return won or Job.objects.claim(claim, limit, self._lease, self._due_by, self._paused)

        if not (ids := run_transaction(work, seconds=self._seconds)):
            return 0
        rows = run_transaction(lambda: Job.objects.with_requests(claim, ids), seconds=self._seconds)
        if self._left is not None:
            self._left = max(0, self._left - len(ids))
        self._submit(rows, sent_at)
        return len(ids)

    def _submit(self, rows: Sequence[tuple[ClaimedJob, RequestRow]], sent_at: float) -> None:
        self._run.add({"claimed": len(rows)})
        self._pool.submit(self._readable(rows), sent_at, self._lease)

    def _readable(self, rows: Sequence[tuple[ClaimedJob, RequestRow]]) -> Iterator[tuple[ClaimedJob, JobContext]]:
        """With the JSON read. A job whose request cannot be read fails; its neighbours go on."""
        for job, row in rows:
            try:
                params, extras = json_object(row.params), json_object(row.extras)
            except ValueError as error:
                self._pool.end_unheld(job, Failed(f"the request's params or extras cannot be read: {error}"))
            else:
                yield job, JobContext(row.token, row.action, job.step, job.name, job.attempt, params, extras)

    # Watch -----------------------------------------------------------------------------------------------------------
    def watch(self) -> None:
        """Ends what runs past its timeout and renews the leases, when that is due. Raises what ended the recorder."""
        if self._recorder.fault:
            raise self._recorder.fault
        self._pool.end_overdue(self._lease)
        run_transaction(self._run.heartbeat, seconds=self._seconds)
        if time.monotonic() - self._renewed_at >= self._lease / 3:
            self._renew()

    def _renew(self) -> None:
        """Leases all held jobs again in one statement. Unless all were still ours, none may count on it to begin."""
        self._renewed_at = sent_at = time.monotonic()
        held = list(self._pool.held)
        jobs = [one.job for one in held]
        if held and run_transaction(lambda: Job.objects.renew(jobs, self._lease), seconds=self._seconds) == len(held):
            for one in held:
                one.lease_ends = sent_at + self._lease

    def _wind_down(self, *, cut: bool) -> None:
        """Lets what runs finish. When `cut` short: only for the grace period, and what did not begin is handed back."""
        grace_ends = time.monotonic() + (settings.WRK_STOP_GRACE_SECONDS if cut else math.inf)
        # Until all is recorded too: what follows a recorded batch may have claimed more for this process.
        while (self._pool.unrecorded or self._pool.held) and not self._recorder.fault:
            if cut:
                self._pool.hand_back_waiting()
            if time.monotonic() >= grace_ends:
                self._pool.stop_running()
            self.watch()
            self.wait()
