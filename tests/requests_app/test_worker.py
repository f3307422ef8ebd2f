"""How much run_worker takes on: it starts requests as it has room for their jobs, and fills its threads."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, current_thread
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import QuerySet

from jobs_app.db import transactions
from jobs_app.db.transactions import RECONNECT_SECONDS
from jobs_app.models import Job
from jobs_app.models.job import JobQuerySet
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import JobContext
from jobs_app.registry import job, unregister
from jobs_app.worker.runner import Runner
from jobs_app.worker.shutdown import Stop
from requests_app import worker
from requests_app.models import Receipt, Request
from requests_app.models.receipt import ReceiptHeadQuerySet
from requests_app.models.receipt_moves import ReceiptState
from requests_app.passes.inprogress_requests import progress_locked
from requests_app.worker import _Start, run_worker
from tests.conftest import Manage
from tests.factories import insert_answer, insert_raw, make_job, make_request

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def let_end() -> Iterator[Event]:
    """Jobs named `waits` run until this is set."""
    event = Event()

    @job("waits")
    def waits(_: JobContext) -> None:
        event.wait(30)

    yield event
    event.set()
    unregister("waits")


def start_runner(concurrency: int) -> Runner:
    return Runner(Stop(), RunRecord("run_worker"), concurrency=concurrency, on_recorded=progress_locked)


def starting(runner: Runner) -> _Start:
    return _Start(RunRecord("run_worker"), runner)


def queue(number: int) -> None:
    for _ in range(number):
        insert_raw(steps='[{"name": "only", "jobs": ["waits"]}]')


def test_no_more_requests_are_started_than_there_is_room_for(let_end: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(10)
    with start_runner(4) as runner:
        start = starting(runner)
        assert start.turn() == 4
        assert Job.objects.filter(status="inprogress").count() == 4
        assert start.turn() == 0
        monkeypatch.setattr(worker, "_START_SECONDS", 0)
        assert start.turn() == 6
        let_end.set()
    # Nobody here had room for these: any worker may have them.
    assert Job.objects.filter(status="new").count() == 6
    assert Request.objects.filter(status="Queuing").count() == 0


def test_jobs_that_are_due_come_before_requests_that_wait_for_their_pick_up(let_end: Event) -> None:
    begun = make_request("Inprogress", ["waits"])
    for attempt in range(1, 4):
        make_job(begun, "waits", attempt=attempt)
    queue(10)
    with start_runner(4) as runner:
        assert (runner.turn(), starting(runner).turn()) == (3, 1)
        let_end.set()


def test_threads_do_not_stay_free_for_the_sake_of_a_larger_batch(let_end: Event) -> None:
    """27 of 32 threads are taken by what takes long: nothing is gained by waiting until more are free."""
    busy = make_request("Inprogress", ["waits"])
    for attempt in range(1, 28):
        make_job(busy, "waits", attempt=attempt)
    with start_runner(32) as runner:
        assert runner.turn() == 27
        runner.claimer._polled_at = float("-inf")
        make_job(make_request("Inprogress", ["noop"]), "noop")
        assert runner.turn() == 1
        let_end.set()


def test_what_takes_long_is_not_claimed_ahead(let_end: Event) -> None:
    """While it waits here, another process could run it."""
    request = make_request("Inprogress", ["waits"])
    for attempt in range(1, 40):
        make_job(request, "waits", attempt=attempt)
    with start_runner(4) as runner:
        assert [runner.turn() for _ in range(5)] == [4, 0, 0, 0, 0]
        let_end.set()


def test_what_ends_fast_is_claimed_ahead() -> None:
    with start_runner(4) as runner:
        free = [runner.claimer.free()]
        for recorded in (4, 16, 52, 600, 1, 1):
            runner.claimer.adapt(recorded)
            free.append(runner.claimer.free())
    assert free == [4, 16, 52, 160, 1504, 754, 379]


def test_jobs_that_trickle_in_teach_a_worker_to_claim_no_more_than_it_can_begin(let_end: Event) -> None:
    with start_runner(32) as runner:
        for _ in range(5):
            make_job(make_request("Inprogress", ["noop"]), "noop")
            while Job.objects.filter(status__in=("new", "inprogress")).exists():
                runner.turn()
                runner.wait(0.01)
        request = make_request("Inprogress", ["waits"])
        for attempt in range(1, 100):
            make_job(request, "waits", attempt=attempt)
        runner.claimer._polled_at = float("-inf")
        assert runner.turn() <= 35
        let_end.set()


def test_a_stop_between_a_record_and_the_next_step_s_jobs_leaves_none_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """These are claimed in the transaction that records, and read after it."""
    stop, read = Stop(), JobQuerySet.inserted_with_requests

    def read_slowly(self: JobQuerySet, claim: str, steps: Any) -> Any:
        if current_thread().name == "completer":
            stop.signalled = True
            time.sleep(0.3)
        return read(self, claim, steps)

    monkeypatch.setattr(JobQuerySet, "inserted_with_requests", read_slowly)
    make_job(make_request("Inprogress", ["noop"], ["noop_1"]), "noop")
    run_worker(stop, RunRecord("run_worker"))
    assert Job.objects.get(name="noop_1").status in {"new", "completed"}


def test_lost_leases_are_ended_and_their_requests_moved_on_in_one_transaction() -> None:
    request = make_request("Inprogress", ["noop"])
    make_job(request, "noop", "inprogress", lease=-1, last_attempt=1)
    run_worker(Stop(max_seconds=0.3), RunRecord("run_worker"))
    request.refresh_from_db()
    assert (request.status, request.error.startswith("noop failed: gave up after 1 attempt")) == ("Failed", True)


@pytest.mark.parametrize(("queryset", "statement"), [(JobQuerySet, "lease_expired"), (ReceiptHeadQuerySet, "open")])
def test_a_worker_waits_for_the_database_as_long_as_its_setting_says(
    queryset: type, statement: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Longer than the passes of cron do: what its callbacks did would be lost with it."""
    settings.WRK_DATABASE_AWAY_SECONDS = 3 * RECONNECT_SECONDS
    sleeps, work = [0.0], getattr(queryset, statement)
    monkeypatch.setattr(transactions, "time", SimpleNamespace(monotonic=lambda: sum(sleeps), sleep=sleeps.append))

    def is_away_at_first(self: Any, *arguments: Any) -> Any:
        if sum(sleeps) < 2 * RECONNECT_SECONDS:
            raise OperationalError(2003, "refused")
        return work(self, *arguments)

    monkeypatch.setattr(queryset, statement, is_away_at_first)
    make_job(make_request("Inprogress", ["noop"]), "noop", "inprogress", lease=-1)
    make_job(make_request("Completed", ["noop"], receipt=ReceiptState.DUE), "noop", "completed")
    run_worker(Stop(max_seconds=0.3), RunRecord("run_worker"))
    assert sum(sleeps) >= 2 * RECONNECT_SECONDS
    assert (Job.objects.filter(status="retry").count(), Receipt.objects.count()) == (1, 1)


def test_a_running_worker_takes_an_answer_and_completes_its_request(manage: Manage, record_file: Path) -> None:
    manage.start("run_worker")
    insert_raw(token="tok", steps='[{"name": "a", "jobs": ["asks_later"]}, {"name": "b", "jobs": ["noop"]}]')
    _until(Job.objects.filter(status="new", answer_by__isnull=False))
    insert_answer("tok", "asks_later", extras={"batch": 12})
    _until(Request.objects.filter(status="Completed"))
    assert Request.objects.get().extras == {"batch": 12}
    assert list(Job.objects.order_by("step").values_list("attempt", "status")) == [(1, "completed")] * 2


def _until(rows: QuerySet[Any]) -> None:
    deadline = time.monotonic() + 30
    while not rows.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_long_look_at_early_answers_takes_a_share_of_the_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def look_long(*_: object, **__: object) -> int:
        looks.append(time.monotonic())
        time.sleep(0.1)
        return 0

    monkeypatch.setattr(worker, "take_answers", look_long)
    with start_runner(1) as runner:
        answers = worker._Answers(Stop(), RunRecord("run_worker"), runner)
        ends = time.monotonic() + 0.1 / worker._POLLING_SHARE
        while time.monotonic() < ends:
            answers.turn()
            time.sleep(0.001)
    assert len(looks) == 1
