"""Jobs of one test, and requests made of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs_app import registry
from requests_app.recipes import Step
from tasker_testing.kit import Tasker
from tasker_testing.played import PlayedRequest

Play = Callable[..., PlayedRequest]
Register = Callable[..., tuple[Step, ...]]


@pytest.fixture
def register() -> Iterator[Register]:
    """`register(first, second, max_attempts=1)` makes jobs of callbacks, named as they are; returns a step for each."""
    registered: list[str] = []

    def register(*callbacks: Callable[..., Any], **options: Any) -> tuple[Step, ...]:
        for callback in callbacks:
            registry.job(callback.__name__, **options)(callback)
            registered.append(callback.__name__)
        return in_steps(*(callback.__name__ for callback in callbacks))

    yield register
    for name in registered:
        registry.unregister(name)


@pytest.fixture
def play(tasker: Tasker, register: Register) -> Play:
    """`play(first, second)`: a request of these steps."""

    def play(*callbacks: Callable[..., Any], **options: Any) -> PlayedRequest:
        return tasker.run("made_up", {"id": 7}, steps=register(*callbacks, **options))

    return play


def in_steps(*names: str) -> tuple[Step, ...]:
    return tuple(Step(f"step {index}", (name,)) for index, name in enumerate(names))
