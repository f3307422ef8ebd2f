"""Limits: jobs wait for permits in lanes, in the way of nobody; each gets one in its turn, and none is lost."""

import asyncio
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from demo.services import Services
from jobs_app import limit_rules
from jobs_app.db.columns import UtcNow
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models import Job, Limit
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import JobContext, Retry, Wait
from jobs_app.registry import limit_of, unregister
from jobs_app.worker import permit_claimer
from jobs_app.worker.pausing import pause_job, resume_job
from jobs_app.worker.runner import Runner
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.operations.interventions import cancel_request
from requests_app.passes.inprogress_requests import progress_locked
from requests_app.worker import run_worker
from tests.conftest import Manage
from tests.factories import (
    held,
    insert_answer,
    let_leases_run_out,
    make_job,
    make_many,
    make_request,
    make_waiting,
    pass_inprogress,
    pass_jobs,
    pass_new,
    statuses,
)

pytestmark = pytest.mark.django_db(transaction=True)
Register = Callable[..., str]
Limits = Callable[[str], None]
PATIENCE = 10.0


def put_in_lane(count: int, name: str = "limited") -> None:
    """As the passes put them there."""
    make_many(count, name)
    rule = limit_of(name)
    assert rule
    Limit.objects.ensure([rule])
    Job.objects.filter(name=name, status="new").update(due_at=rule.lane)


def in_lane(status: str = "new") -> int:
    return Job.objects.filter(due_at__gte=LANES_FROM, status=status).count()


def due_all() -> None:
    Job.objects.filter(status="new", due_at__lt=LANES_FROM).update(due_at=UtcNow() - timedelta(seconds=1))


def pass_for(seconds: float, **options: Any) -> dict[str, int]:
    return pass_jobs(stop=Stop(max_seconds=seconds), **options)


class Until(Stop):
    """Also when this is so."""

    def __init__(self, is_so: Callable[[], bool]) -> None:
        super().__init__(PATIENCE)
        self._is_so = is_so

    def __bool__(self) -> bool:
        return super().__bool__() or self._is_so()


def work_for(seconds: float, **options: Any) -> None:
    run_worker(Stop(max_seconds=seconds), RunRecord("run_worker"), **options)


# Rate and concurrency ------------------------------------------------------------------------------------------------
def test_a_pass_runs_what_gets_a_permit_and_waits_for_the_next_one(register: Register, limits: Limits) -> None:
    began: list[float] = []
    register("limited", lambda _: began.append(time.monotonic()), limit="service2")
    limits("service2 rate=20/s")
    make_many(30, "limited")
    assert pass_jobs() == {"claimed": 30, "completed": 30}
    # Twenty at once at most, then one each 50 ms.
    assert began[29] - began[0] >= 0.45


def test_what_is_due_goes_into_its_lane_at_once(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="service2")
    limits("service2 rate=1/h")
    request = make_request("Queuing", ["limited", "noop"])
    pass_new()
    due = dict(Job.objects.values_list("name", "due_at"))
    assert due["limited"] >= LANES_FROM > due["noop"]
    assert pass_jobs() == {"claimed": 2, "completed": 2}
    assert Job.objects.filter(due_at__gte=LANES_FROM).count() == 0
    pass_inprogress()
    request.refresh_from_db()
    assert request.status == "Completed"


def test_no_more_run_at_once_than_its_concurrency(register: Register, limits: Limits) -> None:
    running, most = set[str](), []

    def callback(context: JobContext) -> None:
        running.add(context.token)
        most.append(len(running))
        time.sleep(0.01)
        running.discard(context.token)

    register("limited", callback, limit="service2")
    limits("service2 concurrency=3")
    make_many(20, "limited")
    assert pass_jobs() == {"claimed": 20, "completed": 20}
    assert max(most) == 3


def test_async_callbacks_get_permits_alike(register: Register, limits: Limits) -> None:
    running, most = set[str](), []

    async def callback(context: JobContext) -> None:
        running.add(context.token)
        most.append(len(running))
        await asyncio.sleep(0.01)
        running.discard(context.token)

    register("limited", callback, limit="service2")
    limits("service2 rate=200/s concurrency=3")
    make_many(20, "limited")
    assert pass_jobs() == {"claimed": 20, "completed": 20}
    assert max(most) == 3


def test_the_oldest_gets_the_first_permit_whenever_it_was_due(register: Register, limits: Limits) -> None:
    order: list[str] = []
    register("limited", lambda context: order.append(context.token), limit="service2")
    limits("service2 concurrency=1")
    for token, ago in (("first", 1), ("second", 100), ("third", 50)):
        make_job(make_request("Inprogress", ["limited"], token=token), "limited", due_in=-ago)
    pass_jobs()
    assert order == ["first", "second", "third"]


def test_jobs_that_share_a_limit_share_its_permits(register: Register, limits: Limits) -> None:
    for name in ("limited_1", "limited_2"):
        register(name, lambda _: None, limit="service2")
    limits("service2 rate=1/h")
    make_many(1, "limited_1")
    make_many(1, "limited_2")
    assert pass_for(1) == {"claimed": 1, "completed": 1}
    assert in_lane() == 1


def test_a_rate_that_was_raised_holds_at_once(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="service2")
    limits("service2 rate=1/h")
    make_many(3, "limited")
    assert pass_jobs(limit=1)["completed"] == 1
    limits("service2 rate=100/s")
    assert pass_jobs()["completed"] == 2


@pytest.mark.parametrize("rate", ["70/s", "185/s", "3000/s"])
def test_the_schedule_moves_on_by_no_less_than_the_interval_however_coarse_the_clock(
    rate: str, register: Register, limits: Limits
) -> None:
    register("limited", lambda _: None, limit="service2")
    limits(f"service2 rate={rate}")
    put_in_lane(5)
    rule = limit_of("limited")
    assert rule
    Limit.objects.update(next_at=UtcNow() + timedelta(seconds=0.4))
    [before] = Limit.objects.values_list("next_at", flat=True)
    for _ in range(5):
        assert len(Job.objects.claim_from_lane(rule, str(uuid4()), 1, 300).ids) == 1
    [after] = Limit.objects.values_list("next_at", flat=True)
    assert (after - before).total_seconds() >= 5 * rule.interval - 2e-6


def test_a_slow_database_loses_no_permit_for_ever(
    register: Register, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one attempt a second each permit is to be used within 30 ms; a claim takes longer here."""
    register("limited", lambda _: None, limit="service2")
    limits("service2 rate=1/s")
    slowly, claim = time.sleep, Job.objects.claim_from_lane

    def slow_claim(*arguments: Any, **options: Any) -> Any:
        slowly(0.1)
        return claim(*arguments, **options)

    monkeypatch.setattr(permit_claimer, "Job", type("Slow", (), {"objects": Slow(slow_claim)}))
    make_many(1, "limited")
    began = time.monotonic()
    assert pass_jobs(stop=Stop(max_seconds=PATIENCE))["completed"] == 1
    assert time.monotonic() - began < 4


class Slow:
    """The jobs, with a claim of one's own."""

    def __init__(self, claim: Callable[..., Any]) -> None:
        self.claim_from_lane = claim

    def __getattr__(self, name: str) -> Any:
        return getattr(Job.objects, name)


# Beside others -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_async", [False, True])
def test_they_run_before_what_was_claimed_ahead(is_async: bool, register: Register, limits: Limits) -> None:
    ended: list[str] = []

    def note(context: JobContext) -> None:
        time.sleep(0.003)
        ended.append(context.name)
        if len(ended) == 100:
            put_in_lane(5)

    async def note_async(context: JobContext) -> None:
        await sync_to_async(note)(context)

    register("others", note_async if is_async else note)
    register("limited", note_async if is_async else note, limit="service2")
    limits("service2 rate=100/s concurrency=5")
    make_many(500, "others")
    run_worker(Until(lambda: len(ended) >= 505), RunRecord("run_worker"), concurrency=1)
    places = [place for place, name in enumerate(ended) if name == "limited"]
    assert len(places) == 5
    assert places[-1] < 250


def test_a_busy_process_keeps_no_permit_from_those_who_could_use_it(
    register: Register, limits: Limits, let_go: Event
) -> None:
    register("hangs", lambda _: let_go.wait(PATIENCE))
    register("limited", lambda _: None, limit="service2")
    limits("service2 concurrency=2")
    make_many(2, "hangs")
    with Runner(Stop(), RunRecord("run_worker"), concurrency=2, on_recorded=progress_locked) as busy:
        while Job.objects.filter(status="inprogress").count() < 2:
            busy.turn()
        put_in_lane(2)
        claimed_at_first = turn_until_nothing_is_held(busy, 1.0)
        assert claimed_at_first <= 2
        turn_for(busy, 0.5)
        assert (in_lane("inprogress"), in_lane()) == (0, 2)
        assert pass_jobs() == {"claimed": 2, "completed": 2}
        let_go.set()


def turn_until_nothing_is_held(runner: Runner, least_seconds: float) -> int:
    """Returns how many it held of the lane at most."""
    most, ends_at = 0, time.monotonic() + least_seconds
    while time.monotonic() < ends_at or in_lane("inprogress"):
        runner.turn()
        runner.wait(0.01)
        most = max(most, in_lane("inprogress"))
        assert time.monotonic() < ends_at + PATIENCE
    return most


def turn_for(runner: Runner, seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        runner.turn()
        runner.wait(0.01)
        assert in_lane("inprogress") == 0


def test_what_was_claimed_and_not_begun_in_time_is_back_in_its_lane_in_its_place(
    register: Register, limits: Limits
) -> None:
    order: list[str] = []
    register("limited", lambda context: order.append(context.token), limit="service2")
    limits("service2 concurrency=2")
    put_in_lane(3)
    rule = limit_of("limited")
    assert rule
    ids = Job.objects.claim_from_lane(rule, str(uuid4()), 2, 300).ids
    Job.objects.record([Result(held(job), JobStatus.NEW) for job in Job.objects.filter(id__in=ids)])
    assert (in_lane(), in_lane("inprogress")) == (3, 0)
    assert list(Job.objects.values_list("attempt", "started_at")) == [(1, None)] * 3
    pass_jobs(concurrency=1)
    assert order == list(Request.objects.order_by("id").values_list("token", flat=True))


def test_a_dead_workers_job_keeps_its_place_until_its_lease_is_over(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="service2", backoff=0)
    limits("service2 concurrency=1")
    put_in_lane(2)
    rule = limit_of("limited")
    assert rule
    assert len(Job.objects.claim_from_lane(rule, str(uuid4()), 9, 300).ids) == 1
    assert pass_for(0.3) == {}
    let_leases_run_out()
    assert pass_jobs()["completed"] == 1
    due_all()
    assert pass_jobs() == {"claimed": 1, "completed": 1}


# Ends of a run -------------------------------------------------------------------------------------------------------
def test_a_pass_runs_no_more_than_what_waited_at_its_start(register: Register, limits: Limits) -> None:
    def adds_another(_: JobContext) -> None:
        put_in_lane(1)

    register("limited", adds_another, limit="service2")
    limits("service2 concurrency=2")
    put_in_lane(3)
    assert pass_for(PATIENCE) == {"claimed": 3, "completed": 3}
    assert in_lane() == 3


def test_a_limit_of_jobs_is_kept(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="service2")
    limits("service2 rate=100/s")
    put_in_lane(5)
    assert pass_jobs(limit=2) == {"claimed": 2, "completed": 2}
    assert in_lane() == 3


def test_a_run_of_so_many_seconds_waits_no_longer_for_a_permit(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="service2")
    limits("service2 rate=1/h")
    put_in_lane(2)
    began = time.monotonic()
    assert pass_for(0.8)["completed"] == 1
    assert time.monotonic() - began < 3


def test_a_run_leaves_a_backlog_of_days_to_later_ones(
    register: Register, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("limited", lambda _: None, limit="service2")
    limits("service2 rate=1/h")
    monkeypatch.setattr(permit_claimer, "_MOST_RUN_SECONDS", 0.8)
    put_in_lane(2)
    assert pass_for(PATIENCE) == {"claimed": 1, "completed": 1}


@pytest.mark.parametrize("command", ["run_jobs", "run_worker"])
def test_sigterm_ends_a_process_that_waits_for_a_permit(command: str, manage: Manage, services: Services) -> None:
    for user in (1, 2):
        request = make_request("Inprogress", ["service1_get_user"], params={"id": user})
        make_job(request, "service1_get_user")
    process = manage.start(command, WRK_LIMITS="service1 rate=1/h")
    ends_at = time.monotonic() + 3 * PATIENCE
    while not Job.objects.exclude(status__in=["new", "inprogress"]).exists():
        assert time.monotonic() < ends_at
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert in_lane() == 1


# Pauses --------------------------------------------------------------------------------------------------------------
def test_a_paused_name_leaves_its_lane_to_others_and_comes_back_when_it_is_resumed(
    register: Register, limits: Limits
) -> None:
    order: list[str] = []
    for name in ("paused", "limited"):
        register(name, lambda context: order.append(context.name), limit="service2")
    limits("service2 rate=1000/s")
    put_in_lane(120, "paused")
    put_in_lane(5)
    pause_job("paused", by="me", reason="")
    assert pass_jobs() == {"claimed": 5, "completed": 5}
    assert in_lane() == 0
    assert sum(job.is_parked for job in Job.objects.filter(status="new")) == 120
    resume_job("paused", by="me", reason="")
    assert pass_jobs() == {"claimed": 120, "completed": 120}
    assert order == ["limited"] * 5 + ["paused"] * 120


# A limit that nobody names any more ----------------------------------------------------------------------------------
def test_a_pass_empties_the_lane_of_a_removed_limit_and_runs_all_of_it(register: Register, limits: Limits) -> None:
    order: list[str] = []
    register("limited", lambda context: order.append(context.token), limit="service2")
    limits("service2 rate=1/h")
    put_in_lane(620)  # more than are moved at once
    limits("")
    assert pass_jobs(concurrency=1) == {"claimed": 620, "completed": 620}
    assert order == list(Request.objects.order_by("id").values_list("token", flat=True))


def test_a_worker_empties_it_too(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="service2")
    limits("service2 rate=1/h; service3 rate=1/s")
    put_in_lane(20)
    limits("service3 rate=1/s")
    work_for(1)
    assert Job.objects.filter(status="completed").count() == 20


def test_so_is_the_lane_of_a_limit_that_no_job_has_any_more(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="before")
    limits("before rate=1/h; after rate=100/s")
    put_in_lane(3)
    unregister("limited")
    register("limited", lambda _: None, limit="after")
    assert pass_for(PATIENCE)["completed"] == 3  # on a busy machine after being handed back


@pytest.mark.parametrize("limit", ["service3", None])
def test_a_job_whose_limit_is_another_one_now_takes_no_permit_of_the_one_before(
    limit: str | None, register: Register, limits: Limits
) -> None:
    began: list[str] = []
    register("moved", lambda context: began.append(context.name), limit="service2")
    register("limited", lambda context: began.append(context.name), limit="service2")
    limits("service2 concurrency=1; service3 breaker=5")
    put_in_lane(2, "moved")
    put_in_lane(1)
    unregister("moved")
    register("moved", lambda context: began.append(context.name), limit=limit)
    rule = limit_of("limited")
    assert rule
    assert Job.objects.claim_from_lane(rule, "claim", 1, 300).ids == []
    assert in_lane() == 2
    assert pass_jobs()["completed"] == 3
    assert sorted(began) == ["limited", "moved", "moved"]


def test_what_runs_while_its_limit_is_removed_ends_as_due_when_it_began(register: Register, limits: Limits) -> None:
    register("limited", lambda _: limits(""), limit="service2")
    limits("service2 concurrency=1")
    put_in_lane(1)
    assert pass_jobs() == {"claimed": 1, "completed": 1}
    job = Job.objects.get()
    assert job.due_at == job.started_at


# Other moves of what is in a lane ------------------------------------------------------------------------------------
def test_a_retrys_successor_waits_for_a_permit_when_it_is_due(
    register: Register, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit_rules, "_MOST_LATE_SECONDS", PATIENCE)  # a busy machine loses the only permit of an hour

    def asks_once_more(context: JobContext) -> None:
        if context.attempt == 1:
            raise Retry("again", after=60)

    register("limited", asks_once_more, limit="service2")
    limits("service2 rate=1/h")
    make_many(1, "limited")
    give_a_permit()
    assert pass_for(PATIENCE) == {"claimed": 1, "retry": 1}
    assert (in_lane(), Job.objects.filter(status="new").count()) == (0, 1)
    due_all()
    assert pass_for(0.3) == {}  # the hour's permit is used
    assert in_lane() == 1
    give_a_permit()
    assert pass_for(PATIENCE) == {"claimed": 1, "completed": 1}


def give_a_permit() -> None:
    rule = limit_of("limited")
    assert rule
    Limit.objects.ensure([rule])
    Limit.objects.update(next_at=UtcNow() - timedelta(hours=1))


def waits_for_an_answer(context: JobContext) -> None:
    if not context.checks:
        raise Wait("the vendor", within=3600, check_after=60)


def test_a_check_waits_for_a_permit_and_what_waits_takes_no_place(register: Register, limits: Limits) -> None:
    register("limited", waits_for_an_answer, limit="service2")
    limits("service2 concurrency=1")
    make_many(2, "limited")
    assert pass_jobs() == {"claimed": 2, "waiting": 2}  # one after the other
    assert (in_lane(), in_lane("inprogress")) == (0, 0)
    due_all()
    Limit.objects.ensure([])
    assert pass_jobs() == {"claimed": 2, "completed": 2}
    assert all(job.started_at and job.due_at <= job.started_at for job in Job.objects.all())


def test_an_answer_ends_what_waits_for_the_permit_of_its_check(register: Register, limits: Limits) -> None:
    register("limited", waits_for_an_answer, limit="service2")
    limits("service2 rate=1/h")
    request = make_request("Inprogress", ["limited"])
    job = make_waiting(request, "limited", check=-1)
    Limit.objects.ensure([rule for rule in [limit_of("limited")] if rule])
    Limit.objects.update(next_at=UtcNow() + timedelta(hours=1))
    assert pass_for(0.3) == {}
    assert in_lane() == 1
    insert_answer(request, "limited")
    assert pass_inprogress()["answers_taken"] == 1
    job.refresh_from_db()
    assert (job.status, job.due_at < LANES_FROM) == ("completed", True)


@pytest.mark.parametrize("is_in_lane", [False, True])
def test_whose_time_is_over_is_not_called_and_uses_up_an_attempt(
    is_in_lane: bool, register: Register, limits: Limits
) -> None:
    called: list[str] = []
    register("limited", lambda context: called.append(context.token), limit="service2", backoff=60)
    limits("service2 concurrency=1")
    request = make_request("Inprogress", ["limited"])
    make_waiting(request, "limited", within=-1, check=-1)
    if is_in_lane:
        rule = limit_of("limited")
        assert rule
        Job.objects.update(due_at=rule.lane)
    assert pass_jobs() == {"claimed": 1, "retry": 1}
    assert called == []
    assert statuses(request) == {("limited", 1): "retry", ("limited", 2): "new"}


def test_whose_time_is_over_needs_no_permit(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="service2", backoff=60)
    limits("service2 rate=1/h")
    make_waiting(make_request("Inprogress", ["limited"]), "limited", within=-1, check=-1)
    Limit.objects.ensure([rule for rule in [limit_of("limited")] if rule])
    Limit.objects.update(next_at=UtcNow() + timedelta(hours=1))
    assert pass_for(0.3) == {"claimed": 1, "retry": 1}


def test_a_request_is_cancelled_with_what_waits_in_its_lane(register: Register, limits: Limits) -> None:
    register("limited", lambda _: None, limit="service2")
    limits("service2 rate=100/s")
    put_in_lane(2)
    first = Request.objects.order_by("id")[0]
    cancel_request(first.token, by="me", reason="")
    assert statuses(first) == {("limited", 1): "cancelled"}
    assert pass_jobs() == {"claimed": 1, "completed": 1}
    assert Job.objects.get(request=first).status == "cancelled"
