"""Runs `async def` callbacks on one event loop, in a thread of its own."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from threading import Thread

from asgiref.sync import sync_to_async

from jobs_app.db.connections import close_connections
from jobs_app.outcomes import Outcome
from jobs_app.worker.callback import run_async_callback
from jobs_app.worker.executions import Execution

_CLOSE_SECONDS = 1.0


class EventLoop:
    """One thread with a loop. Jobs come in batches: one wake-up of the loop a batch.

    `concurrency`: callbacks at once. `begin` and `end`: as the executor has them.
    """

    def __init__(
        self, concurrency: int, begin: Callable[[Execution], bool], end: Callable[[Execution, Outcome], bool]
    ) -> None:
        self._concurrency, self._begin_one, self._end_one = concurrency, begin, end
        self._waiting: deque[Execution] = deque()
        self._running = 0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run_until_stopped, name="async-callbacks", daemon=True)
        self._thread.start()

    def submit(self, batch: Sequence[Execution], *, first: bool) -> None:
        if first:
            self._waiting.extendleft(reversed(batch))
        else:
            self._waiting.extend(batch)
        self._loop.call_soon_threadsafe(self._begin)

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
        while self._waiting and self._running < self._concurrency:
            execution = self._waiting.popleft()
            if self._begin_one(execution):
                self._running += 1
                execution.task = self._loop.create_task(self._run(execution))

    async def _run(self, execution: Execution) -> None:
        outcome = await run_async_callback(execution.definition, execution.context)
        self._running -= 1
        self._end_one(execution, outcome)
        self._begin()
        if not self._running:
            await self._close_connections()

    async def _stop(self) -> None:
        await self._close_connections()
        self._loop.stop()

    async def _close_connections(self) -> None:
        """Django's async queries run in a thread of asgiref's, and so do their connections live there."""
        await sync_to_async(close_connections)()
