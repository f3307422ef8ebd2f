"""One sentence for every state that a request can be in."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs_app.models import PassRun
from requests_app.models import Request
from requests_app.operations.explain import explain
from tests.factories import Row, make_job, make_request, pass_inprogress, pass_jobs, pass_new

pytestmark = pytest.mark.django_db
LATER = datetime(2999, 1, 2, 3, 4, 5, tzinfo=UTC)


def in_progress(*jobs: Row, **columns: Any) -> Request:
    request = make_request("Inprogress", ["noop", "noop_1"], **columns)
    for job in jobs:
        make_job(request, **job)
    return request


def test_a_request_that_is_not_due_says_when() -> None:
    assert explain(make_request(due_at=LATER)) == "It is not due before 2999-01-02 03:04:05 UTC."


def test_a_due_request_names_the_pass_it_waits_for_and_when_that_ran() -> None:
    request = make_request()
    assert explain(request) == (
        "It waits for its pick-up by run_new_requests, which has never run (is cron set up, or run_worker started?)."
    )
    pass_new(limit=0)
    assert re.search(r"which last succeeded [01] s ago\.$", explain(request))


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        ([{"status": "new", "due_at": LATER}], "It waits until 2999-01-02 03:04:05 UTC to try noop again."),
        (
            [{"status": "retry", "error": "answered 503\nmore"}, {"status": "new", "attempt": 2, "due_at": LATER}],
            "to try noop (attempt 2) again (attempt 1: answered 503).",
        ),
        ([{"status": "new"}], "noop is due and waits for run_jobs, which has never run"),
        ([{"status": "new"}, {"name": "noop_1", "status": "new"}], "noop and 1 more is due"),
        ([{"status": "inprogress", "lease_until": LATER}], "leased until 2999-01-02 03:04:05 UTC."),
        (
            [{"status": "inprogress", "lease_until": LATER}, {"name": "noop_1", "status": "new"}],
            "; 1 more of its step wait.",
        ),
        ([{"status": "inprogress", "lease": -5}], "its worker is gone. It is tried again by the next run_jobs"),
        ([{"name": "of_a_newer_release", "status": "new"}], "No callback is registered as of_a_newer_release"),
        (
            [{"status": "completed"}, {"name": "noop_1", "status": "completed"}],
            "Step 0 has ended; it is moved on by run_inprogress_requests",
        ),
        ([{"status": "failure"}], "Step 0 has ended; it is moved on by run_inprogress_requests"),
        ([{"status": "completed"}], "It does not add up: step 0 has no row for its job noop_1."),
        (
            [{"status": "completed"}, {"name": "noop_1", "status": "cancelled"}],
            "It does not add up: the latest attempt of noop_1 is cancelled and nothing follows it.",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_request_in_progress_says_what_it_waits_for(jobs: list[Row], says: str) -> None:
    sentence = explain(in_progress(*jobs))
    assert says in sentence
    assert "\n" not in sentence


def test_jobs_of_earlier_steps_are_not_what_it_waits_for() -> None:
    request = in_progress({"status": "completed", "step": 0}, {"status": "new", "due_at": LATER, "step": 1}, step=1)
    assert "to try noop again" in explain(request)


def test_steps_that_cannot_be_read_are_said() -> None:
    request = in_progress()
    Request.objects.filter(pk=request.pk).update(steps=[7])
    request.refresh_from_db()
    assert "Its steps cannot be read any more (steps[0]: a number" in explain(request)


def test_a_final_request_says_how_it_ended() -> None:
    assert explain(make_request("Failed", error="noop failed: no\nmore")) == "It failed: noop failed: no"
    ended: dict[str, Any] = {"completed_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
    assert explain(make_request("Completed", **ended)) == "It was completed at 2026-01-02 03:04:05 UTC."
    assert explain(make_request("Cancelled", **ended)).startswith("It was cancelled at 2026-01-02 03:04:05 UTC")


@pytest.mark.django_db(transaction=True)
def test_whatever_state_a_pass_leaves_there_is_a_sentence_for_it() -> None:
    requests = [make_request("Queuing", ["noop", name], ["noop"]) for name in ("noop_1", "fails", "raises")]
    for work in (pass_new, pass_jobs, pass_inprogress, pass_jobs, pass_inprogress):
        for request in requests:
            request.refresh_from_db()
            sentence = explain(request)
            assert sentence.endswith(".") or request.status == "Failed"
            assert "does not add up" not in sentence
        work()


@pytest.mark.usefixtures("old_tables")
def test_a_late_pass_is_said_with_its_line_and_since_when(settings: Any) -> None:
    settings.WRK_REQUEST_NEW_CRON = "*/5 * * * *"
    request, at = make_request(), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    PassRun.objects.create(name="run_new_requests", process="h:1", started_at=at, seen_at=at, ended_at=at)
    assert explain(request).endswith(
        "run_new_requests, which has not succeeded since 2026-01-02 03:04:05 UTC: by its line (*/5 * * * *) it is late"
        "; see whether cron (or run_worker) runs, and what the passes print."
    )
