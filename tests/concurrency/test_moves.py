"""Two transactions that meet at the worst moment. Each test plays the shortest run that was found to break when one
rule of docs/moves.md is left out, and fails when it is.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from jobs_app.db.dialect import database_now
from jobs_app.models import Job
from jobs_app.models.attempts import ClaimOnInsert, JobStatus, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.tally import Key
from jobs_app.outcomes import Failed, Retried
from jobs_app.telemetry.tallies import JOBS_ENDED
from jobs_app.worker.lost_leases import end_lost_leases
from jobs_app.worker.recording import record_results
from jobs_app.worker.retry_policy import result_of
from jobs_app.worker.runner import Runner
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request, RetryPace
from requests_app.models.bulk_retry import Selection
from requests_app.models.fingerprints import error_kind
from requests_app.monitoring.counters import read_sums
from requests_app.operations.verify import ReadCount, findings
from requests_app.passes.inprogress_requests import progress_locked, progress_requests, run_inprogress_requests
from requests_app.passes.new_requests import start_due
from requests_app.recipes import Job as StepJob
from tests.concurrency.interleaving import Actor, lost_answers
from tests.concurrency.rows import add_job, add_request, let_leases_run_out, status_of, statuses
from tests.sample.jobs import RECORD_VARIABLE

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

LOCK = r"FOR UPDATE"


@pytest.fixture
def run(transactional_db: None) -> RunRecord:
    return RunRecord("run_worker")


@pytest.fixture(autouse=True)
def _nothing_is_wrong_at_the_end(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    yield
    if not request.node.get_closest_marker("xfail"):
        assert [str(finding) for finding in findings(ReadCount())] == []


def reap(run: RunRecord) -> None:
    end_lost_leases(Stop(), run)


def record(results: Sequence[Result], run: RunRecord, **options: Any) -> None:
    """As the completer does it: what another session has locked is tried again. An actor stops before that."""
    while results:
        _, results = record_results(results, run, **options)
        if results:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 'locked'")
            time.sleep(0.01)


AGAIN = "SELECT 'locked'"


# Claims and leases ----------------------------------------------------------------------------------------------------
def test_a_claim_that_its_process_forgot_is_renewed_by_nobody(run: RunRecord):
    """As after a COMMIT without an answer: the rows carry the claim, and the process holds only some of them."""
    forgotten, known = (add_request(["noop"]) for _ in range(2))
    for request in (forgotten, known):
        add_job(request, "noop")
    ids = Job.objects.claim("the claim", 10, lease_seconds=10).ids
    held = [job for job, _ in Job.objects.with_requests("the claim", ids) if job.request_id == known]

    with Actor(lambda: Job.objects.renew(held, 1000)) as renewal:
        assert renewal.go_on() == {held[0].id}

    leases = dict(Job.objects.values_list("request_id", "lease_until"))
    lease, left_alone = leases[known], leases[forgotten]
    assert lease
    assert left_alone
    assert (lease - left_alone).total_seconds() > 900


def test_a_pick_up_whose_answer_was_lost_gives_its_process_all_that_it_claimed(run: RunRecord):
    requests = [add_request(["noop"], status="Queuing") for _ in range(2)]
    claim = ClaimOnInsert("the claim", limit=10, lease_seconds=10, sent_at=time.monotonic())
    # The first COMMIT is not answered: the transaction runs again and finds the second request only.
    with Actor(lambda: start_due(run, 1, claim=claim), lose_answers=1) as worker:
        worker.go_on()

    held = Job.objects.inserted_with_requests(claim.id, claim.steps)
    assert [job.request_id for job, _ in held] == requests


def test_a_claim_read_back_after_a_lost_answer_brings_no_job_that_runs_already(
    run: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(RECORD_VARIABLE, str(tmp_path / "record"))
    running = add_request(["records"])
    Request.objects.filter(pk=running).update(params={"seconds": 1})
    add_job(running, "records")
    with Runner(Stop(), run, concurrency=4) as runner:
        runner.turn()
        later = add_request(["records_1"])
        add_job(later, "records_1")
        with lost_answers(1) as lost:
            while lost.left:
                runner.turn()
                runner.wait()
        while runner.turn():
            runner.wait()

    called = [line.split()[2] for line in (tmp_path / "record").read_text().splitlines()]
    assert called == ["records", "records_1"]


def test_a_lease_renewed_after_the_reaper_read_it_is_left_to_its_holder(run: RunRecord):
    held = add_job(request := add_request(["records"]), "records", "inprogress", lease=-1)
    with Actor(lambda: reap(run), stop_before=LOCK) as reaper:
        assert reaper.stands
        assert Job.objects.renew([held], 300) == {held.id}
        reaper.go_on()

    assert statuses(request) == {"records": ["inprogress"]}


def test_a_job_handed_back_and_claimed_anew_is_not_ended_under_its_new_owner(run: RunRecord):
    held = add_job(request := add_request(["records"]), "records", "inprogress", lease=-1)
    with Actor(lambda: reap(run), stop_before=LOCK) as reaper:
        assert reaper.stands
        Job.objects.record([Result(held, JobStatus.NEW)])
        assert Job.objects.claim("the new owner's", 10, lease_seconds=-0.001).ids == [held.id]
        reaper.go_on()

    assert list(Job.objects.values_list("status", "claimed_by")) == [("inprogress", "the new owner's")]
    assert statuses(request) == {"records": ["inprogress"]}


@pytest.mark.parametrize("end", [JobStatus.COMPLETED, JobStatus.FAILURE, JobStatus.RETRY, JobStatus.NEW])
def test_a_result_that_comes_after_the_job_was_claimed_anew_changes_nothing(run: RunRecord, end: JobStatus):
    held = add_job(request := add_request(["records"]), "records", "inprogress")
    late = Result(held, end, "late", extras='{"late": 1}' if end == JobStatus.COMPLETED else None, last_attempt=10)
    with Actor(lambda: record_results([late], run), stop_before=r"SELECT id, claimed_by|UPDATE jobs") as stale:
        with Actor(lambda: Job.objects.filter(pk=held.id).update(claimed_by="the new owner's")) as owner:
            owner.go_on()
        assert stale.go_on().won == []

    assert list(Job.objects.values_list("status", "claimed_by")) == [("inprogress", "the new owner's")]
    assert Request.objects.get(pk=request).extras == {}


def test_of_a_batch_in_which_one_was_lost_the_others_are_recorded_and_move_their_requests_on(run: RunRecord):
    requests = [add_request(["noop"], ["noop_1"]) for _ in range(3)]
    claims = [add_job(request, "noop", "inprogress") for request in requests]
    ends = [Result(held, JobStatus.COMPLETED, extras='{"found": 1}') for held in claims]
    worker = Actor(
        lambda: record_results(ends, run, on_recorded=progress_locked), stop_before="SELECT id, claimed_by FROM jobs"
    )
    with worker, Actor(lambda: Job.objects.filter(pk=claims[1].id).update(claimed_by="the new owner's")) as owner:
        assert worker.stands
        owner.go_on()
        assert worker.go_on().won == [ends[0], ends[2]]

    for request in requests[::2]:
        assert statuses(request) == {"noop": ["completed"], "noop_1@1": ["new"]}
        assert Request.objects.get(pk=request).extras == {"found": 1}
    assert statuses(requests[1]) == {"noop": ["inprogress"]}
    assert Request.objects.get(pk=requests[1]).extras == {}


@pytest.mark.parametrize("end", [JobStatus.COMPLETED, JobStatus.FAILURE])
def test_a_job_that_ends_in_a_cancelled_request_is_recorded_and_moves_nothing_on(run: RunRecord, end: JobStatus):
    held = add_job(request := add_request(["records"], ["noop"]), "records", "inprogress")
    assert Request.objects.cancel(Request.objects.get(pk=request).token)
    result = Result(held, end, "because" if end == JobStatus.FAILURE else "")
    assert record_results([result], run, on_recorded=progress_locked).won == [result]
    assert status_of(request) == "Cancelled"
    assert statuses(request) == {"records": [end]}


def test_a_lost_job_of_a_cancelled_request_is_ended_and_nothing_follows(run: RunRecord):
    add_job(request := add_request(["records"]), "records", "inprogress")
    with Actor(lambda: Request.objects.cancel(Request.objects.get(pk=request).token)) as cancel:
        assert cancel.go_on()
    let_leases_run_out()

    with Actor(lambda: reap(run)) as reaper:
        reaper.go_on()

    assert statuses(request) == {"records": ["retry"]}
    assert status_of(request) == "Cancelled"


# Retries beside failures ----------------------------------------------------------------------------------------------
def test_beside_a_recorded_failure_a_lost_lease_brings_no_new_attempt(run: RunRecord):
    request = add_request()
    fails = add_job(request, "records", "inprogress")
    add_job(request, "records_1", "inprogress", lease=-1)
    with Actor(lambda: reap(run), stop_before=LOCK) as reaper:
        assert record_results([result_of(fails, Failed("no"))], run)
        reaper.go_on()

    assert statuses(request) == {"records": ["failure"], "records_1": ["retry"]}


def test_a_failure_waits_for_a_retry_in_the_midst_and_cancels_its_successor(run: RunRecord):
    request = add_request()
    again, fails = add_job(request, "records", "inprogress"), add_job(request, "records_1", "inprogress")
    retry = Actor(lambda: record_results([result_of(again, Retried("busy"))], run), stop_before="INSERT INTO jobs")
    with retry, Actor(lambda: record([result_of(fails, Failed("no"))], run), stop_before=AGAIN) as failure:
        assert retry.stands
        retry.go_on()
        failure.go_on()

    assert statuses(request) == {"records": ["retry", "cancelled"], "records_1": ["failure"]}


def test_a_retry_waits_for_a_failure_in_the_midst_and_has_no_successor(run: RunRecord):
    request = add_request()
    again, fails = add_job(request, "records", "inprogress"), add_job(request, "records_1", "inprogress")
    failure = Actor(lambda: record_results([result_of(fails, Failed("no"))], run), stop_before=r"UPDATE jobs .*SET")
    with failure, Actor(lambda: record([result_of(again, Retried("busy"))], run), stop_before=AGAIN) as retry:
        assert failure.stands
        failure.go_on()
        retry.go_on()

    assert statuses(request) == {"records": ["retry"], "records_1": ["failure"]}


def test_a_cancel_waits_for_a_retry_in_the_midst_and_cancels_its_successor(run: RunRecord):
    held = add_job(request := add_request(["records"]), "records", "inprogress")
    token = Request.objects.get(pk=request).token
    retry = Actor(lambda: record_results([result_of(held, Retried("busy"))], run), stop_before="INSERT INTO jobs")
    with retry, Actor(lambda: Request.objects.cancel(token)) as cancel:
        retry.go_on()
        assert cancel.go_on()

    assert statuses(request) == {"records": ["retry", "cancelled"]}


def test_a_job_handed_back_while_a_failure_is_recorded_ends_cancelled(run: RunRecord):
    request = add_request()
    waits, fails = add_job(request, "records", "inprogress"), add_job(request, "records_1", "inprogress")
    failure = Actor(lambda: record_results([result_of(fails, Failed("no"))], run), stop_before=r"UPDATE jobs .*SET")
    with failure, Actor(lambda: record([Result(waits, JobStatus.NEW)], run), stop_before=AGAIN) as hand_back:
        failure.go_on()
        hand_back.go_on()

    assert statuses(request) == {"records": ["cancelled"], "records_1": ["failure"]}


# Failures and siblings ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["raised", "lease"])
def test_a_sibling_is_not_claimed_while_a_job_gives_up_and_is_cancelled_by_it(run: RunRecord, how: str):
    request = add_request()
    last = add_job(request, "records", "inprogress", attempt=1, last_attempt=1, lease=-1 if how == "lease" else 300)
    add_job(request, "records_1")

    def give_up() -> None:
        reap(run) if how == "lease" else record_results([result_of(last, Retried("busy"))], run)

    with Actor(give_up, stop_before=r"UPDATE jobs .*SET") as giving_up:
        assert giving_up.stands
        with Actor(lambda: Job.objects.claim("other", 10, 300).ids) as claim:
            assert claim.go_on() == []
        giving_up.go_on()

    assert Job.objects.claim("other", 10, 300).ids == []
    assert statuses(request) == {"records": ["failure"], "records_1": ["cancelled"]}


@pytest.mark.parametrize("reach", ["stop", "finish", "continue"])
def test_only_a_failure_that_stops_waits_for_a_new_sibling_that_is_locked(run: RunRecord, reach: str):
    request = add_request([StepJob("records", reach), "records_1"])
    fails = add_job(request, StepJob("records", reach), "inprogress")
    add_job(request, "records_1")
    claim = Actor(lambda: Job.objects.claim(str(uuid4()), 10, 300).ids, stop_before=r"UPDATE jobs .*SET")
    with claim:
        assert claim.stands
        won, locked = record_results([result_of(fails, Failed("no"))], run)
        claim.go_on()

    assert (len(won), len(locked)) == ((0, 1) if reach == "stop" else (1, 0))
    assert statuses(request) == {
        "records": ["inprogress" if reach == "stop" else "failure"],
        "records_1": ["inprogress"],
    }


def test_a_failure_that_comes_too_late_cancels_nobody(run: RunRecord):
    request = add_request()
    stale = add_job(request, "records", "inprogress", lease=-1)
    add_job(request, "records_1")
    with Actor(lambda: record_results([result_of(stale, Failed("no"))], run), stop_before=LOCK) as failure:
        assert failure.stands
        reap(run)
        assert failure.go_on() == ([], [])

    assert statuses(request) == {"records": ["retry", "new"], "records_1": ["new"]}


def test_a_request_is_not_failed_by_the_pass_while_a_job_of_it_runs(run: RunRecord):
    request = add_request()
    fails, runs = add_job(request, "records", "inprogress"), add_job(request, "records_1", "inprogress")
    record_results([result_of(fails, Failed("no"))], run)

    with Actor(lambda: progress_requests(run, [request])) as early:
        assert early.go_on() == 0
    assert status_of(request) == "Inprogress"

    Job.objects.record([Result(runs, JobStatus.COMPLETED)])
    run_inprogress_requests(Stop(), run)
    assert status_of(request) == "Failed"


def test_a_request_is_failed_with_its_last_job_when_two_workers_record_at_once(run: RunRecord):
    request = add_request()
    fails, runs = add_job(request, "records", "inprogress"), add_job(request, "records_1", "inprogress")

    first = Actor(
        lambda: record_results([result_of(fails, Failed("no"))], run, on_recorded=progress_locked),
        stop_before="INSERT INTO tallies",
    )
    with (
        first,
        Actor(
            lambda: record([Result(runs, JobStatus.COMPLETED)], RunRecord("run_worker"), on_recorded=progress_locked),
            stop_before=AGAIN,
        ) as second,
    ):
        assert first.stands
        assert second.stands
        first.go_on()
        second.go_on()

    assert status_of(request) == "Failed"
    assert statuses(request) == {"records": ["failure"], "records_1": ["completed"]}


# Requests that move on ------------------------------------------------------------------------------------------------
def test_a_request_advances_once_when_two_passes_meet(run: RunRecord, caplog: pytest.LogCaptureFixture):
    add_job(request := add_request(["noop"], ["noop_1"]), "noop", "completed")
    first = Actor(lambda: progress_requests(run, [request]), stop_before=r"UPDATE requests .*SET step")
    with first, Actor(lambda: progress_requests(RunRecord("run_worker"), [request])) as second:
        assert first.stands
        assert (first.go_on(), second.go_on()) == (1, 0)

    assert statuses(request) == {"noop": ["completed"], "noop_1@1": ["new"]}
    assert [record.getMessage() for record in caplog.records] == []


def test_a_request_is_completed_once_when_two_passes_meet(run: RunRecord):
    add_job(request := add_request(["noop"]), "noop", "completed")
    first = Actor(lambda: progress_requests(run, [request]), stop_before=r"UPDATE requests .*SET status")
    with first, Actor(lambda: progress_requests(RunRecord("run_worker"), [request])) as second:
        assert (first.go_on(), second.go_on()) == (1, 0)


def test_an_advance_whose_answer_was_lost_is_not_made_again(run: RunRecord):
    requests = [add_request(["noop"], ["noop_1"], ["noop_2"]) for _ in range(2)]
    for request in requests:
        add_job(request, "noop", "completed")
    with Actor(lambda: progress_requests(run, requests), lose_answers=1) as lost:
        lost.go_on()

    for request in requests:
        assert (status_of(request), Request.objects.get(pk=request).step) == ("Inprogress", 1)
        assert statuses(request) == {"noop": ["completed"], "noop_1@1": ["new"]}


def test_rows_of_a_next_step_that_are_there_already_are_kept_and_hold_up_nobody(run: RunRecord):
    odd, good = (add_request(["noop"], ["noop_1", "noop_2"]) for _ in range(2))
    for request in (odd, good):
        add_job(request, "noop", "completed")
    add_job(odd, "noop_1", step=1)

    assert progress_requests(run, [odd, good]) == 2

    moved = {"noop": ["completed"], "noop_1@1": ["new"], "noop_2@1": ["new"]}
    assert (statuses(odd), statuses(good)) == (moved, moved)


def test_a_failure_that_was_made_good_by_hand_fails_the_request_no_more(run: RunRecord):
    request = add_request(["records", "records_1"], ["noop"], status="Failed", error="records failed: no")
    add_job(request, "records", "failure")
    add_job(request, "records_1", "cancelled")

    def retry_by_hand() -> None:
        with transaction.atomic():
            Request.objects.select_for_update().get(pk=request)
            add_job(request, "records", "inprogress", attempt=2)
            add_job(request, "records_1", "inprogress", attempt=2)
            Request.objects.filter(pk=request).update(status="Inprogress", completed_at=None, error="")

    with Actor(retry_by_hand, stop_before="UPDATE `requests`") as hand:
        assert hand.stands
        run_inprogress_requests(Stop(), run)  # in the midst of it: nothing to do
        hand.go_on()
    good, busy = Job.objects.filter(attempt=2).order_by("name")
    claims = [_claimed(job) for job in (good, busy)]
    record_results([Result(claims[0], JobStatus.COMPLETED), result_of(claims[1], Retried("busy"))], run)
    assert statuses(request) == {"records": ["failure", "completed"], "records_1": ["cancelled", "retry", "new"]}

    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET due_at = created_at WHERE attempt = 3")
    Job.objects.claim("third", 10, 300)
    third = Job.objects.get(attempt=3)
    record_results([Result(_claimed(third), JobStatus.COMPLETED)], run)
    run_inprogress_requests(Stop(), run)
    assert (status_of(request), Request.objects.get(pk=request).step) == ("Inprogress", 1)


def _claimed(job: Job) -> Any:
    return Job.objects.with_requests(job.claimed_by or "", [job.pk])[0][0]


# Verbs of an operator -------------------------------------------------------------------------------------------------
LOCKS_NEW = r"FROM jobs FORCE INDEX \(PRIMARY\)"  # what a verb does to the `new` rows that it ends


def token_of(request: int) -> str:
    return str(Request.objects.get(pk=request).token)


def finish(run: RunRecord, request: int) -> None:
    """Claims and completes whatever of it is due, and moves it on."""
    for _ in range(3):
        Job.objects.claim(claim := str(uuid4()), 10, 300)
        held = Job.objects.filter(request_id=request, claimed_by=claim)
        if ends := [Result(_claimed(job), JobStatus.COMPLETED) for job in held]:
            record_results(ends, run)
        run_inprogress_requests(Stop(), run)


def failed_request(run: RunRecord) -> int:
    """One job failed, one lost its lease, one was cancelled before it began; nobody retried them."""
    request = add_request(["records", "records_1", "records_2"])
    fails = add_job(request, "records", "inprogress")
    add_job(request, "records_1", "inprogress", lease=-1)
    add_job(request, "records_2")
    record_results([result_of(fails, Failed("no"))], run)
    reap(run)
    run_inprogress_requests(Stop(), run)
    assert status_of(request) == "Failed"
    return request


def test_a_retry_by_hand_brings_every_job_of_the_step_back_and_is_seen_whole(run: RunRecord):
    request = failed_request(run)
    token = token_of(request)
    with Actor(lambda: Request.objects.retry_failed(token), stop_before="INSERT INTO jobs") as hand:
        assert hand.stands
        run_inprogress_requests(Stop(), run)  # in the midst of it
        with Actor(lambda: Request.objects.retry_failed(token)) as twice:
            assert hand.go_on() is True
            assert twice.go_on() is False

    again = {"records": ["failure", "new"], "records_1": ["retry", "new"], "records_2": ["cancelled", "new"]}
    assert statuses(request) == again
    finish(run, request)
    assert status_of(request) == "Completed"


def test_a_retry_by_hand_of_a_refused_request_has_it_picked_up_anew(run: RunRecord):
    request = add_request(["no such job"], status="Queuing")
    start_due(run, 10)
    assert status_of(request) == "Failed"
    Request.objects.filter(pk=request).update(steps=[{"name": "only", "jobs": ["noop"]}])

    token = token_of(request)
    with Actor(lambda: Request.objects.retry_failed(token)) as hand:
        assert hand.go_on()
    assert status_of(request) == "Queuing"
    assert start_due(run, 10) == 1
    finish(run, request)
    assert (status_of(request), statuses(request)) == ("Completed", {"noop": ["completed"]})


def test_two_runs_over_those_that_failed_alike_take_up_each_once_and_share_the_pace(run: RunRecord):
    kind = error_kind("records failed: no")
    requests = [add_request(["records"], status="Failed", error="records failed: no") for _ in range(6)]
    Request.objects.update(error_kind=kind)
    for request in requests:
        add_job(request, "records", "failure")
    RetryPace.objects.open(kind)
    selection = Selection(kind, database_now())
    with (
        Actor(lambda: Request.objects.bulk_retry(requests[:4], selection, 60), stop_before="INSERT INTO jobs") as one,
        Actor(lambda: Request.objects.bulk_retry(requests[2:], selection, 60)) as other,
    ):
        assert not other.done  # it waits for the places that the first one takes
        first, second = one.go_on(), other.go_on()
    assert [request.id for request in first.requests] == requests[:4]
    assert ([request.id for request in second.requests], second.locked) == (requests[4:], 2)
    due = list(Job.objects.filter(status="new").order_by("request_id").values_list("due_at", flat=True))
    assert [round((later - due[0]).total_seconds() / 60) for later in due] == [0, 1, 2, 3, 4, 5]


def test_a_job_done_by_hand_beside_running_ones_brings_its_cancelled_siblings_back(run: RunRecord):
    request = add_request(["records", "records_1", "records_2"])
    fails, runs = add_job(request, "records", "inprogress"), add_job(request, "records_1", "inprogress")
    add_job(request, "records_2")
    record_results([result_of(fails, Failed("no"))], run)
    assert statuses(request) == {"records": ["failure"], "records_1": ["inprogress"], "records_2": ["cancelled"]}

    token = token_of(request)
    with Actor(lambda: Request.objects.complete_job(token, "records", {"done": "by hand"})) as hand:
        assert hand.go_on()
    record_results([Result(runs, JobStatus.COMPLETED)], run)
    finish(run, request)

    assert status_of(request) == "Completed"
    assert statuses(request)["records_2"] == ["cancelled", "completed"]


def test_a_job_that_is_claimed_while_it_is_done_by_hand_is_left_to_its_claim(run: RunRecord):
    request = add_request(["records"])
    add_job(request, "records")
    token = token_of(request)
    with Actor(lambda: Request.objects.complete_job(token, "records", None), stop_before=LOCKS_NEW) as hand:
        assert hand.stands
        assert len(Job.objects.claim("a worker's", 10, 300).ids) == 1
        assert hand.go_on() is False

    assert statuses(request) == {"records": ["inprogress"]}


def test_a_job_that_is_claimed_while_it_is_failed_by_hand_is_left_to_its_claim_and_its_siblings_to_themselves():
    request = add_request(["records", "records_1"])
    add_job(request, "records")
    add_job(request, "records_1")
    token = token_of(request)
    with Actor(lambda: Request.objects.fail_job(token, "records"), stop_before=LOCKS_NEW) as hand:
        assert hand.stands
        assert len(Job.objects.claim("a worker's", 1, 300).ids) == 1
        assert hand.go_on() is False

    assert statuses(request) == {"records": ["inprogress"], "records_1": ["new"]}


def test_a_sibling_that_ends_while_a_job_is_failed_by_hand_waits_for_it_and_has_no_successor(run: RunRecord):
    request = add_request(["records", "records_1"])
    add_job(request, "records")
    runs = add_job(request, "records_1", "inprogress")
    token = token_of(request)
    with Actor(lambda: Request.objects.fail_job(token, "records"), stop_before=r"INSERT INTO") as hand:
        assert hand.stands
        assert not record_results([result_of(runs, Retried("not yet"))], run).won  # its request is locked
        assert hand.go_on()
    record_results([result_of(runs, Retried("not yet"))], run)
    finish(run, request)

    assert statuses(request) == {"records": ["cancelled", "failure"], "records_1": ["retry"]}
    assert status_of(request) == "Failed"


def test_two_pick_ups_that_meet_insert_each_job_once(run: RunRecord):
    request = add_request(["noop"], status="Queuing")
    first = Actor(lambda: start_due(run, 10), stop_before=r"UPDATE requests .*SET|INSERT INTO jobs")
    with first, Actor(lambda: start_due(RunRecord("run_worker"), 10)) as second:
        assert first.stands
        assert second.go_on() == 0  # what the first has locked is skipped, not waited for
        assert first.go_on() == 1

    assert statuses(request) == {"noop": ["new"]}


def test_a_pick_up_whose_answer_was_lost_is_not_made_again(run: RunRecord):
    good = add_request(["noop"], status="Queuing")
    bad = add_request(["no such job"], status="Queuing")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE requests SET started_at = NULL")
    with Actor(lambda: start_due(run, 10), lose_answers=1) as lost:
        lost.go_on()

    assert (status_of(good), status_of(bad)) == ("Inprogress", "Failed")
    assert statuses(good) == {"noop": ["new"]}


def test_a_pick_up_in_the_midst_of_a_cancel_leaves_no_new_job(run: RunRecord):
    request = add_request(["noop"], status="Queuing")
    token = Request.objects.get(pk=request).token
    with Actor(lambda: Request.objects.cancel(token), stop_before=r"UPDATE `?requests") as cancel:
        assert cancel.stands
        with Actor(lambda: start_due(run, 10)) as picking_up:
            picking_up.go_on()
        assert cancel.go_on()

    assert status_of(request) == "Cancelled"
    assert "new" not in [status for of_job in statuses(request).values() for status in of_job]


def test_a_cancel_in_the_midst_of_a_pick_up_waits_and_cancels_what_it_made(run: RunRecord):
    request = add_request(["noop"], status="Queuing")
    token = Request.objects.get(pk=request).token
    picking_up = Actor(lambda: start_due(run, 10), stop_before="INSERT INTO jobs")
    with picking_up, Actor(lambda: Request.objects.cancel(token)) as cancel:
        assert picking_up.stands
        picking_up.go_on()
        assert cancel.go_on()

    assert statuses(request) == {"noop": ["cancelled"]}


# Extras ---------------------------------------------------------------------------------------------------------------
def test_two_ends_that_meet_keep_both_their_keys(run: RunRecord):
    request = add_request(extras='{"given": 0}')
    held = [add_job(request, name, "inprogress") for name in ("records", "records_1")]
    ends = [Result(job, JobStatus.COMPLETED, extras=json.dumps({job.name: n})) for n, job in enumerate(held)]
    first = Actor(lambda: record_results(ends[:1], run), stop_before="UPDATE requests SET extras")
    with first, Actor(lambda: record(ends[1:], RunRecord("run_worker")), stop_before=AGAIN) as second:
        assert first.stands
        first.go_on()
        second.go_on()

    assert Request.objects.get(pk=request).extras == {"given": 0, "records": 0, "records_1": 1}


# Ends recorded again --------------------------------------------------------------------------------------------------
def test_ends_whose_answer_was_lost_are_recorded_once(run: RunRecord):
    request = add_request(["records"], ["noop"])
    held = add_job(request, "records", "inprogress")
    with Actor(lambda: record_results([result_of(held, Retried("busy"))], run), lose_answers=1) as lost:
        assert [end.job.id for end in lost.go_on().won] == [held.id]

    assert statuses(request) == {"records": ["retry", "new"]}
    assert read_sums(connection)[Key(JOBS_ENDED, "records", "retry")] == 1
