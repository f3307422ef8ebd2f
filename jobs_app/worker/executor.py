"""Runs claimed jobs' callbacks: plain ones in threads, `async def` ones on one event loop. Reads and writes no table.

A job is held from its claim until the first of: its callback ended, its time was up, its run is stopped. Whoever takes
it out of `held` first says how it ended; everybody else's word for it is dropped.
"""

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from queue import SimpleQueue
from threading import Lock, Thread

from asgiref.sync import sync_to_async

from jobs_app.db.connections import close_connections, has_opened
from jobs_app.execution import run_async_callback, run_callback
from jobs_app.models.attempts import ClaimedJob, End
from jobs_app.outcomes import Completed, JobContext, NotStarted, Outcome, Retried, Stopped
from jobs_app.registry import definition
from jobs_app.worker.held import Held
from jobs_app.worker.retry_policy import end_of

_CLOSE_SECONDS = 1.0
_UNKNOWN_SECONDS = 30.0  # a job of a newer release waits for a worker that has it; its attempts are not used up


class Pool:
    """At most `concurrency` plain callbacks in threads and as many async ones at once."""

    def __init__(self, concurrency: int, recorders: int = 1) -> None:
        self.concurrency = concurrency
        self.held: set[Held] = set()
        self.unrecorded: set[int] = set()  # ids of all that is held, or has ended and is not recorded yet
        # So many ends may wait to be recorded before callbacks have to wait: more would be recorded late, and repeated
        # after a crash. Callbacks that take their time never come near it.
        self.most_ended = concurrency
        self.recorded_count = 0
        self.recorders = recorders  # that are in use: a second one earns its place where ends come by thousands
        # One queue for each recorder. A request's ends are all in one of them, but for the moment in which a second
        # recorder comes into use: so two seldom meet at its lock.
        self.ended: list[SimpleQueue[End | None]] = [SimpleQueue() for _ in range(recorders)]
        self.lost_threads = 0  # busy with callbacks that ignored their timeout
        self._held_back: tuple[deque[Held], deque[Held]] = deque(), deque()  # plain and async, by `most_ended`
        self._waiting: SimpleQueue[Held | None] = SimpleQueue()
        self._threads = 0
        self._loop: _Loop | None = None
        self._lock = Lock()

    def submit(self, claimed: Iterable[tuple[ClaimedJob, JobContext]], claimed_at: float, lease_seconds: float) -> None:
        """`claimed_at`: the monotonic moment before the claim was sent."""
        held: list[Held] = []
        timeouts: dict[str, float] = {}  # Django takes a microsecond to tell a setting
        for job, context in claimed:
            known = definition(job.name)
            if known is None:
                self.end_unheld(job, NotStarted(_UNKNOWN_SECONDS))
                continue
            if (timeout := timeouts.get(job.name)) is None:
                timeout = timeouts[job.name] = known.timeout_seconds
            held.append(Held(job, context, known, timeout, claimed_at, lease_seconds))
        # All of them before the first one runs: while any is to end, a recorder waits for it. In this order: what is
        # not held, but unrecorded, has ended.
        self.held.update(held)
        self.unrecorded.update(one.job.id for one in held)
        for one in held:
            self._held_back[one.definition.is_async].append(one)
        self._start_threads()
        self._let_begin()

    def ends_will_come(self) -> bool:
        """Whether anything runs, or may begin."""
        return len(self.held) > sum(map(len, self._held_back))

    def hangs(self) -> bool:
        """Whether every thread that may run is lost to a callback that ignores its timeout."""
        return self.lost_threads >= self.concurrency

    def recorded(self, ids: Collection[int]) -> None:
        """To be told of every end once it stands in the table."""
        with self._lock:
            self.recorded_count += len(ids)
            self.unrecorded.difference_update(ids)
        self._let_begin()

    def begin(self, held: Held) -> bool:
        """To be asked right before the callback is called; False: not this job, not any more."""
        now = time.monotonic()
        if not held.may_begin(now):
            self.end(held, NotStarted())
        with held.lock:
            if held not in self.held:
                return False
            held.times_out = now + held.timeout
            return True

    def end(self, held: Held, outcome: Outcome) -> bool:
        """Takes a job out with this outcome. False: it was out already, or began before it could be handed back."""
        end = end_of(held.job, outcome, held.ran_microseconds())
        with held.lock:
            if held not in self.held or (held.times_out is not None and isinstance(outcome, NotStarted)):
                return False
            self.held.remove(held)
        self._hand_over(end)
        return True

    def end_unheld(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Of a job that cannot be run at all."""
        self.unrecorded.add(job.id)
        self._hand_over(end_of(job, outcome))

    def _hand_over(self, end: End) -> None:
        # Not the id itself: those of a cluster's server may all be odd.
        self.ended[end.job.request_id // 3 % self.recorders].put(end)

    def end_overdue(self, lease_seconds: float) -> None:
        """Ends what runs past its timeout; hands back what waited here for a whole lease."""
        now = time.monotonic()
        for held in list(self.held):
            if held.times_out is None:
                if now - held.held_since > lease_seconds:
                    self.end(held, NotStarted())
            elif now >= held.times_out:
                self._cut_short(held, Retried(f"timed out after {held.timeout:g} seconds"))

    def hand_back_waiting(self, names: Collection[str] | None = None) -> None:
        """What has not begun; `names`: of these jobs only."""
        for held in list(self.held):
            if names is None or held.job.name in names:
                self.end(held, NotStarted())

    def stop_running(self) -> None:
        for held in list(self.held):
            self._cut_short(held, Stopped())

    def close(self) -> None:
        """Ends the idle threads and the loop; a callback that still runs holds up nobody, its thread is a daemon."""
        for _ in range(self._threads):
            self._waiting.put(None)
        if self._loop:
            self._loop.close()

    def _cut_short(self, held: Held, outcome: Outcome) -> None:
        if not self.end(held, outcome):
            return
        if held.definition.is_async:
            if self._loop and held.task:
                self._loop.cancel(held.task)
        else:
            with self._lock:
                self.lost_threads += 1  # its thread still runs; another one takes its place
                self._threads -= 1
            self._start_threads()

    def _let_begin(self) -> None:
        """As many as may end before more is recorded. Each kind for itself: async callbacks wait for no thread."""
        plain, coroutines = self._held_back
        with self._lock:
            room = self.most_ended - (len(self.unrecorded) - len(self.held))
            for one in self._first_of(plain, room - self._waiting.qsize()):
                self._waiting.put(one)
            if coroutines:
                self._loop = self._loop or _Loop(self)
                self._loop.submit(self._first_of(coroutines, room - self._loop.waiting()))

    def _first_of(self, held_back: deque[Held], count: int) -> Iterator[Held]:
        """Without those that were handed back meanwhile: nobody would record an end of theirs, and look here again."""
        while held_back and count > 0:
            if (held := held_back.popleft()) in self.held:
                count -= 1
                yield held

    def _start_threads(self) -> None:
        """Threads are started when there is work for them, up to `concurrency`."""
        if self._threads >= self.concurrency:
            return
        wanted = min(self.concurrency, sum(1 for held in list(self.held) if not held.definition.is_async))
        with self._lock:
            missing = max(0, wanted - self._threads)
            self._threads += missing
        for _ in range(missing):
            Thread(target=self._work, name="callbacks", daemon=True).start()

    def _work(self) -> None:
        while held := self._waiting.get():
            if not self.begin(held):
                continue
            outcome = run_callback(held.definition, held.context)
            if has_opened() or not isinstance(outcome, Completed):  # one that failed may have failed to open it
                close_connections()
            if not self.end(held, outcome):
                with self._lock:
                    self.lost_threads -= 1
                return  # cut short: another thread has taken this one's place


class _Loop:
    """The event loop's thread. Jobs come in batches: one wake-up of the loop a batch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: deque[Held] = deque()
        self._running = 0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run_until_stopped, name="async-callbacks", daemon=True)
        self._thread.start()

    def submit(self, batch: Iterable[Held]) -> None:
        self._waiting.extend(batch)
        self._loop.call_soon_threadsafe(self._begin)

    def waiting(self) -> int:
        return len(self._waiting)

    def cancel(self, task: asyncio.Task[None]) -> None:
        self._loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """Waits a moment only: a callback that blocks the loop holds up nobody."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        self._thread.join(_CLOSE_SECONDS)

    def _run_until_stopped(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def _begin(self) -> None:
        while self._waiting and self._running < self._pool.concurrency:
            held = self._waiting.popleft()
            if self._pool.begin(held):
                self._running += 1
                held.task = self._loop.create_task(self._run(held))

    async def _run(self, held: Held) -> None:
        outcome = await run_async_callback(held.definition, held.context)
        self._running -= 1
        self._pool.end(held, outcome)
        self._begin()
        if not self._running:
            await self._close_connections()

    async def _stop(self) -> None:
        await self._close_connections()
        self._loop.stop()

    async def _close_connections(self) -> None:
        """Django's async queries run in a thread of asgiref's, and so do their connections live there."""
        await sync_to_async(close_connections)()
