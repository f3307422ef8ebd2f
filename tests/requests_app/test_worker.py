"""How much run_worker takes on: it starts requests as it has room for their jobs, and fills its slots."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import JobContext
from jobs_app.registry import job, unregister
from jobs_app.worker.pace import Pace
from jobs_app.worker.runner import JobRunner
from jobs_app.worker.seats import Seats
from jobs_app.worker.shutdown import Stop
from requests_app import worker
from requests_app.models import Request
from requests_app.worker import PickUp, run_worker
from tests.factories import insert_raw, make_job, make_request
from tests.lifecycle.statements import listening

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


def start_runner(concurrency: int) -> JobRunner:
    return JobRunner(Stop(), RunRecord("run_worker"), concurrency=concurrency)


def queue(number: int) -> None:
    for _ in range(number):
        insert_raw(steps='[{"name": "only", "jobs": ["waits"]}]')


def test_no_more_requests_are_started_than_there_is_room_for(let_end: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(10)
    with start_runner(4) as runner:
        pick_up = PickUp(RunRecord("run_worker"), runner)
        assert (pick_up.turn(), pick_up.full) == (4, True)
        assert Job.objects.filter(status="inprogress").count() == 4
        assert pick_up.turn() == 0
        monkeypatch.setattr(worker, "_PICK_UP_SECONDS", 0)
        assert (pick_up.turn(), pick_up.full) == (6, False)
        let_end.set()
    # Nobody here had room for these: any worker may have them.
    assert Job.objects.filter(status="new").count() == 6
    assert Request.objects.filter(status="Queuing").count() == 0


def test_requests_that_begin_leave_room_for_the_next_steps_of_others(
    let_end: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(50)
    monkeypatch.setattr(Pace, "per_second", lambda *_: 1000.0)  # 40 jobs in 40 ms
    with start_runner(4) as runner:
        assert (runner.room.to_claim(), runner.room.to_begin()) == (44, 26)
        assert PickUp(RunRecord("run_worker"), runner).turn() == 26
        let_end.set()


def test_slots_do_not_stay_free_for_the_sake_of_a_larger_batch(let_end: Event) -> None:
    """27 of 32 slots are taken by what takes long: nothing is gained by waiting until more are free."""
    busy = make_request("Inprogress", ["waits"])
    for attempt in range(1, 28):
        make_job(busy, "waits", attempt=attempt)
    with start_runner(32) as runner:
        assert runner.turn() == 27
        runner._looked_at = float("-inf")
        make_job(make_request("Inprogress", ["noop"]), "noop")
        assert runner.turn() == 1
        let_end.set()


def test_a_worker_that_has_no_seat_takes_nothing_and_hardly_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "Seats", lambda: Seats(tmp_path, 1, lambda: False))
    insert_raw(steps='[{"name": "only", "jobs": ["noop"]}]')
    make_job(make_request("Inprogress"), "noop")
    with Seats(tmp_path, 1, lambda: False) as other:
        assert other.may_take()
        with listening() as heard:
            run_worker(Stop(max_seconds=0.5), RunRecord("run_worker"))
    assert set(Request.objects.values_list("status", flat=True)) == {"Queuing", "Inprogress"}
    assert len(heard) < 20
    run_worker(Stop(max_seconds=0.5), RunRecord("run_worker"))
    assert set(Request.objects.values_list("status", flat=True)) == {"Completed"}


def test_what_has_begun_goes_on_without_a_seat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idles = iter([True])  # once, then the processors are short
    monkeypatch.setattr(worker, "Seats", lambda: Seats(tmp_path, 1, lambda: next(idles, False)))
    insert_raw(steps=[{"name": f"step {number}", "jobs": ["noop", "noop_1"]} for number in range(4)])
    with Seats(tmp_path, 1, lambda: False) as other:
        assert other.may_take()
        run_worker(Stop(max_seconds=0.5), RunRecord("run_worker"))
    assert list(Request.objects.values_list("status", flat=True)) == ["Completed"]


def test_a_worker_without_a_seat_claims_one_batch_after_the_other_while_a_processor_idles(
    let_end: Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "Seats", lambda: Seats(tmp_path, 1, lambda: True))
    let_end.set()
    request = make_request("Inprogress", ["waits"])
    for attempt in range(1, 61):
        make_job(request, "waits", attempt=attempt)
    with Seats(tmp_path, 1, lambda: False) as other:
        assert other.may_take()
        run_worker(Stop(max_seconds=0.4), RunRecord("run_worker"), concurrency=2)
    assert Job.objects.filter(status="completed").count() == 60
