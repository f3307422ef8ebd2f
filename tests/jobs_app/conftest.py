"""What tests that run callbacks share: jobs registered for one test, and a word that ends those that hang."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

from jobs_app import registry
from jobs_app.limit_rules import parse_limits


@pytest.fixture
def register() -> Iterator[Callable[..., str]]:
    """`register("a_job", callback, timeout=1)` registers for this test; returns the name."""
    registered: list[str] = []

    def register_one(name: str, callback: Callable[..., Any], **options: Any) -> str:
        registry.job(name, **options)(callback)
        registered.append(name)
        return name

    yield register_one
    for name in registered:
        registry.unregister(name)


@pytest.fixture
def let_go() -> Iterator[Event]:
    """Callbacks that ignore their timeout wait for it; it is set at the end at the latest."""
    event = Event()
    yield event
    event.set()


@pytest.fixture
def limits(settings: Any) -> Callable[[str], None]:
    """`limits("service2 rate=10/s")` is WRK_LIMITS from now on."""

    def set_limits(text: str) -> None:
        settings.WRK_LIMITS = parse_limits(text)

    return set_limits
