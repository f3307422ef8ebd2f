"""A session that is not ours holds a row: the others go on, the process lives, and whoever looks is told why."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection

from jobs_app.db.dialect import marks
from jobs_app.db.transactions import Locked
from jobs_app.models import Answer, Job, PausedJob
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.pausing import pause_job, resume_job
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.models.fingerprints import error_kind
from requests_app.operations import interventions
from requests_app.operations.explain import explain
from requests_app.operations.retention import Retention
from requests_app.worker import run_worker
from tests.conftest import called_here
from tests.factories import (
    insert_answer,
    insert_raw,
    make_job,
    make_request,
    pass_inprogress,
    pass_jobs,
    pass_new,
    waiting_request,
)

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

BY = {"by": "a test", "reason": "a test"}
OLD = "2020-01-01 00:00Z"


@contextmanager
def held(table: str, *ids: int | str, column: str = "id", how: str = "FOR UPDATE") -> Iterator[None]:
    """Another session holds these rows, as a client does that began a transaction and went to lunch."""
    session: Any = connection.copy()
    try:
        session.set_autocommit(False)
        with session.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table} WHERE {column} IN ({marks(ids)}) {how}", ids)
            cursor.fetchall()
        yield
    finally:
        session.rollback()
        session.close()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of a second, not of five: what waits at all is told so."""
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
    yield
    connection.close()


def status_of(request: Request) -> str:
    return str(Request.objects.get(pk=request.pk).status)


@pytest.mark.parametrize("how", ["FOR UPDATE", "LOCK IN SHARE MODE"])
def test_requests_beside_a_held_one_are_moved_on(how: str) -> None:
    requests = [make_request("Inprogress") for _ in range(5)]
    for request in requests:
        make_job(request, status="completed")
    with held("requests", requests[0].id, how=how):
        assert pass_inprogress() == {"requests_completed": 4, "locked": 1}
        assert "Another session has locked it" in explain(requests[0])
    assert pass_inprogress() == {"requests_completed": 1}
    assert "locked" not in explain(Request.objects.get(pk=requests[0].id))


@pytest.mark.parametrize("how", ["FOR UPDATE", "LOCK IN SHARE MODE"])
def test_requests_beside_a_held_one_are_picked_up_and_the_line_says_what_is_not(how: str) -> None:
    ids = [insert_raw(steps='[{"name": "only", "jobs": ["noop"]}]') for _ in range(5)]
    with held("requests", ids[0], how=how):
        assert pass_new() == {"started": 4, "locked": 1}
        assert "Another session has locked it" in explain(Request.objects.get(pk=ids[0]))
    assert pass_new() == {"started": 1}


@pytest.mark.parametrize("table", ["requests", "jobs"])
@pytest.mark.parametrize("name", ["returns_extras", "noop", "fails", "retries"])
def test_results_beside_a_held_row_are_recorded_and_its_own_as_soon_as_it_is_free(
    table: str, name: str, settings: Any
) -> None:
    settings.WRK_DATABASE_AWAY_SECONDS = 3  # how long a pass that is over waits for it
    jobs = [make_job(make_request("Inprogress", [name]), name) for _ in range(5)]
    row = jobs[0].request_id if table == "requests" else jobs[0].id
    with held(table, row):
        counts = pass_jobs()
    alone = table == "requests" and name == "noop"  # changes nothing but its own row
    skipped = table == "jobs"  # is not even claimed
    assert counts["claimed"] == (4 if skipped else 5)
    assert counts.get("locked", 0) == (0 if alone or skipped else 1)
    assert not Job.objects.filter(status="inprogress").exclude(pk=jobs[0].pk).exists()
    assert Job.objects.get(pk=jobs[0].pk).status == ("new" if skipped else "completed" if alone else "inprogress")


@contextmanager
def held_for(seconds: float, table: str, id_: int) -> Iterator[None]:
    """As `held`, by a thread of its own that lets go while the block goes on."""
    holds = Event()

    def hold() -> None:
        with held(table, id_):
            holds.set()
            time.sleep(seconds)

    thread = Thread(target=hold)
    thread.start()
    assert holds.wait(10)
    yield
    thread.join()


def test_a_pass_that_is_over_waits_for_a_held_row_and_records_it() -> None:
    job = make_job(make_request("Inprogress", ["returns_extras"]), "returns_extras")
    make_job(make_request("Inprogress", ["sleeps"], params={"seconds": 0.2}), "sleeps")
    with held_for(0.6, "requests", job.request_id):
        assert pass_jobs() == {"claimed": 2, "completed": 2}


def test_jobs_behind_a_held_row_find_room_with_one_thread() -> None:
    job = make_job(make_request("Inprogress", ["returns_extras"]), "returns_extras", due_in=-100)
    for _ in range(5):
        make_job(make_request("Inprogress"), "noop")
    with held_for(1, "requests", job.request_id):
        pass_jobs(stop=Stop(max_seconds=0.8), concurrency=1)
    assert Job.objects.filter(name="noop", status="completed").count() == 5


def test_a_stop_does_not_wait_for_a_held_row_longer_than_its_grace(settings: Any) -> None:
    settings.WRK_STOP_GRACE_SECONDS = 0.2
    job = make_job(make_request("Inprogress", ["returns_extras"]), "returns_extras")
    began = time.monotonic()
    with held_for(3, "requests", job.request_id):
        pass_jobs(stop=Stop(max_seconds=0.5))
        assert time.monotonic() - began < 2.5


def test_a_worker_goes_on_beside_a_held_row_and_records_it_when_it_is_free() -> None:
    first = insert_raw(steps='[{"name": "a", "jobs": ["noop"]}, {"name": "b", "jobs": ["noop_1"]}]')
    pass_new()
    others = [insert_raw(steps='[{"name": "only", "jobs": ["noop"]}]') for _ in range(5)]
    with held_for(0.7, "requests", first):
        run_worker(Stop(max_seconds=0.5), RunRecord("run_worker"))
    assert set(Request.objects.filter(id__in=others).values_list("status", flat=True)) == {"Completed"}
    assert Job.objects.get(request_id=first, step=0).status == "completed"


def test_a_held_name_stops_no_pass() -> None:
    make_job(make_request("Inprogress"), due_in=-10)
    make_job(make_request("Inprogress"), "noop_1", due_in=-10)
    pause_job("noop", **BY)
    PausedJob.objects.resume("noop")
    with held("paused_jobs", "noop", column="name"):
        assert pass_jobs() == {"claimed": 1, "completed": 1}


def test_a_renewal_leaves_out_a_held_row() -> None:
    jobs = [make_job(make_request("Inprogress"), status="inprogress") for _ in range(3)]
    claimed = [job for one in jobs for job, _ in Job.objects.with_requests(str(one.claimed_by), [one.id])]
    with held("jobs", jobs[1].id):
        assert Job.objects.renew(claimed, 900) == {jobs[0].id, jobs[2].id}


def test_lost_leases_beside_a_held_row_are_ended() -> None:
    jobs = [make_job(make_request("Inprogress"), status="inprogress", lease=-1) for _ in range(3)]
    with held("jobs", jobs[1].id):
        assert pass_jobs()["lease_lost"] == 2


def test_a_pause_leaves_a_held_job_to_the_next_poll() -> None:
    jobs = [make_job(make_request("Inprogress"), due_in=-10) for _ in range(3)]
    with held("jobs", jobs[1].id):
        assert pause_job("noop", **BY)
        assert [job.is_parked for job in Job.objects.order_by("id")] == [True, False, True]
    assert pass_jobs() == {}
    with held("jobs", jobs[1].id):
        assert resume_job("noop", **BY)
    assert pass_jobs() == {"claimed": 3, "completed": 3}


@pytest.mark.parametrize("table", ["requests", "jobs"])
@pytest.mark.parametrize("move", [Retention.purge, Retention.scrub])
def test_retention_leaves_out_a_request_whose_row_is_held(table: str, move: Callable[..., None]) -> None:
    requests = [make_request("Completed") for _ in range(4)]
    jobs = [make_job(request, status="completed") for request in requests]
    Request.objects.update(completed_at=OLD, due_at=OLD)
    retention = Retention()
    with held(table, (requests if table == "requests" else jobs)[1].id):
        move(retention, 60)
    assert retention.counts["requests"] + retention.counts["scrubbed"] == 3
    assert retention.counts["locked"] == 1
    move(retention, 60)
    assert retention.counts["requests"] + retention.counts["scrubbed"] == 4


def test_a_verb_says_that_another_session_has_locked_the_request() -> None:
    request = make_request("Inprogress")
    with held("requests", request.id), pytest.raises(Locked, match=r"locked by another session: .*docs/running\.md"):
        interventions.cancel_request(request.token, **BY)
    interventions.cancel_request(request.token, **BY)


def test_a_command_of_a_verb_is_one_line_and_exit_code_1() -> None:
    request = make_request("Inprogress")
    with held("requests", request.id):
        ran = called_here("cancel_request", request.token, "--reason", "a test")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.count("\n") == 1
    assert "locked by another session" in ran.stderr


@pytest.mark.parametrize("table", ["requests", "jobs", "answers"])
def test_an_answer_whose_rows_are_held_waits_and_the_others_are_taken(table: str) -> None:
    kept, free = waiting_request(), waiting_request()
    for request in (kept, free):
        insert_answer(request)
    ids = {"requests": kept.pk, "jobs": Job.objects.get(request=kept).pk, "answers": Answer.objects.earliest("id").pk}
    with held(table, ids[table]):
        assert pass_inprogress()["answers_taken"] == 1
        assert (Job.objects.get(request=kept, step=0).status, Answer.objects.earliest("id").effect) == ("new", "")
    assert pass_inprogress()["answers_taken"] == 1


def test_answers_behind_a_batch_that_is_held_are_taken() -> None:
    kept, free = waiting_request(), waiting_request()
    for request in (kept, kept, free):
        insert_answer(request)
    with held("requests", kept.pk):
        assert pass_inprogress(limit=1)["answers_taken"] == 1
    assert Job.objects.get(request=free, name="noop").status == "completed"


@pytest.mark.parametrize("table", ["requests", "answers"])
def test_those_that_failed_alike_beside_a_held_row_are_taken_up_and_the_line_says_what_is_not(table: str) -> None:
    requests = [make_request("Failed", error="no", error_kind=error_kind("no")) for _ in range(5)]
    answer = insert_answer(requests[1])
    for request in requests:
        make_job(request, status="failure")
    command = ("retry_request", "--like", requests[1].token, "--reason", "a test")
    with held(table, requests[1].id if table == "requests" else answer):
        ended = called_here(*command)
    assert (ended.returncode, ended.stdout.partition(" due_from")[0]) == (0, "retry_request retried=4 locked=1")
    assert [status_of(request) for request in requests].count("Failed") == 1
    assert called_here(*command).stdout.startswith("retry_request retried=1 locked=0 ")
