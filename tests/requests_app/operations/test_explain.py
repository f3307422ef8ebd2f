"""One sentence for every state that a request can be in."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs_app.db.dialect import database_now
from jobs_app.models import Job, PassRun, PausedJob
from requests_app import recipes
from requests_app.models import Request
from requests_app.models.receipt_moves import ReceiptState
from requests_app.operations.explain import explain
from requests_app.recipes import Recipe, Step
from requests_app.recipes.params import MAX_PARAMS_BYTES
from tests.factories import Row, make_answer, make_job, make_request, pass_inprogress, pass_jobs, pass_new

pytestmark = pytest.mark.django_db
LATER = datetime(2999, 1, 2, 3, 4, 5, tzinfo=UTC)


def in_progress(*jobs: Row, **columns: Any) -> Request:
    request = make_request("Inprogress", ["noop", "noop_1"], **columns)
    for job in jobs:
        make_job(request, **job)
    return request


def test_a_request_that_is_not_due_says_when() -> None:
    assert explain(make_request(due_at=LATER)) == "It is not due before 2999-01-02 03:04:05 UTC."


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"id": 7}, ""),
        ({"id": "of Ada"}, " It will be refused: params.id: an integer is needed. Cancel it and place it anew, or "),
        (
            {"id": 7, "more": "x" * MAX_PARAMS_BYTES},
            f" It will be refused: params: more than {MAX_PARAMS_BYTES} bytes; ",
        ),
    ],
    ids=["good", "bad", "too long"],
)
def test_params_that_do_not_fit_are_told_before_the_pick_up(params: Row, says: str) -> None:
    recipes.register(Recipe("made_up", (Step("one", ("noop",)),), params={"properties": {"id": {"type": "integer"}}}))
    try:
        sentence = explain(make_request(action="made_up", params=params, due_at=LATER))
    finally:
        recipes.unregister("made_up")
    assert sentence.startswith(f"It is not due before 2999-01-02 03:04:05 UTC.{says}")
    assert says or sentence.endswith("UTC.")
    assert "Ada" not in sentence


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
        (
            [{"status": "failure", "if_fails": "finish"}, {"name": "noop_1", "status": "inprogress"}],
            " noop failed: it will be Failed when the others of its step have ended.",
        ),
        (
            [{"status": "failure", "if_fails": "continue"}, {"name": "noop_1", "status": "new"}],
            " It is 1 job short so far.",
        ),
        (
            [{"status": "failure", "if_fails": "continue"}, {"name": "noop_1", "status": "completed"}],
            "Step 0 has ended; it is moved on by run_inprogress_requests",
        ),
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


# A job that waits for an answer --------------------------------------------------------------------------------------
SOON, UNTIL = datetime(2999, 1, 1, tzinfo=UTC), datetime(2999, 1, 5, 10, 0, 0, tzinfo=UTC)
PAST = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WAITS: Row = {"answer_in": 60, "answer_by": UNTIL, "due_at": UNTIL}
LOOKS: Row = WAITS | {"due_at": SOON}


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        (
            [LOOKS],
            (
                "It waits for the vendor's answer (noop) until 2999-01-05 10:00:00 UTC, "
                "looks again at 2999-01-01 00:00:00 UTC."
            ),
        ),
        ([WAITS], "It waits for the vendor's answer (noop) until 2999-01-05 10:00:00 UTC."),
        (
            [LOOKS | {"waits_for": "an approval by Ann.\nmore"}],
            (
                "It waits for an approval by Ann (noop) until 2999-01-05 10:00:00 UTC, "
                "looks again at 2999-01-01 00:00:00 UTC."
            ),
        ),
        ([WAITS | {"waits_for": None}], "It waits for an answer (noop) until 2999-01-05 10:00:00 UTC."),
        (
            [WAITS, LOOKS | {"name": "noop_1"}],
            (
                "It waits for the vendor's answer (noop_1) until 2999-01-05 10:00:00 UTC, "
                "looks again at 2999-01-01 00:00:00 UTC; 1 more of its step wait."
            ),
        ),
        (
            [LOOKS | {"due_at": PAST}],
            (
                "It waits for the vendor's answer (noop) until 2999-01-05 10:00:00 UTC, looks again at the next "
                "run_jobs, which has never run (is cron set up, or run_worker started?)."
            ),
        ),
        (
            [LOOKS | {"answer_by": PAST, "due_at": PAST}],
            (
                "It waited for the vendor's answer (noop): no answer came by 2026-01-02 03:04:05 UTC; the attempt ends "
                "at the next run of run_jobs, which has never run (is cron set up, or run_worker started?)."
            ),
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_job_that_waits_for_an_answer_is_said_with_what_for_until_when_and_when_it_looks_again(
    jobs: list[Row], says: str
) -> None:
    assert explain(in_progress(*jobs)) == says


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"status": "inprogress", "lease_until": LATER}, "It runs noop since "),
        ({"status": "new", "due_at": LATER}, "It waits until 2999-01-02 03:04:05 UTC to try noop again. "),
    ],
    ids=["running", "to be tried again"],
)
def test_what_moves_is_said_before_what_waits_for_an_answer(other: Row, says: str) -> None:
    sentence = explain(in_progress(other, WAITS | {"name": "noop_1"}))
    assert sentence.startswith(says)
    assert sentence.endswith(" It waits for the vendor's answer (noop_1) until 2999-01-05 10:00:00 UTC.")
    assert "more of its step" not in sentence


def test_of_a_paused_name_it_is_said_until_when_it_waits_and_that_it_is_paused() -> None:
    request = in_progress(LOOKS | {"due_at": PAST})
    PausedJob.objects.pause("noop", by="ann", reason="its service is away")
    for _ in ("due", "parked"):
        assert re.fullmatch(
            r"It waits for the vendor's answer \(noop\) until 2999-01-05 10:00:00 UTC; "
            r"noop is paused since [\d: -]+ UTC by ann: its service is away\.",
            explain(request),
        )
        Job.objects.park(["noop"])


def test_of_a_paused_name_it_is_said_that_no_answer_came_in_time() -> None:
    request = in_progress(LOOKS | {"due_at": PAST, "answer_by": PAST})
    PausedJob.objects.pause("noop", by="ann", reason="its service is away")
    said = explain(request)
    assert said.startswith("It waited for the vendor's answer (noop): no answer came by ")
    assert said.endswith(" by ann: its service is away.")


def test_an_answer_that_is_there_is_said_with_when_it_came_and_who_takes_it() -> None:
    request = in_progress(WAITS | {"due_at": PAST, "answer_by": PAST}, LOOKS | {"name": "noop_1", "attempt": 3})
    came: Row = {"created_at": datetime(2026, 1, 1, 0, 0, 0, tzinfo=UTC)}
    spared: list[Row] = [
        {"step": 1},
        {"token": "another"},
        {"job": "noop_2"},
        {"effect": "late", "taken_at": PAST},
        {"attempt": 2, "outcome": "failure"},
    ]
    for columns in spared:
        values: Row = {"job": "noop_1"} | came | columns
        make_answer(request, **values)
    assert "an answer came" not in explain(request)
    make_answer(request, "noop_1", attempt=2, created_at=PAST)
    assert explain(request) == (
        "It waits for the vendor's answer (noop_1): an answer came at 2026-01-02 03:04:05 UTC, and is taken by the "
        "next run_inprogress_requests, which has never run (is cron set up, or run_worker started?); "
        "1 more of its step wait."
    )


def test_jobs_of_earlier_steps_are_not_what_it_waits_for() -> None:
    request = in_progress({"status": "completed", "step": 0}, {"status": "new", "due_at": LATER, "step": 1}, step=1)
    assert "to try noop again" in explain(request)


def test_steps_that_cannot_be_read_are_said() -> None:
    request = in_progress()
    Request.objects.filter(pk=request.pk).update(steps=[7])
    request.refresh_from_db()
    assert "Its steps cannot be read any more (steps[0]: a number" in explain(request)


@pytest.mark.parametrize("status", ["Queuing", "Inprogress"])
def test_what_has_not_ended_says_by_when_it_is_to_or_should_have(status: str) -> None:
    deadline = database_now() - timedelta(days=3, hours=2, seconds=30)
    late, timely = make_request(status, deadline_at=deadline), make_request(status, deadline_at=LATER)
    assert explain(late).endswith(f". It should have ended by {deadline:%Y-%m-%d %H:%M:%S} UTC; it is 3 d 2 h late.")
    assert explain(timely).endswith(". It is to end by 2999-01-02 03:04:05 UTC.")


def test_a_failed_one_says_by_when_it_is_to_be_completed_and_a_final_one_nothing() -> None:
    past = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert explain(make_request("Failed", error="noop failed: no", deadline_at=LATER)) == (
        "It failed: noop failed: no. It is to be completed by 2999-01-02 03:04:05 UTC."
    )
    late = explain(make_request("Failed", error="noop failed: no", deadline_at=past))
    assert "no. It should have been completed by 2026-01-02 03:04:05 UTC; it is " in late
    for status in ("Completed", "Cancelled"):
        assert " by " not in explain(make_request(status, deadline_at=past))


def test_a_final_request_says_how_it_ended() -> None:
    assert explain(make_request("Failed", error="noop failed: no\nmore")) == "It failed: noop failed: no"
    ended: dict[str, Any] = {"completed_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
    assert explain(make_request("Completed", **ended)) == "It was completed at 2026-01-02 03:04:05 UTC."
    short = explain(make_request("Completed", shortfall=2, **ended))
    assert short == "It was completed at 2026-01-02 03:04:05 UTC, 2 jobs short."
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


@pytest.mark.parametrize("status", ["Completed", "Cancelled"])
def test_an_ended_request_says_who_writes_its_receipt_while_it_is_due(status: str) -> None:
    request = make_request(status, receipt=ReceiptState.DUE)
    assert ". Its receipt is written by run_inprogress_requests, which has never run" in explain(request)
    job = make_job(request, status="inprogress")
    assert explain(request).endswith(". Its receipt is written once its running jobs have ended.")
    job.delete()
    Request.objects.update(receipt=ReceiptState.WRITTEN)
    assert "receipt" not in explain(Request.objects.get())
