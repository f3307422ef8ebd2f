"""Where a request and its attempts stand in a distributed trace: https://www.w3.org/TR/trace-context/, section 3.2.

No id of ours is stored: each is computed from the rows, so the trace of a request can be found at any time.
"""

import re
from hashlib import sha256
from typing import NamedTuple

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1


class Trace(NamedTuple):
    """A request's. `parent`: the span of its caller, or empty. `is_sampled`: false where its caller does not record."""

    id: str
    parent: str = ""
    is_sampled: bool = True


def trace_of(token: str, caller_trace: str) -> Trace:
    """`caller_trace`: the request's column `traceparent`. What is no such header counts as empty."""
    found = _TRACEPARENT.fullmatch(str(caller_trace)) if caller_trace else None
    if found is None:
        return Trace(_digest(token)[:32])
    trace_id, parent, flags = found.groups()
    return Trace(trace_id, parent, bool(int(flags, 16) & _SAMPLED))


def traceparent(token: str, step: int, name: str, attempt: int, caller_trace: str = "") -> str:
    """Of one attempt. All attempts of all jobs of a request share its trace's id. "01": sampled."""
    trace = trace_of(token, caller_trace)
    return f"00-{trace.id}-{attempt_span(token, step, name, attempt)}-{trace.is_sampled:02d}"


# Ids of spans: 16 hex digits each ------------------------------------------------------------------------------------
def request_span(token: str) -> str:
    return _digest(token)[32:48]


def step_span(token: str, step: int) -> str:
    return _digest(f"{token}:{step}")[16:32]


def attempt_span(token: str, step: int, name: str, attempt: int) -> str:
    return _digest(f"{token}:{step}:{name}:{attempt}")[:16]


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()
