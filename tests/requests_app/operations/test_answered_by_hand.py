"""A job that waits for an answer, in the hands of operators: completed, failed, hurried, cancelled, retried."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs_app.models import Answer, Job
from requests_app.models import Intervention, Request
from requests_app.operations.interventions import (
    Refused,
    cancel_request,
    complete_job,
    fail_job,
    retry_now,
    retry_request,
)
from requests_app.operations.verify import ReadCount, findings
from tests.conftest import called_here
from tests.factories import (
    changes_by,
    make_answer_to,
    make_job,
    make_request,
    make_waiting,
    pass_inprogress,
    seconds_from_now,
    statuses,
)

pytestmark = pytest.mark.django_db(transaction=True)
BY: dict[str, Any] = {"by": "ada", "reason": "Ann asked for it"}


def asks(*others: str, **columns: Any) -> Request:
    """Its job `approve` waits for a person, beside these, which are new."""
    request = make_request("Inprogress", ["approve", *others])
    make_waiting(request, "approve", **columns)
    for name in others:
        make_job(request, name)
    return request


def wrong() -> list[str]:
    return [str(finding) for finding in findings(ReadCount())]


# complete_job, fail_job ----------------------------------------------------------------------------------------------
def test_an_approval_is_given_by_completing_the_job_that_waits_for_it() -> None:
    request = asks()
    complete_job(request.token, "approve", {"approved_by": "bob"}, **BY)
    assert statuses(request) == {("approve", 1): "cancelled", ("approve", 2): "completed"}
    cancelled, done = Job.objects.order_by("id")
    assert cancelled.waits_for
    assert (done.waits_for, done.answer_by) == (None, None)
    assert pass_inprogress() == {"requests_completed": 1}
    request.refresh_from_db()
    assert request.extras == {"approved_by": "bob"}
    assert wrong() == []


def test_an_approval_is_refused_by_failing_the_job_and_the_request_fails_by_the_pass() -> None:
    request = asks("noop")
    fail_job(request.token, "approve", **BY)
    assert statuses(request) == {("approve", 1): "cancelled", ("noop", 1): "cancelled", ("approve", 2): "failure"}
    trace = Intervention.objects.get()
    assert (trace.verb, trace.job, trace.by, trace.reason) == ("fail_job", "approve", "ada", "Ann asked for it")
    assert pass_inprogress() == {"requests_failed": 1}
    request.refresh_from_db()
    assert request.error == "approve failed: failed by hand; the reason is kept in the request's history"
    assert wrong() == []


@pytest.mark.parametrize(
    ("if_fails", "sibling"), [("stop", "cancelled"), ("finish", "new"), ("continue", "new")], ids=str
)
def test_a_job_failed_by_hand_reaches_as_far_as_its_row_says(if_fails: str, sibling: str) -> None:
    request = asks("noop", if_fails=if_fails)
    make_job(request, "runs", "inprogress")
    other = asks()
    assert Request.objects.fail_job(request.token, "approve")
    assert statuses(request)["noop", 1] == sibling
    assert statuses(request)["runs", 1] == "inprogress"
    assert Job.objects.get(name="approve", attempt=2, request=request).if_fails == if_fails
    assert statuses(other) == {("approve", 1): "new"}


def test_a_job_that_waits_for_its_next_attempt_can_be_failed_in_its_budget() -> None:
    request = make_request("Inprogress", ["noop"])
    make_job(request, "noop", "retry", last_attempt=2)
    make_job(request, "noop", "new", attempt=2, last_attempt=2, due_in=900)
    fail_job(request.token, "noop", **BY)
    assert statuses(request) == {("noop", 1): "retry", ("noop", 2): "cancelled", ("noop", 3): "failure"}
    assert pass_inprogress() == {"requests_failed": 1}
    assert wrong() == []


@pytest.mark.parametrize("status", ["inprogress", "completed", "failure", "retry", "cancelled"])
def test_a_job_that_runs_or_has_ended_cannot_be_failed(status: str) -> None:
    request = asks()
    make_job(request, "noop", status)

    def refused() -> None:
        with pytest.raises(Refused, match="fail_job: only a job of the current step that has yet to run"):
            fail_job(request.token, "noop", **BY)

    assert changes_by(refused) == {}
    assert not Intervention.objects.exists()


def test_what_has_failed_need_not_be_failed_and_the_refusal_says_so() -> None:
    request = make_request("Failed", ["approve"])
    make_job(request, "approve", "failure")
    with pytest.raises(Refused, match=r"in a Failed one it has failed already; this one is Failed\. It failed:"):
        fail_job(request.token, "approve", **BY)


def test_a_job_of_another_step_than_was_meant_is_not_failed() -> None:
    request = make_request("Inprogress", ["approve"], ["approve"], step=1)
    make_job(request, "approve", "completed", step=0)
    make_waiting(request, "approve")
    for step, done in ((0, 1), (1, 0)):
        ended = called_here("fail_job", request.token, "approve", "--step", str(step), "--reason", "x")
        assert ended.returncode == done
    assert Job.objects.get(step=1, attempt=2).status == "failure"


def test_the_command_and_the_log_say_what_was_done_and_not_why() -> None:
    request = asks()
    with capture_logs() as events:
        done = called_here("fail_job", request.token, "approve", "--reason", "Ann asked", "--by", "Bob")
    assert (done.returncode, done.stdout) == (0, f"{request.token} takes that job as failed\n")
    trace = Intervention.objects.get()
    assert trace.by.endswith(" for Bob")
    told = {"event": "fail_job", "token": request.token, "action": "other", "job": "approve", "by": trace.by}
    assert [event for event in events if event["event"] == "fail_job"] == [told | {"log_level": "info"}]


# What the other jobs of the step do ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("if_fails", "attempts"), [("stop", 2), ("finish", 1), ("continue", 1)])
def test_an_approval_tries_no_other_job_again_but_those_whose_failure_stops_it(if_fails: str, attempts: int) -> None:
    request = asks()
    make_job(request, "newsletter", "failure", if_fails=if_fails)
    make_job(request, "runs", "inprogress")
    complete_job(request.token, "approve", None, **BY)
    assert Job.objects.filter(name="newsletter").count() == attempts


def test_a_retry_by_hand_tries_every_job_again_that_failed() -> None:
    request = make_request("Failed", ["a", "b"])
    make_job(request, "a", "failure", if_fails="continue")
    make_job(request, "b", "failure", if_fails="finish")
    retry_request(request.token, **BY)
    assert statuses(request) == {("a", 1): "failure", ("b", 1): "failure", ("a", 2): "new", ("b", 2): "new"}
    assert list(Job.objects.filter(attempt=2).order_by("name").values_list("if_fails", flat=True)) == [
        "continue",
        "finish",
    ]


# Answers that were given before --------------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", ["retry_request", "complete_job"])
def test_answers_to_a_failed_request_are_late_once_it_is_taken_up_again(verb: str) -> None:
    request, other = make_request("Failed", ["approve", "noop"]), asks()
    make_job(request, "approve", "failure")
    make_job(request, "noop", "cancelled")
    old = [make_answer_to(request.token, "approve"), make_answer_to(request.token, "noop", "retry")]
    taken = make_answer_to(request.token, "approve", effect="taken")
    of_other = make_answer_to(other.token, "approve")
    if verb == "retry_request":
        retry_request(request.token, **BY)
    else:
        complete_job(request.token, "approve", None, **BY)
    for answer in Answer.objects.filter(pk__in=[row.pk for row in old]):
        assert answer.effect == "late"
        assert abs(seconds_from_now(answer.taken_at)) < 60
    assert Answer.objects.get(pk=taken.pk).taken_at == taken.taken_at
    assert Answer.objects.get(pk=of_other.pk).effect == ""


def test_a_verb_that_is_refused_leaves_answers_as_they_are() -> None:
    request = make_request("Failed", ["approve"])
    make_job(request, "approve", "completed")
    make_answer_to(request.token, "approve")
    assert not Request.objects.complete_job(request.token, "approve", None)
    assert not Request.objects.complete_job(request.token, "nothing", None)
    assert Answer.objects.get().effect == ""


def test_an_answer_to_a_request_in_progress_is_left_to_the_pass() -> None:
    request = asks()
    make_answer_to(request.token, "approve")
    complete_job(request.token, "approve", None, **BY)
    assert Answer.objects.get().effect == ""


# retry_now, cancel_request -------------------------------------------------------------------------------------------
def test_a_hurried_job_that_waits_for_an_answer_looks_again_now_and_waits_no_longer_for_that() -> None:
    request = asks()
    before = Job.objects.get()
    retry_now(request.token, **BY)
    after = Job.objects.get()
    assert seconds_from_now(after.due_at) <= 0
    assert (after.answer_by, after.waits_for, after.attempt, after.checks) == (before.answer_by, before.waits_for, 1, 1)
    assert Job.objects.claim("a claim", 5, 30).ids == [after.id]


def test_a_cancelled_request_waits_for_nobody() -> None:
    request = asks()
    cancel_request(request.token, **BY)
    assert statuses(request) == {("approve", 1): "cancelled"}
    assert wrong() == []
