"""The trace of a request: its caller's or one of its own, the same for all its attempts, each a span of its own."""

import re
from typing import Any

import pytest

from jobs_app.tracing import attempt_span, request_span, step_span, trace_of, traceparent

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_it_has_the_form_that_the_standard_gives():
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", traceparent("t", 0, "a", 1))


def test_its_ids_stay_what_they_were():
    """Somebody may look for the traces of last year's requests."""
    assert traceparent("order-1", 0, "noop", 1) == "00-0bafe22156d2698c143b86040446d366-b71e56ff3af233b0-01"


def test_attempts_of_a_request_share_its_trace_and_no_span():
    attempts = [("a", 0, "x", 1), ("a", 0, "x", 2), ("a", 0, "y", 1), ("a", 1, "x", 1)]
    traces, spans = zip(*(traceparent(*attempt).split("-")[1:3] for attempt in attempts), strict=True)
    assert len(set(traces)) == 1
    assert len({*spans, request_span("a"), step_span("a", 0), step_span("a", 1)}) == 7
    assert traceparent("b", 0, "x", 1).split("-")[1] != traces[0]


def test_a_token_that_no_service_could_read_has_a_trace_as_well():
    assert traceparent("\ud800 \0 \U0001f4a9", 0, "a", 1)


def test_a_callers_trace_is_continued_by_spans_of_our_own():
    own = attempt_span("t", 0, "a", 1)
    assert traceparent("t", 0, "a", 1, CALLERS) == f"00-0af7651916cd43dd8448eb211c80319c-{own}-01"
    assert trace_of("t", CALLERS).parent == "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "sent"), [("00", "00"), ("01", "01"), ("02", "00"), ("ff", "01")])
def test_what_its_caller_does_not_record_is_not_recorded_here(flags: str, sent: str):
    """Of the flags the first alone has a meaning in version 00; the others are not to be passed on."""
    caller_trace = CALLERS[:-2] + flags
    assert traceparent("t", 0, "a", 1, caller_trace)[-2:] == sent
    assert trace_of("t", caller_trace).is_sampled is (sent == "01")


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "x",
        "01" + CALLERS[2:],
        "ff" + CALLERS[2:],
        CALLERS.upper(),
        CALLERS + "-00",
        CALLERS + "\n",
        f" {CALLERS}"[:55],
        CALLERS.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        CALLERS.replace("b7ad6b7169203331", "0" * 16),
        CALLERS.replace("b7ad", "b7\u0663d"),
        CALLERS.encode(),  # SQLite keeps bytes where a text belongs
        "\0" * 55,
        None,
    ],
)
def test_what_is_no_traceparent_is_ignored(odd: Any):
    assert traceparent("t", 0, "a", 1, odd) == traceparent("t", 0, "a", 1)
    assert trace_of("t", odd).parent == ""
