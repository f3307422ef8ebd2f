"""Runs claimed jobs' callbacks: plain ones in threads, `async def` ones on one event loop. Reads and writes no table.

A job is owned from its claim until the first of: its callback ended, its time was up, its run is stopped. Whoever takes
it out of `owned` first says how it ended; everybody else's word for it is dropped.
"""

import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

from jobs_app.db.connections import close_connections, has_opened
from jobs_app.models.attempts import ClaimedJob, Result
from jobs_app.outcomes import Completed, JobContext, NotStarted, Outcome, Retried, Stopped
from jobs_app.registry import definition
from jobs_app.worker.callback import run_callback
from jobs_app.worker.event_loop import EventLoop
from jobs_app.worker.executions import Execution
from jobs_app.worker.retry_policy import result_of

# Callbacks that may run, or wait for a thread, or have ended and wait to be recorded; more would be recorded late.
_MOST_LET_THROUGH = 1000
_MOST_LARGE_BYTES = 32 * 1024 * 1024  # of JSON, which takes several times as much once it is read
_UNKNOWN_SECONDS = 30.0  # a job of a newer release waits for a worker that has it; its attempts are not used up


class Executor:
    """At most `concurrency` plain callbacks in threads and as many async ones at once.

    `results`: one queue for each completer. Those of one request are all in one, so that no two meet at its lock.
    """

    def __init__(self, concurrency: int, completers: int = 1) -> None:
        self.concurrency = concurrency
        self.owned: set[Execution] = set()
        self.unrecorded: set[int] = set()  # ids of all that is owned, or has ended and is not recorded yet
        self.reserved = 0  # jobs that are claimed and on their way here
        self._large: dict[int, int] = {}  # of the unrecorded, those with large params: id -> bytes
        self.locked: set[int] = set()  # of the unrecorded, those whose rows another session holds
        self.results: list[SimpleQueue[Result | None]] = [SimpleQueue() for _ in range(completers)]
        self.lost_threads = 0  # busy with callbacks that ignored their timeout
        self._ready: deque[Execution] = deque()  # not let through to the threads or the loop yet
        self._let_through_ids: set[int] = set()  # of what was, until it is recorded
        self._first: deque[Execution] = deque()  # to run before what waits
        self._waiting: SimpleQueue[Execution | _Wake | None] = SimpleQueue()
        self._threads = 0
        self._loop: EventLoop | None = None
        self._lock = Lock()

    def submit(
        self,
        claimed: Iterable[tuple[ClaimedJob, JobContext]],
        claimed_at: float,
        lease_seconds: float,
        begin_by: float | None = None,
    ) -> None:
        """`claimed_at`: the monotonic moment before the claim was sent.

        `begin_by`: until when their permits are theirs; such go first.
        """
        executions: list[Execution] = []
        timeouts: dict[str, float] = {}  # Django takes a microsecond to tell a setting
        for job, context in claimed:
            known = definition(job.name)
            if known is None:
                self.end_unowned(job, NotStarted(_UNKNOWN_SECONDS))
                continue
            if (timeout := timeouts.get(job.name)) is None:
                timeout = timeouts[job.name] = known.timeout_seconds
            executions.append(Execution(job, context, known, timeout, claimed_at, claimed_at + lease_seconds))
        # All of them before the first one runs: the completer waits for company while anything is owned. `owned` first:
        # what is unrecorded but not owned has ended.
        self.owned.update(executions)
        self.unrecorded.update(one.job.id for one in executions)
        if begin_by is None:
            self._ready.extend(executions)
        else:
            self._let_through_first(executions, begin_by)
        self._start_threads()
        self._let_through()

    def _let_through_first(self, executions: Sequence[Execution], begin_by: float) -> None:
        """They are few, and their permits are lost soon."""
        for one in executions:
            one.begin_by = begin_by
        self._hand_over([one for one in executions if one.definition.is_async], first=True)
        for one in executions:
            if not one.definition.is_async:
                self._first.append(one)
                self._waiting.put(_Wake())

    def _let_through(self) -> None:
        """To the threads and the loop, as far as results are recorded as fast as they come."""
        executions: list[Execution] = []
        with self._lock:  # jobs are submitted and recorded by several threads
            while self._ready and len(self._let_through_ids) < self.concurrency + _MOST_LET_THROUGH:
                one = self._ready.popleft()
                if one in self.owned:  # else it was handed back meanwhile
                    self._let_through_ids.add(one.job.id)
                    executions.append(one)
        for one in executions:
            if not one.definition.is_async:
                self._waiting.put(one)
        self._hand_over([one for one in executions if one.definition.is_async])

    def _hand_over(self, coroutines: Sequence[Execution], *, first: bool = False) -> None:
        """To the event loop, which begins with the first of them."""
        if coroutines:
            with self._lock:
                loop = self._loop = self._loop or EventLoop(self.concurrency, self.begin, self.end)
            loop.submit(coroutines, first=first)

    def hangs(self) -> bool:
        """Whether every thread that may run is lost to a callback that ignores its timeout."""
        return self.lost_threads >= self.concurrency

    def is_empty(self) -> bool:
        """Whether nothing runs, waits to be recorded, or is on its way here."""
        return not (self.owned or self.unrecorded or self.reserved)

    def may_hold(self, id_: int, size: int) -> bool:
        """Whether a job with so many bytes of params may come here; one always may."""
        with self._lock:
            if self._large and sum(self._large.values()) + size > _MOST_LARGE_BYTES:
                return False
            self._large[id_] = size
            return True

    def reserve(self, count: int) -> None:
        """A negative count releases the reservation."""
        with self._lock:
            self.reserved += count

    def recorded(self, ids: Collection[int], locked: Collection[int] = ()) -> None:
        """Called once these results stand in the table. `locked`: results whose rows another session holds."""
        with self._lock:
            self.unrecorded.difference_update(ids)
            self._let_through_ids.difference_update(ids)
            self._let_through_ids.difference_update(locked)
            self.locked.difference_update(ids)
            self.locked.update(locked)
            for id_ in self._large.keys() & set(ids):
                del self._large[id_]
        self._let_through()

    def begin(self, execution: Execution) -> bool:
        """Called right before the callback; False: the job must not begin any more."""
        now = time.monotonic()
        if not execution.may_begin(now):
            self.end(execution, NotStarted())
        with execution.lock:
            if execution not in self.owned:
                return False
            execution.times_out = now + execution.timeout
            return True

    def end(self, execution: Execution, outcome: Outcome) -> bool:
        """Takes a job out with this outcome. False: it was out already, or began before it could be handed back."""
        result = result_of(execution.job, outcome, execution.ran_microseconds())
        with execution.lock:
            if execution not in self.owned or (execution.times_out is not None and isinstance(outcome, NotStarted)):
                return False
            self.owned.remove(execution)
        self._put(result)
        return True

    def end_unowned(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Ends a job that cannot be run at all, and was never owned."""
        self.unrecorded.add(job.id)
        self._put(result_of(job, outcome))

    def _put(self, result: Result) -> None:
        # Not by the id itself: those that a cluster's server gives may all be odd.
        self.results[result.job.request_id // 3 % len(self.results)].put(result)

    def end_overdue(self, lease_seconds: float) -> None:
        """Ends what runs past its timeout; hands back what waited here for a whole lease, or longer than its permit."""
        now = time.monotonic()
        for execution in list(self.owned):
            if execution.times_out is None:
                if now - execution.claimed_at > lease_seconds or now > execution.begin_by:
                    self.end(execution, NotStarted())
            elif now >= execution.times_out:
                self._cut_short(execution, Retried(f"timed out after {execution.timeout:g} seconds"))

    def runs_for_long(self, seconds: float) -> list[Execution]:
        """What began more than so long ago: its place will hardly be free at once."""
        began_by = time.monotonic() - seconds
        return [one for one in list(self.owned) if one.times_out is not None and one.times_out - one.timeout < began_by]

    def hand_back_waiting(self, names: Collection[str] | None = None) -> None:
        """Hands back what has not begun; `names`: of these jobs only."""
        for execution in list(self.owned):
            if names is None or execution.job.name in names:
                self.end(execution, NotStarted())

    def stop_running(self) -> None:
        for execution in list(self.owned):
            self._cut_short(execution, Stopped())

    def close(self) -> None:
        """Ends the idle threads and the loop; a callback that still runs holds up nobody, its thread is a daemon."""
        for _ in range(self._threads):
            self._waiting.put(None)
        if self._loop:
            self._loop.close()

    def _cut_short(self, execution: Execution, outcome: Outcome) -> None:
        if not self.end(execution, outcome):
            return
        if execution.definition.is_async:
            if self._loop and execution.task:
                self._loop.cancel(execution.task)
        else:
            with self._lock:
                self.lost_threads += 1  # its thread still runs; another one takes its place
                self._threads -= 1
            self._start_threads()

    def _start_threads(self) -> None:
        """Threads are started when there is work for them, up to `concurrency`."""
        if self._threads >= self.concurrency:
            return
        wanted = min(self.concurrency, sum(1 for one in list(self.owned) if not one.definition.is_async))
        with self._lock:
            missing = max(0, wanted - self._threads)
            self._threads += missing
        for _ in range(missing):
            Thread(target=self._work, name="callbacks", daemon=True).start()

    def _work(self) -> None:
        while execution := self._next():
            if not self.begin(execution):
                continue
            outcome = run_callback(execution.definition, execution.context)
            if has_opened() or not isinstance(outcome, Completed):  # one that failed may have failed to open it
                close_connections()
            if not self.end(execution, outcome):
                with self._lock:
                    self.lost_threads -= 1
                return  # cut short: another thread has taken this one's place

    def _next(self) -> Execution | None:
        """What goes first, else what has waited longest; None: all is over."""
        while True:
            waited = self._waiting.get()
            try:
                first = self._first.popleft()
            except IndexError:
                if not isinstance(waited, _Wake):
                    return waited
            else:
                if not isinstance(waited, _Wake):
                    self._waiting.put(waited)  # there is a wake-up too many now, in its place
                return first


class _Wake:
    """Has a thread look for what goes first."""
