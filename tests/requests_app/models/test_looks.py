"""What run_inprogress_requests looks at: what ends told of and the oldest, not all that wait; those now and then."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection

from jobs_app.db.dialect import database_now
from jobs_app.models import Job, PassRun, UnseenEnd
from jobs_app.models.attempts import End, JobStatus
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Failure, JobContext, Retry
from jobs_app.registry import job, unregister
from jobs_app.worker.completer import record_ends
from jobs_app.worker.shutdown import Stop
from requests_app import passes
from requests_app.models import Request, looks
from requests_app.operations import interventions
from requests_app.worker import run_worker
from tests.factories import held, insert_raw, make_job, make_request, pass_inprogress, pass_jobs, pass_new
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db(transaction=True)

ONE_STEP = '[{"name": "only", "jobs": ["noop"]}]'


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many the pass looks at; the ten minutes that it is in have lasted for one."""
    monkeypatch.setattr(passes, "BATCH", 3)
    monkeypatch.setattr(looks, "time", SimpleNamespace(time=lambda: 7 * looks.LOOK_AT_ALL_SECONDS + 60))
    return 3


def wait_for_jobs(number: int) -> list[Request]:
    requests = [make_request("Inprogress", due_in=-1000 + number) for number in range(number)]
    for request in requests:
        make_job(request, due_in=60)
    return requests


def looked_at_all_lately() -> None:
    RunRecord("run_inprogress_requests").end()


def status_of(request: Request) -> str:
    return str(Request.objects.get(pk=request.pk).status)


def told() -> list[int]:
    return list(UnseenEnd.objects.order_by("id").values_list("request_id", flat=True))


@pytest.mark.parametrize("raised", [None, Failure("no"), Retry("later", after=60)], ids=str)
def test_each_batch_of_ends_tells_once_of_its_requests(raised: Exception | None) -> None:
    @job("told_of")
    def told_of(_: JobContext) -> None:
        if raised:
            raise raised

    requests = [make_request("Inprogress", ["told_of", "noop"]) for _ in range(2)]
    done = [make_job(request, name, "inprogress") for request in requests for name in ("told_of", "noop")]
    try:
        record_ends([End(held(one), JobStatus.COMPLETED) for one in done], RunRecord("run_jobs"))
        assert told() == [request.id for request in requests]
        make_job(requests[0], "told_of", attempt=2)
        pass_jobs()
    finally:
        unregister("told_of")
    assert told()[2:] == [requests[0].id]


def test_an_end_that_came_too_late_tells_nothing() -> None:
    late = held(make_job(make_request("Inprogress"), status="inprogress"), claim="another")
    assert record_ends([End(late, JobStatus.COMPLETED)], RunRecord("run_jobs")) == []
    assert told() == []


def test_a_worker_that_moves_on_what_it_records_tells_nothing() -> None:
    insert_raw(steps=ONE_STEP)
    run_worker(Stop(max_seconds=0.3), RunRecord("run_worker"))
    assert list(Request.objects.values_list("status", flat=True)) == ["Completed"]
    assert told() == []


def test_what_was_told_of_is_moved_on_wherever_it_stands_and_told_no_more(batch: int) -> None:
    wait_for_jobs(2 * batch)
    last = make_request("Inprogress")
    make_job(last)
    looked_at_all_lately()
    assert pass_jobs()["completed"] == 1
    assert pass_inprogress() == {"requests_completed": 1}
    assert (status_of(last), told()) == ("Completed", [])


def test_what_is_told_of_and_waits_for_another_job_is_told_of_again_by_that_one(batch: int) -> None:
    wait_for_jobs(batch)
    request = make_request("Inprogress", ["noop", "noop_1"])
    make_job(request, "noop")
    make_job(request, "noop_1", due_in=60)
    looked_at_all_lately()
    pass_jobs()
    assert told() == [request.id]
    assert (pass_inprogress(), told()) == ({}, [])
    Job.objects.filter(name="noop_1").update(due_at="2026-01-01 00:00Z")
    pass_jobs()
    assert pass_inprogress() == {"requests_completed": 1}


def test_the_first_pass_in_ten_minutes_looks_at_all_that_wait(batch: int) -> None:
    wait_for_jobs(2 * batch)
    by_hand = make_request("Inprogress")
    make_job(by_hand, status="completed")
    looked_at_all_lately()
    assert pass_inprogress() == {}
    PassRun.objects.update(ended_at=database_now() - timedelta(seconds=61))
    PassRun.objects.filter(pk=RunRecord("run_inprogress_requests").id).update(error="away", ended_at=database_now())
    assert pass_inprogress() == {"requests_completed": 1}
    assert status_of(by_hand) == "Completed"


def test_a_look_that_finds_what_nobody_told_of_goes_on(batch: int) -> None:
    requests = wait_for_jobs(3 * batch)
    by_hand = [requests[batch - 1], requests[-batch - 1]]  # in the first and in the second look
    Job.objects.filter(request__in=by_hand).update(status="completed", completed_at="2026-01-01 00:00Z")
    looked_at_all_lately()
    assert pass_inprogress() == {"requests_completed": 2}


def test_more_ends_than_fit_into_one_look_are_all_seen_in_one_pass(batch: int) -> None:
    wait_for_jobs(batch)
    for number in range(2 * batch + 1):
        make_job(make_request("Inprogress"), due_in=-100 + number)
    looked_at_all_lately()
    pass_jobs()
    assert pass_inprogress() == {"requests_completed": 2 * batch + 1}
    assert told() == []


def test_what_a_limit_puts_off_stays_told_of(batch: int) -> None:
    wait_for_jobs(batch)
    requests = [make_request("Inprogress") for _ in range(3)]
    for request in requests:
        make_job(request)
    looked_at_all_lately()
    pass_jobs()
    assert pass_inprogress(limit=1) == {"requests_completed": 1}
    assert sorted(told()) == [request.id for request in requests if status_of(request) == "Inprogress"]
    assert len(told()) == 2
    assert pass_inprogress() == {"requests_completed": 2}


@pytest.mark.parametrize("verb", ["complete_job", "retry_request"])
def test_what_an_operator_has_made_ready_is_told_of(batch: int, verb: str) -> None:
    wait_for_jobs(batch)
    looked_at_all_lately()
    request = make_request("Failed")
    if verb == "complete_job":
        make_job(request, status="failure")
        interventions.complete_job(request.token, "noop", None, by="a test", reason="")
    else:
        make_job(request, status="completed")
        interventions.retry_request(request.token, by="a test", reason="")
    assert pass_inprogress() == {"requests_completed": 1}
    assert status_of(request) == "Completed"


def test_an_end_told_of_a_request_that_is_gone_or_over_is_forgotten() -> None:
    over = make_request("Cancelled")
    UnseenEnd.objects.tell_of([over.id, 4711])
    assert (pass_inprogress(), told()) == ({}, [])


def test_an_idle_pass_reads_no_more_rows_beside_many_that_wait(batch: int) -> None:
    looked_at_all_lately()
    asked = []
    for number in (batch, 20 * batch):
        wait_for_jobs(number)
        with listening() as heard:
            assert pass_inprogress() == {}
        asked.append(len(heard))
        look = next(statement for statement in heard if "unseen_ends" in statement.sql)
        with connection.cursor() as cursor:
            cursor.execute(look.sql, look.params)
            assert len(cursor.fetchall()) == batch
    assert asked == [4, 4]  # the run's row twice, the look, whether it is the first of late


def test_the_way_by_cron_leaves_nothing_told(batch: int) -> None:
    for _ in range(2 * batch):
        insert_raw(steps='[{"name": "a", "jobs": ["noop", "noop_1"]}, {"name": "b", "jobs": ["noop_2"]}]')
    pass_new()
    looked_at_all_lately()
    for _ in range(2):
        pass_jobs()
        pass_inprogress()
    assert set(Request.objects.values_list("status", flat=True)) == {"Completed"}
    assert told() == []
