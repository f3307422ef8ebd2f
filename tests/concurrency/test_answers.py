"""Answers, waits and the time that is over, each beside what ends its job at the worst moment.

As test_moves.py: each test plays the shortest run that was found to break when a rule of docs/moves.md, "Waiting for an
answer", is left out.
"""

from collections.abc import Callable, Iterator

import pytest
from django.db.models import F

from jobs_app.models import Answer, Job
from jobs_app.models.attempts import ClaimedJob, JobStatus, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Failed, Retried
from jobs_app.worker.answers import take_answers
from jobs_app.worker.lost_leases import end_lost_leases
from jobs_app.worker.recording import record_results
from jobs_app.worker.retry_policy import result_of
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.operations.verify import ReadCount, findings
from requests_app.passes.inprogress_requests import progress_locked
from requests_app.recipes import Job as StepJob
from tests.concurrency.interleaving import Actor
from tests.concurrency.rows import status_of, statuses
from tests.factories import (
    insert_answer,
    let_leases_run_out,
    make_job,
    make_request,
    make_waiting,
    pass_inprogress,
    waiting_request,
)

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

LOCK = "FOR UPDATE"  # of the requests, which comes first
LOCKS_JOBS = r"SELECT id, claimed_by FROM jobs FORCE INDEX \(PRIMARY\)"
MARKS = r"UPDATE `answers`"
DAY = 86_400.0


@pytest.fixture(autouse=True)
def _nothing_is_wrong_at_the_end(transactional_db: None) -> Iterator[None]:
    yield
    assert [str(finding) for finding in findings(ReadCount())] == []


def take() -> int:
    return take_answers(Stop(), RunRecord("run_worker"), progress_locked)


def record(result: Result) -> int:
    """How many were recorded: 0 when another session has locked it, or it came too late."""
    return len(record_results([result], RunRecord("run_worker")).won)


def waits(job: ClaimedJob) -> Result:
    return Result(job, JobStatus.NEW, "the vendor's answer", wait=(DAY, 3600))


def no_answer(job: ClaimedJob) -> Result:
    return result_of(job, Retried("no answer", is_unanswered=True))


def claimed(claim: str = "a worker's", *, lease: float = 300) -> ClaimedJob:
    """The oldest due job, as the worker that claims it holds it."""
    [(job, _)] = Job.objects.with_requests(claim, Job.objects.claim(claim, 1, lease).ids)
    return job


def second_attempt_waits(name: str) -> None:
    """As after a call in which its callback said so."""
    Job.objects.filter(name=name, attempt=2).update(due_at=F("created_at"))
    assert record(waits(claimed()))


def effects() -> list[str]:
    return list(Answer.objects.order_by("id").values_list("effect", flat=True))


# Beside the job's own worker ------------------------------------------------------------------------------------------
def test_an_answer_leaves_a_check_alone_that_is_claimed_at_that_moment():
    request = waiting_request(check=-1)
    insert_answer(request)
    with Actor(take, stop_before=LOCKS_JOBS) as taker:
        assert taker.stands
        check = claimed()
        assert taker.go_on() == 0

    assert Job.objects.get().claimed_by == check.claim
    assert effects() == [""]
    assert record(waits(check))
    assert take() == 1
    assert statuses(request.id) == {"noop": ["completed"], "noop_1@1": ["new"]}


def test_a_check_is_not_claimed_while_an_answer_ends_it():
    request = waiting_request(check=-1)
    insert_answer(request)
    with Actor(take, stop_before=MARKS) as taker:
        assert taker.stands
        assert Job.objects.claim("a worker's", 1, 300).ids == []
        assert taker.go_on() == 1

    assert statuses(request.id) == {"noop": ["completed"], "noop_1@1": ["new"]}


def test_an_answer_that_comes_while_its_job_is_called_waits_for_it():
    request = make_request("Inprogress", ["noop"], ["noop_1"])
    make_job(request)
    first_call = claimed()
    insert_answer(request, "noop", "failure", attempt=1)
    assert take() == 0
    with Actor(lambda: record(waits(first_call)), stop_before=r"UPDATE jobs .*SET") as wait:
        assert wait.stands
        assert take() == 0
        assert wait.go_on() == 1

    assert take() == 1
    assert statuses(request.id) == {"noop": ["failure"]}


def test_a_wait_that_comes_after_the_job_was_claimed_anew_changes_nothing():
    request = waiting_request(check=-1)
    stale = claimed()
    with Actor(lambda: record(waits(stale)), stop_before=LOCK) as wait:
        assert wait.stands
        assert record(waits(stale))  # as by a COMMIT without a reply
        Job.objects.update(due_at=F("created_at"))
        check = claimed("the new owner's")
        assert wait.go_on() == 0

    assert Job.objects.get().claimed_by == check.claim
    assert record(Result(check, JobStatus.COMPLETED))
    assert record(waits(stale)) == record(waits(check)) == 0
    assert statuses(request.id) == {"noop": ["completed"]}


def test_an_answer_in_the_last_moment_counts_and_is_not_recorded_as_absent():
    request = waiting_request(within=-1)
    silent = claimed()
    with Actor(lambda: record(no_answer(silent)), stop_before=LOCK) as worker:
        assert worker.stands
        insert_answer(request)
        assert worker.go_on() == 1

    assert statuses(request.id) == {"noop": ["new"]}
    assert take() == 1
    assert statuses(request.id) == {"noop": ["completed"], "noop_1@1": ["new"]}


def test_a_job_whose_time_is_over_while_its_answer_is_taken_ends_once():
    request = waiting_request(within=-1)
    insert_answer(request)
    with Actor(take, stop_before=LOCK) as taker:
        assert taker.stands
        silent = claimed()
        assert record(no_answer(silent))
        assert taker.go_on() == 1
        assert record(no_answer(silent)) == 0

    assert statuses(request.id) == {"noop": ["completed"], "noop_1@1": ["new"]}
    assert effects() == ["taken"]


@pytest.mark.parametrize("again", ["waits", "is handed back"])
def test_the_time_for_an_answer_stays_when_a_check(again: str):
    make_waiting(make_request("Inprogress", ["noop"]), within=60, check=-1)
    before = Job.objects.get().answer_by
    check = claimed()
    assert Job.objects.get().answer_by == before
    assert record(waits(check) if again == "waits" else Result(check, JobStatus.NEW))
    assert Job.objects.get().answer_by == before


@pytest.mark.parametrize(("outcome", "effect"), [("completed", ""), ("failure", "late"), ("retry", "late")])
def test_an_answer_does_not_end_the_attempt_that_follows_a_lost_check(outcome: str, effect: str):
    """It was never called. What is done is done, whichever attempt waits for it."""
    request = waiting_request(check=-1)
    insert_answer(request, outcome=outcome, attempt=1)
    with Actor(take, stop_before=LOCK) as taker:
        assert taker.stands
        claimed(lease=-1)
        end_lost_leases(Stop(), RunRecord("run_worker"))
        taker.go_on()

    assert statuses(request.id) == {"noop": ["retry", "new"]}
    assert effects() == [effect]
    second_attempt_waits("noop")
    take()
    after = {"completed": {"noop": ["retry", "completed"], "noop_1@1": ["new"]}}
    assert statuses(request.id) == after.get(outcome, {"noop": ["retry", "new"]})


def test_a_check_whose_lease_was_over_is_not_ended_again_after_its_answer():
    request = waiting_request(check=-1)
    check = claimed()
    let_leases_run_out()
    insert_answer(request)
    with Actor(lambda: end_lost_leases(Stop(), RunRecord("run_worker")), stop_before=LOCK) as reaper:
        assert reaper.stands
        assert record(waits(check))
        assert take() == 1
        reaper.go_on()

    assert statuses(request.id) == {"noop": ["completed"], "noop_1@1": ["new"]}


# Beside other passes --------------------------------------------------------------------------------------------------
def test_a_retry_is_taken_once_when_two_passes_meet():
    request = waiting_request()
    insert_answer(request, outcome="retry")
    with Actor(take, stop_before=LOCK) as second:
        assert second.stands
        with Actor(take, stop_before="INSERT INTO jobs") as first:
            assert first.stands
            assert take() == 0  # what the first has locked is skipped
            assert first.go_on() == 1
        second_attempt_waits("noop")
        assert second.go_on() == 0

    assert statuses(request.id) == {"noop": ["retry", "new"]}


@pytest.mark.parametrize("effect", ["taken", "late"])
def test_answers_whose_commit_was_not_answered_are_taken_once_and_counted_once(effect: str):
    request = waiting_request()
    insert_answer(request, outcome="retry", attempt=int(effect == "taken"))
    insert_answer(request, outcome="failure", attempt=2)  # for the attempt that follows
    run = RunRecord("run_worker")
    with Actor(lambda: take_answers(Stop(), run, progress_locked), lose_answers=1) as lost:
        assert lost.go_on() == 1

    assert effects() == [effect, ""]
    counts = {"retry": 1, "answers_taken": 1} if effect == "taken" else {"answers_late": 1}
    assert run.totals() == counts
    assert statuses(request.id) == {"noop": ["retry", "new"] if effect == "taken" else ["new"]}


def test_a_failure_waits_for_a_siblings_retry_in_the_midst_and_cancels_its_successor():
    request = waiting_request("noop", "noop_2", check=-1)
    Job.objects.filter(name="noop").update(due_at=F("answer_by"))
    again = claimed()
    insert_answer(request, "noop", "failure")
    with Actor(lambda: record(result_of(again, Retried("busy"))), stop_before="INSERT INTO jobs") as retry:
        assert retry.stands
        assert take() == 0
        assert retry.go_on() == 1

    assert take() == 1
    assert statuses(request.id) == {"noop": ["failure"], "noop_2": ["retry", "cancelled"]}


def test_a_siblings_retry_waits_for_a_failure_in_the_midst_and_has_no_successor():
    request = waiting_request("noop", "noop_2", check=-1)
    Job.objects.filter(name="noop").update(due_at=F("answer_by"))
    again = claimed()
    insert_answer(request, "noop", "failure")
    with Actor(take, stop_before=MARKS) as taker:
        assert taker.stands
        assert record(result_of(again, Retried("busy"))) == 0
        assert taker.go_on() == 1

    assert record(result_of(again, Retried("busy"))) == 1
    assert statuses(request.id) == {"noop": ["failure"], "noop_2": ["retry"]}


def test_a_failure_waits_for_a_sibling_that_is_claimed_at_that_moment():
    """It could not cancel that one; beside a failure that was recorded, a sibling that hands back would be `new`."""
    request = waiting_request("noop", "noop_2", check=-1)
    Job.objects.filter(name="noop").update(due_at=F("answer_by"))
    insert_answer(request, "noop", "failure")
    with Actor(claimed, stop_before=r"UPDATE jobs .*SET") as claim:
        assert claim.stands
        assert take() == 0
        sibling = claim.go_on()

    assert statuses(request.id) == {"noop": ["new"], "noop_2": ["inprogress"]}
    assert take() == 1
    assert record(Result(sibling, JobStatus.NEW))
    assert statuses(request.id) == {"noop": ["failure"], "noop_2": ["cancelled"]}


def test_a_request_with_a_failure_of_finish_waits_for_its_sibling_that_waits():
    finish = StepJob("noop", if_fails="finish")
    request = make_request("Inprogress", [finish, "noop_2"])
    make_job(request, finish)
    fails = claimed()
    make_waiting(request, "noop_2")
    assert record(result_of(fails, Failed("no")))
    assert pass_inprogress() == {}
    assert status_of(request.id) == "Inprogress"
    insert_answer(request, "noop_2")
    assert take() == 1
    assert status_of(request.id) == "Failed"


def test_an_answers_retry_keeps_how_far_a_failure_reaches():
    request = make_request("Inprogress", [StepJob("noop", if_fails="continue"), "noop_2"])
    make_waiting(request, StepJob("noop", if_fails="continue"))
    make_waiting(request, "noop_2")
    insert_answer(request, "noop", "retry")
    assert take() == 1
    second_attempt_waits("noop")
    insert_answer(request, "noop", "failure")
    assert take() == 1
    assert statuses(request.id) == {"noop": ["retry", "failure"], "noop_2": ["new"]}


# Beside operators -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("outcome", ["completed", "failure", "retry"])
def test_an_answer_is_late_when_its_request_is_cancelled_at_that_moment(outcome: str):
    request = waiting_request()
    insert_answer(request, outcome=outcome)
    with Actor(take, stop_before=LOCK) as taker:
        assert taker.stands
        assert Request.objects.cancel(request.token)
        assert taker.go_on() == 1

    assert (statuses(request.id), effects()) == ({"noop": ["cancelled"]}, ["late"])


def test_a_cancel_waits_for_an_answer_in_the_midst_and_cancels_what_it_brought():
    request = waiting_request()
    insert_answer(request)
    with Actor(take, stop_before=MARKS) as taker, Actor(lambda: Request.objects.cancel(request.token)) as cancel:
        assert taker.stands
        assert taker.go_on() == 1
        assert cancel.go_on()

    assert status_of(request.id) == "Cancelled"
    assert statuses(request.id) == {"noop": ["completed"], "noop_1@1": ["cancelled"]}


@pytest.mark.parametrize("cancel_comes_first", [True, False])
def test_a_wait_beside_a_cancel_leaves_no_job_that_waits(cancel_comes_first: bool):
    request = make_request("Inprogress", ["noop"])
    make_job(request)
    call = claimed()

    def cancel() -> bool:
        return Request.objects.cancel(request.token)

    if cancel_comes_first:
        with Actor(lambda: record(waits(call)), stop_before=LOCK) as wait:
            assert wait.stands
            assert cancel()
            assert wait.go_on() == 1
    else:
        with Actor(lambda: record(waits(call)), stop_before=r"UPDATE jobs .*SET") as wait, Actor(cancel) as cancelling:
            assert wait.stands
            assert wait.go_on() == 1
            assert cancelling.go_on()

    assert statuses(request.id) == {"noop": ["cancelled"]}


def _retry_failed(token: str) -> bool:
    return Request.objects.retry_failed(token)


def _complete_sibling(token: str) -> bool:
    return Request.objects.complete_job(token, "noop_2", None)


@pytest.mark.parametrize("verb", [_retry_failed, _complete_sibling])
def test_what_was_answered_to_a_failed_request_does_not_end_the_attempt_that_follows(verb: Callable[[str], bool]):
    request = make_request("Failed", ["noop", "noop_2"])
    make_job(request, "noop", "cancelled")
    make_job(request, "noop_2", "failure")
    insert_answer(request, "noop")
    with Actor(take, stop_before=LOCK) as taker:
        assert taker.stands
        assert verb(request.token)
        second_attempt_waits("noop")
        assert taker.go_on() == 0

    assert statuses(request.id)["noop"] == ["cancelled", "new"]
    assert effects() == ["late"]


@pytest.mark.parametrize("outcome", ["completed", "failure", "retry"])
@pytest.mark.parametrize("end", ["completed", "failure"])
def test_an_answer_is_late_when_its_job_is_ended_by_hand_at_that_moment(end: str, outcome: str):
    request = waiting_request()
    insert_answer(request, outcome=outcome)
    with Actor(take, stop_before=LOCK) as taker:
        assert taker.stands
        if end == "completed":
            assert Request.objects.complete_job(request.token, "noop", None)
        else:
            assert Request.objects.fail_job(request.token, "noop")
        assert taker.go_on() == 1

    assert (statuses(request.id), effects()) == ({"noop": ["cancelled", end]}, ["late"])


def test_a_job_is_not_done_by_hand_while_its_answer_is_taken():
    request = waiting_request()
    insert_answer(request)
    with (
        Actor(take, stop_before=MARKS) as taker,
        Actor(lambda: Request.objects.complete_job(request.token, "noop", None)) as hand,
    ):
        assert taker.stands
        assert taker.go_on() == 1
        assert hand.go_on() is False

    assert statuses(request.id) == {"noop": ["completed"], "noop_1@1": ["new"]}
