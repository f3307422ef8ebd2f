"""The trace of a request: the same for all its attempts, each attempt a span of its own, and nothing stored."""

import re

from jobs_app.tracing import traceparent


def test_it_has_the_form_that_the_standard_gives():
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", traceparent("t", 0, "a", 1))


def test_attempts_of_a_request_share_its_trace_and_no_span():
    attempts = [("a", 0, "x", 1), ("a", 0, "x", 2), ("a", 0, "y", 1), ("a", 1, "x", 1)]
    traces, spans = zip(*(traceparent(*attempt).split("-")[1:3] for attempt in attempts), strict=True)
    assert len(set(traces)) == 1
    assert len(set(spans)) == 4
    assert traceparent("b", 0, "x", 1).split("-")[1] != traces[0]


def test_a_token_that_no_service_could_read_has_a_trace_as_well():
    assert traceparent("\ud800 \0 \U0001f4a9", 0, "a", 1)
