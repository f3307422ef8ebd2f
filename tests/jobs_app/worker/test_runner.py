"""run_jobs: claim, execute, record; each in this process on the test database, with callbacks of its own."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import DatabaseError, connection

from jobs_app.db.dialect import database_now
from jobs_app.models import Job
from jobs_app.models.pass_run import PassRun
from jobs_app.outcomes import Failure, JobContext, Retry
from jobs_app.tracing import traceparent
from jobs_app.worker import executor
from jobs_app.worker.executions import Execution
from jobs_app.worker.lost_leases import LEASE_LOST
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from tests.factories import (
    changed,
    insert_raw,
    make_job,
    make_many,
    make_request,
    pass_inprogress,
    pass_jobs,
    pass_new,
    rows,
    seconds_from_now,
    statuses,
    update_raw,
)

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 10.0
Register = Callable[..., str]
CALLERS_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def place(*names: str, **columns: Any) -> Request:
    """A request in progress whose one step has these jobs, due."""
    request = make_request("Inprogress", names, **columns)
    for name in names:
        make_job(request, name)
    return request


def raises(error: Exception) -> Callable[[JobContext], None]:
    def callback(_: JobContext) -> None:
        raise error

    return callback


# Claim ----------------------------------------------------------------------------------------------------------------
def test_due_jobs_are_run_and_others_are_left(register: Register) -> None:
    request = make_request("Inprogress", ["noop", "noop_1"])
    make_job(request, "noop")
    make_job(request, "noop_1", due_in=60)
    assert pass_jobs() == {"claimed": 1, "completed": 1}
    assert statuses(request) == {("noop", 1): "completed", ("noop_1", 1): "new"}
    job = Job.objects.get(name="noop")
    assert job.started_at is not None
    assert job.completed_at is not None
    assert job.started_at <= job.completed_at
    assert (job.claimed_by, job.lease_until) == (None, None)


def test_the_oldest_due_is_run_first_and_no_more_than_the_limit(register: Register) -> None:
    order: list[str] = []
    register("notes", lambda context: order.append(context.token))
    for token, ago in (("young", 1), ("oldest", 100), ("old", 50)):
        make_job(make_request("Inprogress", ["notes"], token=token), "notes", due_in=-ago)
    assert pass_jobs(limit=2, concurrency=1)["claimed"] == 2
    assert order == ["oldest", "old"]
    assert pass_jobs(concurrency=1)["claimed"] == 1
    assert order[2:] == ["young"]


def test_a_pass_claims_what_was_due_at_its_start_only(register: Register) -> None:
    def adds_another(_: JobContext) -> None:
        make_job(make_request("Inprogress", ["adds_another"]), "adds_another", due_in=0)

    register("adds_another", adds_another)
    place("adds_another")
    # One at a time: each claim gets all it asked for, so the pass looks for more until nothing is left for it.
    assert pass_jobs(concurrency=1) == {"claimed": 1, "completed": 1}
    assert pass_jobs(concurrency=1) == {"claimed": 1, "completed": 1}


@pytest.mark.parametrize("error", [Retry("at once", after=0), ValueError("a bug")])
def test_a_retry_without_backoff_is_left_to_the_next_pass(register: Register, settings: Any, error: Exception) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = 0
    register("again", raises(error))
    request = place("again")
    for attempt in (1, 2, 3):
        time.sleep(0.01)
        assert pass_jobs(concurrency=1) == {"claimed": 1, "retry": 1}
        assert statuses(request)["again", attempt] == "retry"
        assert statuses(request)["again", attempt + 1] == "new"


def test_many_jobs_are_run_in_one_pass_each_once(register: Register) -> None:
    called: list[str] = []
    register("notes", lambda context: called.append(context.token))
    make_many(300, "notes")
    assert pass_jobs(concurrency=4) == {"claimed": 300, "completed": 300}
    assert sorted(called) == sorted(Request.objects.values_list("token", flat=True))


def test_no_more_is_claimed_than_starts_soon(register: Register) -> None:
    most: list[int] = []

    def slow(_: JobContext) -> None:
        most.append(Job.objects.filter(status="inprogress").count())
        time.sleep(0.1)

    register("slow", slow)
    for _ in range(12):
        place("slow")
    pass_jobs(concurrency=2)
    assert max(most) <= 8  # two that run, and three for each of two that have just ended


# What a callback is given ---------------------------------------------------------------------------------------------
def test_a_callback_is_given_its_request_and_its_attempt(register: Register) -> None:
    seen: list[JobContext] = []
    register("sees", seen.append)
    request = make_request("Inprogress", ["noop"], ["sees"], step=1, params={"id": 7}, extras={"email": "a@b"})
    make_job(request, "sees", attempt=3)
    pass_jobs()
    [context] = seen
    assert context == JobContext(request.token, "made_up", 1, "sees", 3, {"id": 7}, {"email": "a@b"})
    assert context.idempotency_key == f"{request.token}:1:sees"


def test_a_callers_trace_goes_to_services_and_to_the_log(register: Register, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    seen: list[JobContext] = []
    register("sees", seen.append)
    request = make_request("Inprogress", ["sees", "noop"], traceparent=CALLERS_TRACE)
    make_job(request, "sees")
    make_job(request, "noop", "inprogress", lease=-1)
    pass_jobs()
    assert seen[0].traceparent == traceparent(request.token, 0, "sees", 1, CALLERS_TRACE)
    told = {record.msg["event"]: record.msg for record in caplog.records if isinstance(record.msg, dict)}
    assert told["job_ended"]["traceparent"] == seen[0].traceparent
    assert told["job_lease_lost"]["traceparent"] == traceparent(request.token, 0, "noop", 1, CALLERS_TRACE)


@pytest.mark.parametrize("odd", ["x", CALLERS_TRACE.upper(), "0" * 55, b"\xff" * 55, b"\xff", "x" * 2**21])
def test_what_is_no_trace_stops_nothing_and_is_never_read_whole(register: Register, odd: str | bytes) -> None:
    seen: list[JobContext] = []
    register("sees", seen.append)
    request = make_request("Inprogress", ["sees"])
    make_job(request, "sees")
    try:
        update_raw("requests", request.pk, traceparent=odd)
    except DatabaseError:
        assert connection.vendor == "mysql" or isinstance(odd, bytes)
        return  # the column's type, or its CHECK, refuses it
    pass_jobs()
    assert seen[0].traceparent == traceparent(request.token, 0, "sees", 1)
    assert len(seen[0].caller_trace) in {0, 55}


def test_what_a_callback_does_to_its_context_stays_with_it(register: Register) -> None:
    def spoils(context: JobContext) -> None:
        context.params["id"] = "spoiled"
        context.extras["spoiled"] = True

    seen: list[JobContext] = []
    register("spoils", spoils)
    register("sees", seen.append)
    request = place("spoils", "sees", params={"id": 7})
    pass_jobs(concurrency=1)
    request.refresh_from_db()
    assert (request.params, request.extras) == ({"id": 7}, {})
    assert (seen[0].params, seen[0].extras) == ({"id": 7}, {})


def test_a_later_step_sees_what_earlier_ones_found(register: Register) -> None:
    seen: list[JobContext] = []
    register("finds", lambda _: {"email": "a@b"})
    register("sees", seen.append)
    insert_raw(steps='[{"name": "a", "jobs": ["finds", "noop"]}, {"name": "b", "jobs": ["sees"]}]')
    for work in (pass_new, pass_jobs, pass_inprogress, pass_jobs):
        work()
    assert seen[0].extras == {"email": "a@b"}


@pytest.mark.parametrize("column", ["params", "extras"])
def test_a_request_that_cannot_be_read_fails_and_its_neighbours_complete(column: str) -> None:
    odd, good = place("noop"), place("noop")
    Request.objects.filter(pk=odd.pk).update(**{column: [1]})
    assert pass_jobs() == {"claimed": 2, "completed": 1, "failure": 1}
    assert Job.objects.get(request=odd).error.startswith("the request's params or extras cannot be read")
    assert statuses(good) == {("noop", 1): "completed"}


# Execute --------------------------------------------------------------------------------------------------------------
def test_plain_callbacks_run_concurrently(register: Register) -> None:
    meet = Barrier(4)
    register("meets", lambda _: {"place": meet.wait(PATIENCE)})
    for _ in range(4):
        place("meets")
    assert pass_jobs(concurrency=4) == {"claimed": 4, "completed": 4}


def test_async_callbacks_run_concurrently(register: Register) -> None:
    meet = asyncio.Barrier(4)

    async def meets(_: JobContext) -> None:
        async with asyncio.timeout(PATIENCE):
            await meet.wait()

    register("meets", meets)
    for _ in range(4):
        place("meets")
    assert pass_jobs(concurrency=4) == {"claimed": 4, "completed": 4}


def test_no_transaction_is_open_while_a_callback_runs(register: Register) -> None:
    # On SQLite a write of its own would wait for it, on a server it would be listed.
    open_ones: list[int] = []

    def looks(context: JobContext) -> None:
        assert not connection.in_atomic_block
        Request.objects.filter(token=context.token).update(action="looked")
        Job.objects.filter(name="looks").update(step=0)
        if connection.vendor == "mysql":
            time.sleep(0.2)  # the list is a copy that is renewed ten times a second, and not while it is looked at
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT COUNT(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p "
                    "ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE()"
                )
                open_ones.append(cursor.fetchone()[0])

    register("looks", looks)
    request = place("looks")
    assert pass_jobs() == {"claimed": 1, "completed": 1}
    request.refresh_from_db()
    assert request.action == "looked"
    assert set(open_ones) <= {0}


def connections_open() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW PROCESSLIST")
        return sum(row[3] == connection.settings_dict["NAME"] for row in cursor.fetchall())


def settles(count: Callable[[], int], wanted: int) -> bool:
    deadline = time.monotonic() + 3
    while count() > wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return count() <= wanted


@pytest.mark.integration
def test_threads_of_callbacks_leave_no_database_connections(register: Register) -> None:
    register("asks", lambda _: {"count": Request.objects.count()})
    for _ in range(8):
        place("asks")
    before = connections_open()
    assert pass_jobs(concurrency=4)["completed"] == 8
    assert settles(connections_open, before)


@pytest.mark.integration
def test_async_callbacks_that_ask_the_database_leave_no_connections(register: Register) -> None:
    async def asks(_: JobContext) -> Any:
        return {"count": await Request.objects.acount()}

    register("asks", asks)
    for _ in range(8):
        place("asks")
    before = connections_open()
    assert pass_jobs(concurrency=4)["completed"] == 8
    assert settles(connections_open, before)


@pytest.mark.integration
def test_a_callback_keeps_no_connection_while_its_thread_waits_for_the_next(register: Register, let_go: Event) -> None:
    register("asks", lambda _: {"count": Request.objects.count()})
    register("waits", lambda _: let_go.wait(PATIENCE) and None)
    place("waits")
    for _ in range(3):
        place("asks")
    before = connections_open()
    work = threading.Thread(target=pass_jobs_and_close, kwargs={"concurrency": 4})
    work.start()
    deadline = time.monotonic() + PATIENCE
    while Job.objects.filter(status="completed").count() < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert settles(connections_open, before + 3)  # the claiming one and two that record
    let_go.set()
    work.join(PATIENCE)


def pass_jobs_and_close(**options: Any) -> None:
    pass_jobs(**options)
    connection.close()


# Record: every way to end ---------------------------------------------------------------------------------------------
def test_a_returned_mapping_is_kept_on_the_job_and_merged_into_the_requests_extras(register: Register) -> None:
    register("finds_a", lambda _: {"a": 1})
    register("finds_b", lambda _: {"b": {"c": [2]}})
    request = place("finds_a", "finds_b", extras={"earlier": 0})
    pass_jobs()
    request.refresh_from_db()
    assert request.extras == {"earlier": 0, "a": 1, "b": {"c": [2]}}
    assert Job.objects.get(name="finds_b").extras == {"b": {"c": [2]}}


def test_many_jobs_that_end_at_the_same_moment_lose_no_key(register: Register) -> None:
    meet = Barrier(16)

    def finds(context: JobContext) -> Any:
        meet.wait(PATIENCE)
        return {context.name: context.attempt}

    names = [register(f"finds_{number}", finds) for number in range(16)]
    request = place(*names)
    pass_jobs(concurrency=16)
    request.refresh_from_db()
    assert request.extras == dict.fromkeys(names, 1)


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        (raises(Failure("no such user")), "no such user"),
        (lambda _: ["a", "list"], "the callback returned list: return a mapping or None"),
        (lambda _: {"a": "x" * 70_000}, "the callback returned 70008 bytes of JSON: at most 65536 are kept"),
        (lambda _: {"a": object()}, "the callback returned what is not a JSON object: a value of type object"),
        (lambda _: True, "the callback returned bool: return a mapping or None"),
    ],
)
def test_every_failure_keeps_its_reason_and_cancels_the_new_siblings(
    register: Register, callback: Callable[..., Any], says: str
) -> None:
    register("fails_so", callback)
    request = make_request("Inprogress", ["fails_so", "noop"])
    make_job(request, "fails_so")
    make_job(request, "noop", due_in=60)
    neighbour = place("noop")
    assert pass_jobs() == {"claimed": 2, "completed": 1, "failure": 1}
    assert statuses(request) == {("fails_so", 1): "failure", ("noop", 1): "cancelled"}
    assert Job.objects.get(name="fails_so").error == says
    assert statuses(neighbour) == {("noop", 1): "completed"}


def test_siblings_that_run_when_one_fails_finish_and_are_recorded(register: Register) -> None:
    failed = Event()

    def fails_now(_: JobContext) -> None:
        failed.set()
        raise Failure("no")

    def finishes(_: JobContext) -> Any:
        failed.wait(PATIENCE)
        time.sleep(0.1)
        return {"found": True}

    register("fails_now", fails_now)
    register("finishes", finishes)
    request = place("fails_now", "finishes")
    pass_jobs(concurrency=2)
    request.refresh_from_db()
    assert statuses(request) == {("fails_now", 1): "failure", ("finishes", 1): "completed"}
    assert request.extras == {"found": True}


def test_a_sibling_that_wants_a_retry_beside_a_failure_has_no_successor(register: Register) -> None:
    failed = Event()

    def fails_now(_: JobContext) -> None:
        failed.set()
        raise Failure("no")

    def wants_a_retry(_: JobContext) -> None:
        failed.wait(PATIENCE)
        time.sleep(0.1)
        raise Retry("again", after=0)

    register("fails_now", fails_now)
    register("wants_a_retry", wants_a_retry)
    request = place("fails_now", "wants_a_retry")
    pass_jobs(concurrency=2)
    assert statuses(request) == {("fails_now", 1): "failure", ("wants_a_retry", 1): "retry"}


@pytest.mark.parametrize(("after", "seconds"), [(50, 50), (10_000, 900)])
def test_after_is_obeyed_up_to_the_cap(register: Register, after: float, seconds: float) -> None:
    register("busy", raises(Retry("answered 503", after=after)))
    request = place("busy")
    pass_jobs()
    old, new = Job.objects.filter(request=request).order_by("attempt")
    assert (old.status, old.error, new.status, new.attempt) == ("retry", "answered 503", "new", 2)
    assert seconds_from_now(new.due_at) == pytest.approx(seconds, abs=10)


@pytest.mark.parametrize("after", ["30", b"x", [1], {"seconds": 3}, float("nan"), True])
def test_seconds_that_are_none_stop_neither_the_pass_nor_the_neighbours(register: Register, after: Any) -> None:
    def odd_callback(_: JobContext) -> None:
        raise Retry("busy", after=after)

    register("odd", odd_callback)
    odd, good = place("odd"), place("noop")
    pass_jobs()
    assert statuses(odd)["odd", 1] == "retry"
    assert statuses(good) == {("noop", 1): "completed"}


def test_a_bug_is_a_retry_with_its_traceback(register: Register) -> None:
    register("broken", raises(KeyError("email")))
    request = place("broken")
    pass_jobs()
    attempt = Job.objects.get(request=request, attempt=1)
    assert attempt.error.splitlines()[0].startswith("KeyError in callback (test_runner.py, line ")
    assert "Traceback (most recent call last)" in attempt.error
    assert attempt.answer == "KeyError: 'email'"


def test_attempts_are_limited_per_job_and_the_last_one_is_a_failure(register: Register, settings: Any) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = 0
    register("never", raises(Retry("answered 503")), max_attempts=3)
    request = make_request("Queuing", ["never", "noop"])
    pass_new()
    Job.objects.filter(name="noop").update(due_at="2999-01-01T00:00:00Z")
    for _ in range(4):
        time.sleep(0.005)
        pass_jobs()
    pass_inprogress()
    request.refresh_from_db()
    assert statuses(request) == {
        ("never", 1): "retry",
        ("never", 2): "retry",
        ("never", 3): "failure",
        ("noop", 1): "cancelled",
    }
    assert (request.status, request.error) == ("Failed", "never failed: gave up after 3 attempts: answered 503")


def test_a_job_that_this_release_lacks_waits_and_uses_up_no_attempt() -> None:
    request = place("of_a_newer_release")
    assert pass_jobs() == {"claimed": 1, "handed_back": 1}
    assert statuses(request) == {("of_a_newer_release", 1): "new"}
    assert seconds_from_now(Job.objects.get(request=request).due_at) == pytest.approx(30, abs=5)
    assert pass_jobs() == {}


def test_what_was_handed_back_is_run_by_the_same_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    may_begin = iter([False])
    monkeypatch.setattr(Execution, "may_begin", lambda *_: next(may_begin, True))
    request = place("noop")
    assert pass_jobs() == {"claimed": 2, "handed_back": 1, "completed": 1}
    assert statuses(request) == {("noop", 1): "completed"}


# Cancelled meanwhile --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "status"), [(None, "completed"), (Retry("again", after=0), "retry"), (Failure("no"), "failure")]
)
def test_a_job_that_runs_when_its_request_is_cancelled_is_recorded_without_successor(
    register: Register, error: Exception | None, status: str
) -> None:
    def cancelled_meanwhile(context: JobContext) -> None:
        Request.objects.cancel(context.token)
        if error:
            raise error

    register("cancelled_meanwhile", cancelled_meanwhile)
    request = place("cancelled_meanwhile")
    pass_jobs()
    request.refresh_from_db()
    assert request.status == "Cancelled"
    assert statuses(request) == {("cancelled_meanwhile", 1): status}


# Leases ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("request_status", ["Queuing", "Inprogress", "Completed", "Failed", "Cancelled"])
def test_a_lost_lease_is_ended_whatever_the_requests_status(request_status: str) -> None:
    request = make_request(request_status)
    make_job(request, "noop", "inprogress", lease=-1, last_attempt=10)
    assert pass_jobs() == {"lease_lost": 1, "retry": 1}
    said = statuses(request)
    assert said.pop(("noop", 1)) == "retry"
    assert said == ({("noop", 2): "new"} if request_status == "Inprogress" else {})
    assert Job.objects.get(attempt=1).error == LEASE_LOST


def test_a_job_that_kills_its_worker_ends_some_time(settings: Any) -> None:
    request = make_request("Inprogress")
    make_job(request, "noop", "inprogress", lease=-1, attempt=10)
    assert pass_jobs() == {"lease_lost": 1, "failure": 1}
    assert Job.objects.get().error == f"gave up after 10 attempts: {LEASE_LOST}"


def test_a_lease_that_is_not_over_is_left_alone() -> None:
    make_job(make_request("Inprogress"), "noop", "inprogress", lease=60)
    before = rows()
    assert pass_jobs() == {}
    assert changed(before) == {}


@pytest.mark.parametrize("error", [None, Failure("no"), Retry("again", after=0)])
def test_a_worker_that_lost_its_lease_changes_nothing_and_says_so(
    register: Register, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    def loses_it(context: JobContext) -> Any:
        Job.objects.filter(name="loses_it").update(claimed_by="another worker")
        if error:
            raise error
        return {"late": True}

    register("loses_it", loses_it)
    request = make_request("Inprogress", ["loses_it", "noop"])
    job = make_job(request, "loses_it")
    make_job(request, "noop", due_in=60)
    before = rows()
    with caplog.at_level(logging.WARNING):
        assert pass_jobs() == {"claimed": 1, "too_late": 1}
    assert changed(before).keys() == {("jobs", job.id)}
    job.refresh_from_db()
    assert (job.status, job.claimed_by, job.extras) == ("inprogress", "another worker", None)
    (told,) = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert (told["event"], told["token"], told["job"], told["attempt"]) == (
        "job_result_too_late",
        request.token,
        "loses_it",
        1,
    )


def test_a_lease_is_renewed_while_its_callback_runs(register: Register, settings: Any) -> None:
    settings.WRK_JOB_LEASE_SECONDS = 1.0
    leases: list[Any] = []

    def long(_: JobContext) -> None:
        leases.append(Job.objects.get().lease_until)
        time.sleep(0.6)
        leases.append(Job.objects.get().lease_until)

    register("long", long, timeout=0.9)
    place("long")
    assert pass_jobs() == {"claimed": 1, "completed": 1}
    assert (leases[1] - leases[0]).total_seconds() > 0.2


def test_a_lease_is_not_renewed_past_the_timeout(register: Register, settings: Any, let_go: Event) -> None:
    settings.WRK_JOB_LEASE_SECONDS = 0.9
    register("hangs", lambda _: let_go.wait(PATIENCE) and None, timeout=0.2)
    request = place("hangs")
    began = time.monotonic()
    pass_jobs(concurrency=2)
    assert time.monotonic() - began < 2
    assert statuses(request)["hangs", 1] == "retry"
    assert Job.objects.filter(status="inprogress").count() == 0


# Timeouts -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_at_its_timeout_an_attempt_is_a_retry_and_the_late_result_changes_nothing(
    register: Register, let_go: Event, kind: str
) -> None:
    returned = Event()

    def hangs(_: JobContext) -> Any:
        let_go.wait(PATIENCE)
        returned.set()
        return {"late": True}

    async def hangs_async(_: JobContext) -> Any:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            returned.set()
        return {"late": True}

    register("hangs", hangs if kind == "sync" else hangs_async, timeout=0.1)
    request = place("hangs", "noop")
    assert pass_jobs(concurrency=2) == {"claimed": 2, "completed": 1, "retry": 1}
    assert Job.objects.get(name="hangs", attempt=1).error == "timed out after 0.1 seconds"
    assert statuses(request)["hangs", 2] == "new"
    before = rows()
    let_go.set()
    assert returned.wait(PATIENCE)
    time.sleep(0.05)
    assert changed(before) == {}


def test_callbacks_that_ignore_their_timeout_hold_up_nobody_else(register: Register, let_go: Event) -> None:
    register("hangs", lambda _: let_go.wait(PATIENCE) and None, timeout=0.1)
    make_job(make_request("Inprogress", ["hangs"]), "hangs", due_in=-100)
    for _ in range(5):
        place("noop")
    assert pass_jobs(concurrency=2) == {"claimed": 6, "completed": 5, "retry": 1}


def test_a_pass_whose_jobs_all_time_out_has_run(register: Register, let_go: Event) -> None:
    # Exit 0 means: the pass ran, whatever its jobs did. Nothing else is due for which a thread would be needed.
    register("hangs", lambda _: let_go.wait(PATIENCE) and None, timeout=0.1)
    place("hangs")
    assert pass_jobs(concurrency=1) == {"claimed": 1, "retry": 1}


# Stopped --------------------------------------------------------------------------------------------------------------
def test_when_stopped_what_runs_finishes_and_what_did_not_begin_is_new_again_the_same_row(register: Register) -> None:
    stop = Stop()

    def stops(_: JobContext) -> Any:
        stop.signalled = True
        time.sleep(0.2)
        return {"finished": True}

    register("stops", stops)
    first = make_job(make_request("Inprogress", ["stops"]), "stops", due_in=-100)
    others = [make_job(make_request("Inprogress"), "noop", due_in=-50) for _ in range(3)]
    before = rows()
    with pytest.MonkeyPatch.context() as patch:  # as when it was fast: more are claimed than run
        patch.setattr("jobs_app.worker.claimer.Claimer.free", lambda *_: 4)
        counts = pass_jobs(stop=stop, concurrency=1)
    assert counts == {"claimed": 4, "completed": 1, "handed_back": 3}
    first.refresh_from_db()
    assert (first.status, first.extras) == ("completed", {"finished": True})
    assert not changed(before).keys() & {("jobs", job.id) for job in others}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_still_runs_after_the_grace_period_is_a_retry_that_uses_up_no_attempt(
    register: Register, let_go: Event, settings: Any, kind: str
) -> None:
    settings.WRK_STOP_GRACE_SECONDS = 0.2
    stop = Stop()

    def hangs(_: JobContext) -> None:
        stop.signalled = True
        let_go.wait(PATIENCE)

    async def hangs_async(_: JobContext) -> None:
        stop.signalled = True
        await asyncio.sleep(PATIENCE)

    register("hangs", hangs if kind == "sync" else hangs_async)
    request = make_request("Inprogress", ["hangs"])
    make_job(request, "hangs", attempt=10)
    began = time.monotonic()
    assert pass_jobs(stop=stop, concurrency=1) == {"claimed": 1, "retry": 1}
    assert 0.2 <= time.monotonic() - began < 3
    old, new = Job.objects.filter(request=request).order_by("attempt")
    assert (old.status, old.error) == ("retry", "worker stopped")
    assert (new.status, new.attempt, new.last_attempt) == ("new", 11, 11)
    assert seconds_from_now(new.due_at) < 1


def test_a_stopped_pass_claims_nothing_more(register: Register) -> None:
    stop = Stop()

    def stops(_: JobContext) -> None:
        stop.signalled = True

    register("stops", stops)
    make_job(make_request("Inprogress", ["stops"]), "stops", due_in=-100)
    for _ in range(5):
        place("noop")
    counts = pass_jobs(stop=stop, concurrency=1)
    assert counts["claimed"] < 6
    assert Job.objects.filter(status="new").count() == 6 - counts["completed"]
    assert not Job.objects.filter(status="inprogress").exists()


def test_after_its_seconds_a_pass_takes_nothing_new_and_ends_in_order(register: Register) -> None:
    for _ in range(6):
        make_job(make_request("Inprogress", ["sleeps"], params={"seconds": 0.15}), "sleeps")
    counts = pass_jobs(stop=Stop(max_seconds=0.2), concurrency=1)
    assert 1 <= counts["completed"] <= 3
    assert Job.objects.filter(status="new").count() == 6 - counts["completed"]


# The row of the run ---------------------------------------------------------------------------------------------------
def test_the_row_of_the_run_has_every_count_that_is_printed(register: Register) -> None:
    register("loses_it", lambda _: Job.objects.filter(name="loses_it").update(claimed_by="another") and None)
    place("loses_it")
    place("noop")
    place("fails")
    make_job(make_request("Inprogress"), "noop", "inprogress", lease=-1)
    printed = pass_jobs()
    assert printed == {"claimed": 3, "completed": 1, "failure": 1, "retry": 1, "lease_lost": 1, "too_late": 1}
    assert PassRun.objects.get().counts == printed


def test_no_more_large_params_are_held_than_memory_bears(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_MOST_LARGE_BYTES", 700_000)
    lock, running, most = threading.Lock(), 0, 0

    def holds(context: JobContext) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        assert len(context.params["text"]) == 300_000
        with lock:
            running -= 1

    register("holds", holds)
    for _ in range(6):
        place("holds", params={"text": "x" * 300_000})
    small = place("noop")
    counts = pass_jobs(concurrency=8)
    assert (most, counts["claimed"], counts["handed_back"]) == (2, 7, 4)
    assert statuses(small) == {("noop", 1): "completed"}
    for _ in range(2):
        Job.objects.filter(status="new").update(due_at=database_now())
        pass_jobs(concurrency=8)
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}
