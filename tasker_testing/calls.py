"""Sees the HTTP calls that callbacks make, where all of them pass: the standard library's http.client.

The clients of jobs_app/clients/, `requests`, `urllib3` and `urllib.request` are built on it. httpx and aiohttp are not,
and what replaces `requests` before it calls (responses, requests-mock) calls nobody.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import zip_longest
from typing import Any

import pytest

KEY = "idempotency-key"
_CHANGE_NOTHING = {"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"}  # RFC 9110, 9.2.1; CONNECT only opens a tunnel


@dataclass(slots=True)
class Call:
    method: str
    url: str
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


_calls: ContextVar[list[Call] | None] = ContextVar("calls", default=None)


@contextmanager
def noting_calls() -> Iterator[list[Call]]:
    """Those of this thread or task, and of what takes over its context."""
    calls: list[Call] = []
    outer = _calls.set(calls)
    try:
        yield calls
    finally:
        _calls.reset(outer)


@contextmanager
def seeing_calls(before_each: Callable[[], None]) -> Iterator[None]:
    """`before_each`: to be asked before a call goes out."""
    putrequest, putheader = HTTPConnection.putrequest, HTTPConnection.putheader

    def put_request(self: HTTPConnection, method: str, url: str, *args: Any, **options: Any) -> None:
        before_each()
        putrequest(self, method, url, *args, **options)
        if (calls := _calls.get()) is not None:
            call = Call(method, f"{self.host}{url}")
            self.__dict__["_tasker_call"] = call
            calls.append(call)

    def put_header(self: HTTPConnection, header: Any, *values: Any) -> None:
        putheader(self, header, *values)
        call = self.__dict__.get("_tasker_call")
        if call and values and _text(header).lower() == KEY:
            call.key = _text(values[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPConnection, "putrequest", put_request)
        patch.setattr(HTTPConnection, "putheader", put_header)
        yield


def key_faults(job: str, first: list[Call], second: list[Call]) -> Iterator[str]:
    """What is wrong with the keys of the calls that a callback made when it ran twice."""
    first, second = ([call for call in calls if call.method not in _CHANGE_NOTHING] for calls in (first, second))
    yield from {f"{job}: {call} went out without an Idempotency-Key": None for call in first + second if not call.key}
    for call in {str(call): None for call in first}:
        pairs = zip_longest(*([one.key for one in calls if str(one) == call] for calls in (first, second)))
        for one, other in pairs:
            if one and other and one != other:
                yield f"{job}: {call} went out with the Idempotency-Keys {one!r} and, when it ran again, {other!r}"


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
