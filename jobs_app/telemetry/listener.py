"""Passes on what has ended, once that is committed, to the one listener there may be: the sender of spans."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from jobs_app.models.attempts import Result

# Is given ids: of attempts, and of requests. It must not wait, nor raise.
Listener = Callable[[Sequence[int], Sequence[int]], None]
_listener: Listener | None = None


class HasId(Protocol):
    """A request, by whatever it was read as."""

    @property
    def id(self) -> int: ...


def listen(listener: Listener | None) -> None:
    """From now on it is called, in place of the one before."""
    global _listener  # noqa: PLW0603 - of the process, as the log is
    _listener = listener


def has_listener() -> bool:
    return _listener is not None


def pass_on_attempts(results: Iterable[Result]) -> None:
    """Some may have been handed back, or wait: their rows say which."""
    if _listener is not None:
        _listener([result.job.id for result in results], [])


def pass_on_requests(requests: Iterable[HasId]) -> None:
    if _listener is not None:
        _listener([], [request.id for request in requests])
