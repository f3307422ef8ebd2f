"""Records how attempts ended: in batches, in threads and on connections of their own, beside the one that claims."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread

from django.db import DatabaseError, transaction

from jobs_app.db.connections import close_connections
from jobs_app.db.transactions import RECONNECT_SECONDS, Fault, fault_line, run_transaction, sort_fault
from jobs_app.models import Job, tally
from jobs_app.models.attempts import ClaimOnInsert, JobStatus, LockedRequest, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Retried
from jobs_app.telemetry import counters, events
from jobs_app.worker.claimer import BATCH, Claimer
from jobs_app.worker.executor import Executor
from jobs_app.worker.retry_policy import result_of
from jobs_app.worker.shutdown import Stop

LEASE_LOST = "the lease ran out: its worker died, froze or lost the database"

_BATCH_CHARACTERS = 2_000_000  # a statement must stay below the server's max_allowed_packet (16 MB by default)
_LINGER_SECONDS = 0.01  # a result waits this long for company, and only while other jobs run
_LOOK_SECONDS = 0.001  # between two looks at what has come meanwhile: to wake for each result would cost more

_COUNTED = {
    JobStatus.COMPLETED: "completed",
    JobStatus.RETRY: "retry",
    JobStatus.FAILURE: "failure",
    JobStatus.NEW: "handed_back",
}

# Called in the transaction that has recorded results, with their requests, locked: moves these on, with a claim for the
# jobs that it inserts. Answers what it did how often, for the run's line.
OnRecorded = Callable[[Sequence[LockedRequest], ClaimOnInsert | None], Mapping[str, int]]


def record_results(
    results: Sequence[Result],
    run: RunRecord,
    *,
    lease_expired: bool = False,
    seconds: float = 0,
    on_recorded: OnRecorded | None = None,
    claim: ClaimOnInsert | None = None,
) -> list[Result]:
    """Records results and counts them, in one transaction; answers those that won.

    One that the database cannot store fails alone, with its reason. When the database refuses what `on_recorded` does,
    the results are recorded without it. `seconds`: how long to try for a lost connection.
    """
    recording = _Recording(results, lease_expired=lease_expired, on_recorded=on_recorded, claim=claim)
    try:
        won = run_transaction(recording.transaction, seconds=seconds)
    except (DatabaseError, ValueError) as error:
        if isinstance(error, DatabaseError) and sort_fault(error) is not Fault.DATA:
            raise  # no row's fault
        if on_recorded:
            return record_results(results, run, lease_expired=lease_expired, seconds=seconds)
        parts = [[result] for result in results] if len(results) > 1 else [[_unstorable(results[0], error)]]
        return [
            result
            for part in parts
            for result in record_results(part, run, lease_expired=lease_expired, seconds=seconds)
        ]
    if len(won) < len(results) and not lease_expired:
        _tell_too_late(results, won, run, seconds)
    events.log_ended(won, lease_expired=lease_expired)
    run.add(Counter(_COUNTED[result.status] for result in won) + Counter(recording.progressed))
    return won


class _Recording:
    """The transaction of `record_results`, and what it has to remember to run again after an unanswered COMMIT."""

    def __init__(
        self,
        results: Sequence[Result],
        *,
        lease_expired: bool,
        on_recorded: OnRecorded | None,
        claim: ClaimOnInsert | None,
    ) -> None:
        self._results, self._lease_expired = results, lease_expired
        self._on_recorded, self._claim = on_recorded, claim
        self._unanswered: list[Result] = []  # won by a try whose COMMIT brought no answer
        self.progressed: Mapping[str, int] = {}

    def transaction(self) -> list[Result]:
        """Answers those that won, in this try or in one before it."""
        already = Job.objects.already_recorded(self._unanswered)
        with transaction.atomic():
            requests = Job.objects.lock_requests_of(self._results) if self._on_recorded else None
            won = Job.objects.record(self._results, requests, lease_expired=self._lease_expired)
            tally.add(counters.count_ended(won, lease_expired=self._lease_expired))
            if won:  # else a try whose COMMIT brought no answer has done it all
                self._unanswered = won
                self.progressed = self._progress(requests or {}, won)
        return already + won

    def _progress(self, requests: Mapping[int, LockedRequest], won: Sequence[Result]) -> Mapping[str, int]:
        if not self._on_recorded:
            return {}
        ids = sorted({result.job.request_id for result in won})
        return self._on_recorded([requests[id_] for id_ in ids if id_ in requests], self._claim)


def _tell_too_late(results: Sequence[Result], won: Sequence[Result], run: RunRecord, seconds: float) -> None:
    """They changed nothing: their lease was lost meanwhile. Counted by themselves: no guard would count them once."""
    ids = {result.job.id for result in won}
    late = [result for result in results if result.job.id not in ids]
    run.add({"too_late": len(late)})
    events.log_too_late(late)
    run_transaction(lambda: tally.add(counters.count_too_late(late)), seconds=seconds)


def _unstorable(result: Result, error: DatabaseError | ValueError) -> Result:
    """What is recorded in place of a result that cannot be stored. Raises the error when that was refused as well."""
    if result.status == JobStatus.FAILURE:
        raise error
    events.log_not_storable(result, error)
    return Result(result.job, JobStatus.FAILURE, f"the end of this attempt cannot be stored: {fault_line(error)}")


def end_lost_leases(
    stop: Stop, run: RunRecord, ours: Collection[int] = (), on_recorded: OnRecorded | None = None
) -> None:
    """Ends attempts whose holder fell silent as retries, or gives up: what kills its worker must end some time.

    `ours`: ids that this very process is about to record. The database was away for longer than their lease.
    """
    while not stop:
        lost = run_transaction(lambda: Job.objects.lease_expired(BATCH), seconds=RECONNECT_SECONDS)
        results = [result_of(job, Retried(LEASE_LOST)) for job in lost if job.id not in ours]
        if results:
            won = record_results(results, run, lease_expired=True, seconds=RECONNECT_SECONDS, on_recorded=on_recorded)
            run.add({"lease_lost": len(won)})
        if len(lost) < BATCH or not results:
            return


class Completer:
    """The recording threads, one for each of the executor's queues: one works a batch out while another's is written.

    Batches grow by themselves: each is whatever ended while the one before was written. `changed` is set whenever one
    is taken up or done. `fault` holds what ended a thread, if anything did.
    """

    def __init__(
        self, executor: Executor, claimer: Claimer, run: RunRecord, *, seconds: float, on_recorded: OnRecorded | None
    ) -> None:
        self._executor, self._claimer, self._run = executor, claimer, run
        self._seconds, self._on_recorded = seconds, on_recorded
        self.changed = Event()
        self.fault: BaseException | None = None
        self._threads = [
            Thread(target=self._work, args=(results,), name=f"completer-{number}", daemon=True)
            for number, results in enumerate(executor.results)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Records what is left and ends the threads."""
        for results in self._executor.results:
            results.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, results: "SimpleQueue[Result | None]") -> None:
        try:
            while batch := collect(results, self._executor.owned):
                self.changed.set()
                self._record(batch)
                self.changed.set()
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread of the pass
            self.fault = fault
            self.changed.set()
        finally:
            close_connections()

    def _record(self, results: list[Result]) -> None:
        claim = self._claimer.claim_on_insert(replacing=len(results)) if self._on_recorded else None
        record_results(results, self._run, seconds=self._seconds, on_recorded=self._on_recorded, claim=claim)
        self._executor.recorded([result.job.id for result in results])
        self._claimer.adapt()
        if claim:
            self._claimer.adopt(claim)


def collect(results: "SimpleQueue[Result | None]", owned: Collection[object]) -> list[Result]:
    """The next batch of results, as soon as it is full or nothing that is `owned` could join it; empty: all is over."""
    batch: list[Result] = []
    characters, closes_at = 0, 0.0
    while len(batch) < BATCH and characters < _BATCH_CHARACTERS:
        try:
            result = results.get(block=not batch)
        except Empty:
            if not owned or time.monotonic() >= closes_at:
                break
            time.sleep(_LOOK_SECONDS)
            continue
        if result is None:
            results.put(None)  # for the next call: this batch is the last
            break
        batch.append(result)
        characters += len(result.error) + len(result.extras or "")
        closes_at = closes_at or time.monotonic() + _LINGER_SECONDS
    return batch
