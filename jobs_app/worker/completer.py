"""Records results in batches, in threads and on connections of their own, beside the one that claims."""

import math
import time
from collections.abc import Collection
from queue import Empty, SimpleQueue
from threading import Event, Thread

from jobs_app.db.connections import close_connections
from jobs_app.db.transactions import BATCH
from jobs_app.models import Limit
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.telemetry import events
from jobs_app.worker.claimer import Claimer
from jobs_app.worker.executor import Executor
from jobs_app.worker.recording import OnRecorded, record_results, without

_BATCH_CHARACTERS = 2_000_000  # a statement must stay below the server's max_allowed_packet (16 MB by default)
_LINGER_SECONDS = 0.01  # a result waits this long for company, and only while other jobs run
_LOCKED_SECONDS = 0.05  # from one try to the next to record what another session has locked
_TOLD_AFTER_SECONDS = 2.0  # longer than a transaction of ours takes
_GATHER_SECONDS = 0.0002  # first pause between two looks at the queue; it doubles: to wake for each costs more


class Completer:
    """One recording thread, of one of the executor's queues. Batches grow by themselves: each is what ended meanwhile.

    `changed` is set whenever a batch is taken up or done. `fault` holds what ended the thread, if anything did.
    """

    def __init__(
        self,
        results: "SimpleQueue[Result | None]",
        executor: Executor,
        claimer: Claimer,
        run: RunRecord,
        changed: Event,
        *,
        on_recorded: OnRecorded | None,
    ) -> None:
        self._results, self._executor, self._claimer, self._run = results, executor, claimer, run
        self._changed, self._on_recorded = changed, on_recorded
        self.fault: BaseException | None = None
        self.locked: list[Result] = []  # by another session; recorded as soon as it lets go
        self._locked_since: dict[int, float] = {}
        self._thread = Thread(target=self._work, name="completer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Records what is left and ends the thread."""
        self._results.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while (batch := self._collect()) is not None:
                self._count_ends(batch)
                self._record([*self.locked, *batch])
                self._changed.set()
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread of the pass
            self.fault = fault
            self._changed.set()
        finally:
            close_connections()

    def _collect(self) -> list[Result] | None:
        wait_seconds = _LOCKED_SECONDS if self.locked else None
        return collect(self._results, self._executor.owned, wait_seconds)

    def _count_ends(self, batch: list[Result]) -> None:
        """For the breakers: each result once, and before it is recorded, since a second probe may be claimed then."""
        self._run.transact(lambda: Limit.objects.count_ends(batch))

    def _record(self, results: list[Result]) -> None:
        claim = self._claimer.claim_on_insert(replacing=len(results)) if self._on_recorded else None
        won, self.locked = record_results(results, self._run, on_recorded=self._on_recorded, claim=claim)
        if any(result.status == JobStatus.NEW and not result.wait for result in won):
            self._claimer.look_again()
        self._tell_locked()
        recorded = without(results, self.locked)
        if recorded:
            self._claimer.adapt(len(recorded))
        claimed = claim.count if claim else 0
        self._executor.reserve(claimed)  # first: a run that ends must find no moment in which nothing is held
        self._executor.recorded([result.job.id for result in recorded], [result.job.id for result in self.locked])
        if claim:
            self._claimer.adopt(claim)
        self._executor.reserve(-claimed)

    def _tell_locked(self) -> None:
        """Once for each result that waits for a lock longer than transactions of ours take."""
        now = time.monotonic()
        since = {result.job.id: self._locked_since.get(result.job.id, now) for result in self.locked}
        told = [result for result in self.locked if since[result.job.id] <= now - _TOLD_AFTER_SECONDS]
        self._locked_since = since | {result.job.id: math.inf for result in told}
        self._run.add({"locked": len(told)})
        events.log_locked(told)


def collect(
    results: "SimpleQueue[Result | None]", owned: Collection[object], wait_seconds: float | None = None
) -> list[Result] | None:
    """The next batch of results, as soon as it is full or nothing that is `owned` could join it; None: all is over.

    `wait_seconds`: for the first one, after which the batch is empty.
    """
    batch: list[Result] = []
    characters, closes_at, pause_seconds = 0, 0.0, _GATHER_SECONDS
    while len(batch) < BATCH and characters < _BATCH_CHARACTERS:
        try:
            result = results.get(block=not batch, timeout=wait_seconds)
        except Empty:
            if not batch or not owned or time.monotonic() >= closes_at:
                break
            time.sleep(pause_seconds)
            pause_seconds *= 2
            continue
        if result is None:
            results.put(None)  # for the next call: this batch is the last
            return batch or None
        batch.append(result)
        characters += len(result.error) + len(result.answer or "") + len(result.extras or "")
        closes_at = closes_at or time.monotonic() + _LINGER_SECONDS
    return batch
