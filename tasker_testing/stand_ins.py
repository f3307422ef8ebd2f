"""Stands where the engine calls a callback: lets a test's failures take its place, and runs it twice."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from jobs_app.outcomes import JobContext, Outcome, Stopped
from jobs_app.registry import JobDefinition
from jobs_app.worker.callback import run_async_callback, run_callback
from tasker_testing.calls import key_faults, noting_calls
from tasker_testing.kills import Kill

Raised = BaseException | type[BaseException]
_HERE = ("jobs_app.worker.executor.run_callback", "jobs_app.worker.event_loop.run_async_callback")


@dataclass
class StandIns:
    """Of one play. `failures`: by job, what its next runs raise. `key_faults`: what was found when it ran twice."""

    failures: Mapping[str, deque[Raised]]
    twice: bool
    kill: Kill
    key_faults: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, failures: Mapping[str, Sequence[Raised]], *, twice: bool, kill: Kill) -> "StandIns":
        return cls({name: deque(raised) for name, raised in failures.items()}, twice, kill)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_HERE[0], self._run)
            patch.setattr(_HERE[1], self._run_async)
            yield

    def unused_failures(self) -> dict[str, int]:
        return {name: len(left) for name, left in self.failures.items() if left}

    def _run(self, definition: JobDefinition, context: JobContext) -> Outcome:
        if self.kill.is_dead:
            return Stopped()
        if stand_in := self._stand_in(definition.name):
            return run_callback(replace(definition, callback=stand_in), context)
        if not self.twice:
            return run_callback(definition, context)
        with noting_calls() as first:
            run_callback(definition, context)
        with noting_calls() as second:
            outcome = run_callback(definition, _repeated(context))
        self.key_faults += key_faults(definition.name, first, second)
        return outcome

    async def _run_async(self, definition: JobDefinition, context: JobContext) -> Outcome:
        if self.kill.is_dead:
            return Stopped()
        if stand_in := self._stand_in(definition.name):
            return run_callback(replace(definition, callback=stand_in), context)
        if not self.twice:
            return await run_async_callback(definition, context)
        with noting_calls() as first:
            await run_async_callback(definition, context)
        with noting_calls() as second:
            outcome = await run_async_callback(definition, _repeated(context))
        self.key_faults += key_faults(definition.name, first, second)
        return outcome

    def _stand_in(self, name: str) -> Callable[[JobContext], Any] | None:
        try:
            raised = self.failures[name].popleft()
        except LookupError:  # nothing is planned, or no more
            return None

        def fails_as_the_test_says(_: JobContext) -> None:
            raise raised

        return fails_as_the_test_says


def _repeated(context: JobContext) -> JobContext:
    """As the next worker runs it when the first one died after the callback, before its end was recorded."""
    return replace(context, attempt=context.attempt + 1)
