"""The moves of a job: each against every status; what it changes where its guard holds, and that it changes no more.

The rules are those of docs/moves.md. Two transactions that meet: tests/concurrency/test_moves.py.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest.mock import ANY

import pytest
from django.db import DataError, IntegrityError, OperationalError, transaction

from jobs_app.limit_rules import LimitRule
from jobs_app.models import Job
from jobs_app.models.attempts import ClaimOnInsert, JobStatus, NewJob, Result
from jobs_app.models.inserts import insert_jobs
from jobs_app.models.pause import PARKED_AT
from jobs_app.outcomes import Completed, Failed, NotStarted, Outcome, Retried, Stopped
from jobs_app.worker.retry_policy import result_of
from requests_app.models import Request, RequestStatus
from requests_app.recipes import Job as StepJob
from tests.factories import (
    Row,
    Rows,
    changed,
    changes_by,
    held,
    make_job,
    make_request,
    rows,
    seconds_from_now,
    statuses,
    update_raw,
)

pytestmark = pytest.mark.django_db

CLAIM = "a claim of this transaction"
FREE: Row = {"claimed_by": None, "lease_until": None}


def record(job: Job, outcome: Outcome, claim: str | None = None, *, lease_expired: bool = False) -> list[Result]:
    return Job.objects.record([result_of(held(job, claim), outcome)], lease_expired=lease_expired)


# The table: (status, move) --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Move:
    """`act` on a job; allowed in `old` only: then its row changes by `new`, its request's by `request`.

    `successor`: what the row that it inserts says.
    """

    act: Callable[[Job], object]
    old: JobStatus
    new: Row
    request: Row = field(default_factory=dict)
    successor: Row | None = None
    doomed_new: Row | None = None  # the same where the request is doomed; None: no difference


def ended(status: JobStatus, **more: Any) -> Row:
    return {"status": status, "completed_at": ANY, **FREE, **more}


NEXT = {"attempt": 2, "status": "new", "last_attempt": 10, "name": "noop", "step": 0, "error": "", **FREE}
MOVES = {
    "claim": Move(
        lambda _: Job.objects.claim(CLAIM, 10, 30).ids,
        JobStatus.NEW,
        {"status": "inprogress", "claimed_by": CLAIM, "lease_until": ANY, "started_at": ANY},
    ),
    "renew": Move(lambda job: Job.objects.renew([held(job)], 900), JobStatus.INPROGRESS, {"lease_until": ANY}),
    "complete": Move(lambda job: record(job, Completed()), JobStatus.INPROGRESS, ended(JobStatus.COMPLETED)),
    "complete with extras": Move(
        lambda job: record(job, Completed('{"a":1}')),
        JobStatus.INPROGRESS,
        ended(JobStatus.COMPLETED, extras=ANY),
        request={"extras": ANY},
    ),
    "failure": Move(lambda job: record(job, Failed("no")), JobStatus.INPROGRESS, ended(JobStatus.FAILURE, error="no")),
    "retry": Move(
        lambda job: record(job, Retried("not yet")),
        JobStatus.INPROGRESS,
        ended(JobStatus.RETRY, error="not yet"),
        successor=NEXT,
    ),
    "lease ran out": Move(
        lambda job: record(expired(job), Retried("gone"), lease_expired=True),
        JobStatus.INPROGRESS,
        ended(JobStatus.RETRY, error="gone", lease_until=ANY),
        successor=NEXT,
    ),
    "hand back, not started": Move(
        lambda job: record(job, NotStarted()),
        JobStatus.INPROGRESS,
        {"status": "new", "started_at": None, **FREE},
        doomed_new=ended(JobStatus.CANCELLED, started_at=None),
    ),
    "hand back, started": Move(
        lambda job: record(job, Stopped()),
        JobStatus.INPROGRESS,
        ended(JobStatus.RETRY, error="worker stopped"),
        successor=NEXT | {"last_attempt": 11},
    ),
    "cancel_new": Move(
        lambda job: Job.objects.cancel_new([job.request_id]),
        JobStatus.NEW,
        {"status": "cancelled", "completed_at": ANY},
    ),
}
GUARDED_BY_CLAIM = [name for name, move in MOVES.items() if move.old == JobStatus.INPROGRESS]
RECORDED = [name for name in GUARDED_BY_CLAIM if name != "renew"]


def expired(job: Job) -> Job:
    """The same job, its lease over."""
    Job.objects.filter(pk=job.pk, status="inprogress").update(lease_until="2000-01-01T00:00:00Z")
    return job


def inserted(before: Rows, changes: Rows) -> list[Row]:
    return [row for key, row in changes.items() if key not in before]


@pytest.mark.parametrize("request_status", RequestStatus.values)
@pytest.mark.parametrize("status", JobStatus.values)
@pytest.mark.parametrize("name", MOVES)
def test_a_move_changes_its_rows_in_its_one_status_and_nothing_in_any_other(
    name: str, status: str, request_status: str
) -> None:
    move = MOVES[name]
    request = make_request(request_status)
    job = make_job(request, status=status)
    make_job(make_request("Inprogress"), status="completed")  # a neighbour
    before = rows()
    move.act(job)
    changes = changed(before)
    if status != move.old:
        assert changes == {}
        return
    doomed = request_status != "Inprogress"
    new = move.doomed_new if doomed and move.doomed_new is not None else move.new
    successors = inserted(before, changes)
    old_rows = {key: row for key, row in changes.items() if key in before}
    assert old_rows == {("jobs", job.id): new} | ({("requests", request.id): move.request} if move.request else {})
    if move.successor is None or doomed:
        assert successors == []
    else:
        assert [{column: row[column] for column in move.successor} for row in successors] == [move.successor]
        assert successors[0]["request_id"] == request.id


@pytest.mark.parametrize("name", GUARDED_BY_CLAIM)
def test_a_job_that_somebody_else_claimed_meanwhile_is_left_alone(name: str) -> None:
    job = make_job(make_request("Inprogress"), status="inprogress")
    make_job(job.request, "noop_1", "new")
    stale = Job.objects.get(pk=job.pk)
    Job.objects.filter(pk=job.pk).update(claimed_by="of another", lease_until="2000-01-01T00:00:00Z")
    assert changes_by(lambda: MOVES[name].act(stale)) == {}


@pytest.mark.parametrize("name", RECORDED)
def test_who_lost_is_told_so_and_who_won_too(name: str) -> None:
    job = make_job(make_request("Inprogress"), status="inprogress")
    won = MOVES[name].act(job)
    assert [end.job.id for end in won] == [job.id]  # type: ignore[attr-defined]
    assert MOVES[name].act(job) == []


# Leases ---------------------------------------------------------------------------------------------------------------
def test_a_lease_that_was_renewed_since_it_was_read_is_not_taken_away() -> None:
    job = make_job(make_request("Inprogress"), status="inprogress", lease=-5)
    read = Job.objects.lease_expired(10)
    assert [one.id for one in read] == [job.id]
    assert Job.objects.renew(read, 60) == {job.id}
    ends = [result_of(one, Retried("gone")) for one in read]
    assert changes_by(lambda: Job.objects.record(ends, lease_expired=True)) == {}


def test_a_lease_of_the_same_claim_is_renewed_by_seconds_of_the_databases_clock() -> None:
    job = make_job(make_request("Inprogress"), status="inprogress", lease=5)
    Job.objects.renew([held(job)], 900)
    job.refresh_from_db()
    assert seconds_from_now(job.lease_until) == pytest.approx(900, abs=10)


@pytest.mark.parametrize("request_status", RequestStatus.values)
def test_lost_leases_are_found_whatever_the_requests_status(request_status: str) -> None:
    request = make_request(request_status)
    late = make_job(request, "noop_1", "inprogress", lease=-5)
    earlier = make_job(request, "noop_2", "inprogress", lease=-50)
    make_job(request, "noop_3", "inprogress", lease=50)
    make_job(request, "noop_4", "new")
    assert [job.id for job in Job.objects.lease_expired(10)] == [earlier.id, late.id]
    assert [job.id for job in Job.objects.lease_expired(1)] == [earlier.id]


# Claim ----------------------------------------------------------------------------------------------------------------
def test_a_claim_takes_the_oldest_due_first_up_to_its_limit_and_nothing_before_its_time() -> None:
    request = make_request("Inprogress")
    young = make_job(request, "noop_1", due_in=-5)
    old = make_job(request, "noop_2", due_in=-50)
    oldest = make_job(request, "noop_3", due_in=-500)
    make_job(request, "noop_4", due_in=60)
    assert Job.objects.claim("first", 2, 30).ids == [oldest.id, old.id]
    assert Job.objects.claim("second", 10, 30).ids == [young.id]
    assert Job.objects.claim("third", 10, 30).ids == []
    assert Job.objects.won_by("first") == [oldest.id, old.id]
    lease = Job.objects.get(pk=young.pk).lease_until
    assert seconds_from_now(lease) == pytest.approx(30, abs=10)


def test_a_claim_due_by_a_moment_leaves_what_became_due_later() -> None:
    request = make_request("Inprogress")
    before = make_job(request, "noop_1", due_in=-5)
    now = Job.objects.poll().now
    later = make_job(request, "noop_2", due_in=0.01)
    time.sleep(0.02)
    assert Job.objects.claim(CLAIM, 10, 30, now).ids == [before.id]
    assert Job.objects.claim("another", 10, 30).ids == [later.id]


def test_a_poll_sees_due_jobs_and_lost_leases_apart() -> None:
    request = make_request("Inprogress")
    make_job(request, "noop_1", due_in=60)
    make_job(request, "noop_2", "inprogress", lease=60)
    nothing = Job.objects.poll()
    assert (nothing.has_due, nothing.has_expired) == (False, False)
    make_job(request, "noop_3", "inprogress", lease=-1)
    assert (Job.objects.poll().has_due, Job.objects.poll().has_expired) == (False, True)
    make_job(request, "noop_4", due_in=-1)
    assert Job.objects.poll().has_due


def test_a_claim_on_insert_takes_up_to_its_limit_and_leaves_the_rest_to_all() -> None:
    request = make_request("Inprogress")
    claim = ClaimOnInsert(CLAIM, limit=2, lease_seconds=30, sent_at=0)
    insert_jobs([NewJob(request.id, 0, f"noop_{number}", 10) for number in (1, 2, 3)], claim)
    assert statuses(request) == {("noop_1", 1): "inprogress", ("noop_2", 1): "inprogress", ("noop_3", 1): "new"}
    assert len(Job.objects.inserted_with_requests(CLAIM, claim.steps)) == 2
    assert claim.steps == {(request.id, 0)}


# Doomed: one predicate ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("outcome", [Retried("again"), Stopped(), NotStarted()])
@pytest.mark.parametrize("siblings", [[("failure", 1)], [("retry", 1), ("failure", 2)]])
def test_beside_a_sibling_whose_latest_attempt_failed_nothing_is_started(
    outcome: Outcome, siblings: list[tuple[str, int]]
) -> None:
    request = make_request("Inprogress", ["noop", "noop_1"])
    for status, attempt in siblings:
        make_job(request, "noop_1", status, attempt=attempt)
    job = make_job(request, "noop", "inprogress")
    record(job, outcome)
    said = statuses(request)
    assert said["noop", 1] == ("cancelled" if outcome == NotStarted() else "retry")
    assert ("noop", 2) not in said


@pytest.mark.parametrize("outcome", [Retried("again"), Stopped(), NotStarted()])
def test_an_older_failure_with_a_later_attempt_dooms_nobody(outcome: Outcome) -> None:
    request = make_request("Inprogress", ["noop", "noop_1"])
    make_job(request, "noop_1", "failure")
    make_job(request, "noop_1", "completed", attempt=2)
    job = make_job(request, "noop", "inprogress")
    record(job, outcome)
    said = statuses(request)
    assert "new" in {said["noop", 1], said.get(("noop", 2))}


def test_a_failure_of_an_earlier_step_dooms_nobody() -> None:
    request = make_request("Inprogress", ["noop_1"], ["noop"], step=1)
    make_job(request, "noop_1", "failure", step=0)
    job = make_job(request, "noop", "inprogress")
    record(job, Retried("again"))
    assert statuses(request)["noop", 2] == "new"


def test_the_failure_of_another_request_dooms_nobody() -> None:
    other = make_request("Inprogress")
    make_job(other, "noop", "failure")
    job = make_job(make_request("Inprogress"), "noop", "inprogress")
    record(job, Retried("again"))
    assert statuses(job.request)["noop", 2] == "new"


def test_of_ends_recorded_at_once_failures_come_before_retries() -> None:
    request = make_request("Inprogress", ["noop", "noop_1"])
    retried = make_job(request, "noop", "inprogress")
    failed = make_job(request, "noop_1", "inprogress")
    Job.objects.record([result_of(held(retried), Retried("again")), result_of(held(failed), Failed("no"))])
    assert statuses(request) == {("noop", 1): "retry", ("noop_1", 1): "failure"}


# Failure and its siblings ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("outcome", [Failed("no"), Retried("once too often")])
def test_a_failure_and_giving_up_cancel_the_new_siblings_and_leave_running_ones(outcome: Outcome) -> None:
    request = make_request("Inprogress", ["noop", "noop_1", "noop_2", "noop_3"])
    job = make_job(request, "noop", "inprogress", attempt=10)
    waiting = make_job(request, "noop_1", "new", due_in=60)
    make_job(request, "noop_2", "inprogress")
    make_job(request, "noop_3", "completed")
    elsewhere = make_job(make_request("Inprogress"), "noop", "new")
    changes = changes_by(lambda: record(job, outcome))
    assert changes.keys() == {("jobs", job.id), ("jobs", waiting.id)}
    assert changes["jobs", waiting.id] == {"status": "cancelled", "completed_at": ANY}
    assert changes["jobs", job.id]["status"] == "failure"
    elsewhere.refresh_from_db()
    assert elsewhere.status == "new"


@pytest.mark.parametrize("reach", ["finish", "continue"])
@pytest.mark.parametrize("outcome", [Failed("no"), Retried("once too often")])
def test_a_failure_of_another_reach_than_stop_leaves_its_siblings_alone(outcome: Outcome, reach: str) -> None:
    request = make_request("Inprogress", [StepJob("noop", reach), "noop_1", "noop_2"])
    job = make_job(request, StepJob("noop", reach), "inprogress", attempt=10)
    make_job(request, "noop_1", "new", due_in=60)
    again, back = (make_job(request, name, "inprogress") for name in ("noop_2", "noop_3"))
    assert changes_by(lambda: record(job, outcome)).keys() == {("jobs", job.id)}
    record(again, Retried("busy"))
    record(back, NotStarted())
    assert statuses(request) == {
        ("noop", 10): "failure",
        ("noop_1", 1): "new",
        ("noop_2", 1): "retry",
        ("noop_2", 2): "new",
        ("noop_3", 1): "new",
    }


@pytest.mark.parametrize("reach", ["finish", "continue"])
@pytest.mark.parametrize("order", [1, -1])
def test_of_ends_recorded_at_once_the_failure_that_stops_is_seen_by_the_others(reach: str, order: int) -> None:
    request = make_request("Inprogress", ["noop", StepJob("noop_1", reach), "noop_2", "noop_3"])
    stops = make_job(request, "noop", "inprogress")
    fails = make_job(request, StepJob("noop_1", reach), "inprogress")
    again = make_job(request, "noop_2", "inprogress")
    make_job(request, "noop_3", "new")
    outcomes: list[tuple[Job, Outcome]] = [(stops, Failed("no")), (fails, Failed("no")), (again, Retried("busy"))]
    Job.objects.record([result_of(held(job), outcome) for job, outcome in outcomes][::order])
    assert statuses(request) == {
        ("noop", 1): "failure",
        ("noop_1", 1): "failure",
        ("noop_2", 1): "retry",
        ("noop_3", 1): "cancelled",
    }


def test_a_failure_that_lost_cancels_nobody() -> None:
    request = make_request("Inprogress", ["noop", "noop_1"])
    job = make_job(request, "noop", "inprogress")
    make_job(request, "noop_1", "new")
    assert changes_by(lambda: record(job, Failed("no"), claim="of another")) == {}


def test_the_last_attempt_gives_up_and_says_after_how_many() -> None:
    job = make_job(make_request("Inprogress"), "noop", "inprogress", attempt=10)
    record(job, Retried("the service is away\n\nTraceback"))
    job.refresh_from_db()
    assert (job.status, job.error) == ("failure", "gave up after 10 attempts: the service is away\n\nTraceback")
    assert Job.objects.count() == 1


def test_a_lost_lease_of_the_last_attempt_is_a_failure_like_any_other() -> None:
    request = make_request("Inprogress", ["noop", "noop_1"])
    job = make_job(request, "noop", "inprogress", attempt=3, last_attempt=3, lease=-1)
    make_job(request, "noop_1", "new")
    record(job, Retried("the lease ran out"), lease_expired=True)
    assert statuses(request) == {("noop", 3): "failure", ("noop_1", 1): "cancelled"}


# Successors and hand-backs --------------------------------------------------------------------------------------------
def test_a_successor_has_the_same_values_the_next_number_and_the_same_last_attempt() -> None:
    request = make_request("Inprogress", ["noop"], ["noop_1"], step=1)
    job = make_job(request, "noop_1", "inprogress", attempt=4, last_attempt=7, if_fails="finish")
    record(job, Retried("later", after=100))
    successor = Job.objects.get(request=request, attempt=5)
    assert (successor.name, successor.step, successor.last_attempt) == ("noop_1", 1, 7)
    assert successor.if_fails == "finish"
    assert (successor.status, successor.error, successor.extras) == ("new", "", None)
    assert seconds_from_now(successor.due_at) == pytest.approx(100, abs=10)


def test_a_stopped_attempt_is_followed_at_once_and_does_not_use_up_an_attempt() -> None:
    job = make_job(make_request("Inprogress"), "noop", "inprogress", attempt=10, last_attempt=10)
    record(job, Stopped())
    successor = Job.objects.get(attempt=11)
    assert (successor.status, successor.last_attempt) == ("new", 11)
    assert seconds_from_now(successor.due_at) < 1


def test_a_retry_whose_next_attempt_somebody_has_inserted_leaves_it_to_that() -> None:
    job = make_job(request := make_request("Inprogress"), "noop", "inprogress")
    make_job(request, "noop", attempt=2)
    record(job, Retried("busy"))
    assert list(Job.objects.order_by("attempt").values_list("status", flat=True)) == ["retry", "new"]


def test_an_attempt_that_was_handed_back_is_the_same_row_as_before_its_claim() -> None:
    job = make_job(make_request("Inprogress"), "noop", "new", due_in=-100)
    before = rows()
    Job.objects.claim(CLAIM, 1, 30)
    record(Job.objects.get(pk=job.pk), NotStarted())
    assert changed(before) == {}


# Extras ---------------------------------------------------------------------------------------------------------------
def extras_of(request: Request) -> Row:
    request.refresh_from_db()
    return dict(request.extras)


@pytest.mark.parametrize("at_once", [True, False])
def test_jobs_that_end_together_keep_each_others_keys(at_once: bool) -> None:
    request = make_request("Inprogress", ["noop", "noop_1"], extras={"earlier": 1})
    ends = [
        result_of(held(make_job(request, name, "inprogress")), Completed(json.dumps({name: "found", "both": name})))
        for name in ("noop", "noop_1")
    ]
    for batch in [ends] if at_once else [[end] for end in ends]:
        Job.objects.record(batch)
    assert extras_of(request) == {"earlier": 1, "noop": "found", "noop_1": "found", "both": "noop_1"}
    assert Job.objects.get(name="noop").extras == {"noop": "found", "both": "noop"}


def test_extras_are_merged_by_top_level_key_only_and_any_text_survives() -> None:
    request = make_request("Inprogress", extras={"a": {"x": 1}, "b": None})
    record(
        make_job(request, "noop", "inprogress"), Completed('{"a":{"y":"%s 100% \\u00e9 😀 \\\\ \'"},"$.c":[1.5,true]}')
    )
    assert extras_of(request) == {"a": {"y": "%s 100% é 😀 \\ '"}, "b": None, "$.c": [1.5, True]}


def test_the_extras_of_a_result_that_came_too_late_are_not_merged() -> None:
    request = make_request("Inprogress")
    job = make_job(request, "noop", "inprogress")
    assert changes_by(lambda: record(job, Completed('{"a":1}'), claim="of another")) == {}


def test_each_request_of_a_batch_gets_its_own_extras_and_error() -> None:
    requests = [make_request("Inprogress") for _ in range(4)]
    jobs = [make_job(request, "noop", "inprogress") for request in requests]
    outcomes: list[Outcome] = [Completed('{"n":0}'), Failed("no 1"), Completed('{"n":2}'), Retried("no 3")]
    Job.objects.record([result_of(held(job), outcome) for job, outcome in zip(jobs, outcomes)][::-1])
    assert [extras_of(request) for request in requests] == [{"n": 0}, {}, {"n": 2}, {}]
    assert [Job.objects.get(pk=job.pk).error for job in jobs] == ["", "no 1", "", "no 3"]


def test_a_batch_of_as_many_claims_as_jobs_is_recorded_each_under_its_own() -> None:
    request = make_request("Inprogress")
    jobs = [make_job(request, f"noop {number}", "inprogress") for number in range(500)]
    assert len({job.claimed_by for job in jobs}) == 500
    results = [Result(held(job), JobStatus.COMPLETED) for job in jobs]
    strange = results[0]._replace(job=held(jobs[0], jobs[1].claimed_by))
    assert Job.objects.record([strange, *results[1:]]) == results[1:]
    assert Job.objects.record(results) == results[:1]
    assert Job.objects.filter(status="completed").count() == 500


# By hand --------------------------------------------------------------------------------------------------------------
def test_inserting_again_counts_the_latest_attempts_only_and_gives_a_fresh_budget(settings: Any) -> None:
    settings.WRK_JOB_MAX_ATTEMPTS = 4
    request = make_request("Failed", ["noop", "noop_1", "noop_2", "noop_3", "noop_4"])
    make_job(request, "noop", "retry")
    make_job(request, "noop", "failure", attempt=2)
    make_job(request, "noop_1", "cancelled")
    make_job(request, "noop_2", "completed")
    make_job(request, "noop_3", "failure")
    make_job(request, "noop_3", "completed", attempt=2)
    make_job(request, "noop_4", "retry", attempt=7, last_attempt=20)
    make_job(request, "noop_1", "failure", step=1)  # of another step
    before = rows()
    Job.objects.insert_again([request.id])
    new = {
        (row["name"], row["attempt"], row["last_attempt"], row["status"]) for row in inserted(before, changed(before))
    }
    assert new == {("noop", 3, 6, "new"), ("noop_1", 2, 5, "new"), ("noop_4", 8, 11, "new")}


# The table itself -----------------------------------------------------------------------------------------------------
def test_an_attempt_stands_in_the_table_once() -> None:
    job = make_job(make_request("Inprogress"))
    with pytest.raises(IntegrityError), transaction.atomic():
        make_job(job.request)
    make_job(job.request, attempt=2)
    make_job(job.request, step=1)
    make_job(job.request, "Noop")  # compared byte for byte


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "done"},
        {"status": "NEW"},
        {"attempt": 0},
        {"step": -1},
        {"completed_at": "2026-01-01 00:00:00"},
        {"claimed_by": "somebody"},
        {"lease_until": "2026-01-01 00:00:00"},
        {"status": "inprogress"},
        {"status": "completed"},
        {"extras": "not json"},
    ],
    ids=str,
)
def test_the_database_refuses_a_row_that_no_state_allows(wrong: Row) -> None:
    job = make_job(make_request("Inprogress"))
    with pytest.raises((IntegrityError, OperationalError, DataError)):
        update_raw("jobs", job.id, **wrong)


def test_a_job_needs_its_request() -> None:
    job = make_job(make_request("Inprogress"))
    with pytest.raises(IntegrityError):
        update_raw("jobs", job.id, request_id=job.request_id + 1)


# How it is shown ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "due_at", "text"),
    [
        ("new", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), ""),
        ("new", PARKED_AT, "paused"),
        ("new", LimitRule("service2").lane, "waits for a permit"),
        ("inprogress", LimitRule("service2").lane, "has a permit"),
        ("cancelled", LimitRule("service2").lane, "waited for a permit"),
    ],
)
def test_a_due_time_that_is_far_away_is_said_in_words(status: str, due_at: Any, text: str) -> None:
    assert Job(status=status, due_at=due_at).put_off == text
