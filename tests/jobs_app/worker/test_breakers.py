"""Breakers: after ends in a row without an answer nobody calls the service; then one tries, whose success closes it."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog

from jobs_app.db.columns import UtcNow
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models import Job, Limit
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Failure, JobContext, Retry, Unavailable
from jobs_app.registry import limit_of
from jobs_app.worker.shutdown import Stop
from requests_app.worker import run_worker
from tests.factories import let_leases_run_out, make_job, make_request, pass_jobs, seconds_from_now, statuses

pytestmark = pytest.mark.django_db(transaction=True)
Register = Callable[..., str]
Limits = Callable[[str], None]

DOWN, BUSY, BUG = (
    Unavailable("service2: answered 503"),
    Retry("service2: answered 429", at_least=0),
    ValueError("a bug"),
)
REFUSED = Failure("service2: answered 400")


class Service:
    """What the callbacks find. `answers`: the next ones; then `then`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answers: list[Exception | None] = []
        self.then: Exception | None = None

    def __call__(self, context: JobContext) -> None:
        self.calls.append(context.token)
        if answer := self.answers.pop(0) if self.answers else self.then:
            raise answer


@pytest.fixture
def service(register: Register, limits: Limits, settings: Any) -> Service:
    """Behind the job `limited`, one call at a time; three ends without an answer open the breaker for 30 s."""
    service = Service()
    register("limited", service, limit="service2", backoff=60)
    settings.WRK_BREAKER_SECONDS = 30
    limits("service2 concurrency=1 breaker=3")
    return service


def place(count: int, name: str = "limited", **columns: Any) -> None:
    for _ in range(count):
        make_job(make_request("Inprogress", [name]), name, **columns)


def state() -> tuple[int, int, bool]:
    """Failures in a row, openings in a row, whether it is open or half-open."""
    limit = Limit.objects.get()
    return limit.failures, limit.openings, limit.open_until is not None


def open_for() -> float:
    return seconds_from_now(Limit.objects.get().open_until)


def end_its_time() -> None:
    Limit.objects.update(open_until=UtcNow() - timedelta(seconds=1))


def open_it(openings: int = 1) -> None:
    """It is half-open, with jobs that wait."""
    rule = limit_of("limited")
    assert rule
    Limit.objects.ensure([rule])
    past = UtcNow() - timedelta(seconds=1)
    Limit.objects.update(failures=3, openings=openings, opened_at=past, open_until=past, reason="it was down")


# It opens ------------------------------------------------------------------------------------------------------------
def test_it_opens_after_so_many_in_a_row_and_the_run_ends(service: Service) -> None:
    service.then = DOWN
    place(10)
    assert pass_jobs() == {"claimed": 3, "retry": 3}
    assert (state(), len(service.calls)) == ((3, 1, True), 3)
    limit = Limit.objects.get()
    assert limit.opened_at
    assert limit.open_until
    assert (limit.open_until - limit.opened_at).total_seconds() == pytest.approx(30, abs=0.01)
    assert limit.reason == "service2: answered 503"
    assert Job.objects.filter(status="new", due_at__gte=LANES_FROM, attempt=1).count() == 7
    assert pass_jobs() == {}
    assert len(service.calls) == 3


def test_a_worker_leaves_an_open_limit_alone(service: Service) -> None:
    open_it()
    Limit.objects.update(open_until=UtcNow() + timedelta(seconds=30))
    place(5)
    run_worker(Stop(max_seconds=0.5), RunRecord("run_worker"))
    assert service.calls == []
    assert set(Job.objects.values_list("status", "attempt")) == {("new", 1)}


def test_ends_count_over_processes_and_runs(service: Service) -> None:
    service.then = DOWN
    place(10)
    for failures in (1, 2):
        pass_jobs(limit=1)
        assert state() == (failures, 0, False)
    run_worker(Stop(max_seconds=1), RunRecord("run_worker"))
    assert (state(), len(service.calls)) == ((3, 1, True), 3)


@pytest.mark.parametrize("answer", [None, REFUSED, BUSY, BUG], ids=str)
def test_any_other_end_begins_the_row_anew(answer: Exception | None, service: Service) -> None:
    service.answers = [DOWN, DOWN, answer, DOWN, DOWN]
    place(5)
    pass_jobs()
    assert (state(), len(service.calls)) == ((2, 0, False), 5)


def test_a_last_attempt_counts_too(service: Service) -> None:
    service.then = DOWN
    place(3, last_attempt=1)
    assert pass_jobs() == {"claimed": 3, "failure": 3}
    assert state() == (3, 1, True)


def test_jobs_without_a_breaker_leave_no_trace(service: Service, limits: Limits) -> None:
    limits("service2 concurrency=1")
    service.then = DOWN
    place(4)
    pass_jobs()
    assert state() == (0, 0, False)


def test_what_ends_while_it_is_open_changes_nothing(register: Register, limits: Limits, settings: Any) -> None:
    """Three fail at once and open it; the others, which began before, fail and succeed afterwards."""
    settings.WRK_BREAKER_SECONDS = 30

    def ends_later(context: JobContext) -> None:
        number = context.params["number"]
        time.sleep(0 if number < 3 else 0.3)
        if number != 4:
            raise DOWN

    register("limited", ends_later, limit="service2", backoff=60)
    limits("service2 breaker=3")
    for number in range(6):
        make_job(make_request("Inprogress", ["limited"], params={"number": number}), "limited")
    assert pass_jobs() == {"claimed": 6, "retry": 5, "completed": 1}
    assert state() == (3, 1, True)
    assert 25 < open_for() <= 30


def test_what_was_claimed_before_it_opened_is_put_off_without_an_attempt(
    register: Register, limits: Limits, settings: Any
) -> None:
    settings.WRK_BREAKER_SECONDS = 30
    register("others", lambda _: time.sleep(0.15))
    service = Service()
    service.then = DOWN
    register("limited", service, limit="service2", backoff=60)
    limits("service2 breaker=2")
    place(6)
    place(12, "others")
    pass_jobs(concurrency=2)
    assert len(service.calls) == Job.objects.filter(name="limited", status="retry").count() < 6
    assert Job.objects.filter(name="limited", status="new", attempt=1, started_at=None).count() == 6 - len(
        service.calls
    )


# It is half-open -----------------------------------------------------------------------------------------------------
def test_one_tries_and_its_silence_opens_it_for_twice_the_time_up_to_900_seconds(service: Service) -> None:
    service.then = DOWN
    open_it()
    place(8)
    for openings, seconds in ((2, 60), (3, 120), (4, 240), (5, 480), (6, 900), (7, 900)):
        assert pass_jobs() == {"claimed": 1, "retry": 1}
        assert state()[1:] == (openings, True)
        assert seconds - 5 < open_for() <= seconds
        end_its_time()
    assert state()[0] == 9


@pytest.mark.parametrize("answer", [None, REFUSED], ids=str)
def test_its_answer_closes_it(answer: Exception | None, service: Service) -> None:
    service.answers = [answer]
    open_it(openings=5)
    place(4)
    with structlog.testing.capture_logs() as logged:
        assert pass_jobs()["claimed"] == 4
    limit = Limit.objects.get()
    assert (state(), limit.opened_at, limit.probe, limit.reason) == ((0, 0, False), None, None, "")
    assert [line["event"] for line in logged if line["event"].startswith("limit")] == ["limit_closed"]


@pytest.mark.parametrize("answer", [BUSY, BUG], ids=str)
@pytest.mark.parametrize("last_attempt", [10, 1])
def test_an_unclear_end_opens_it_for_the_same_time(answer: Exception, last_attempt: int, service: Service) -> None:
    service.answers = [answer]
    open_it(openings=2)
    place(4, last_attempt=last_attempt)
    assert pass_jobs()["claimed"] == 1
    assert (state(), len(service.calls)) == ((3, 2, True), 1)
    assert 55 < open_for() <= 60


def test_a_probe_that_times_out_at_its_last_attempt_does_not_close_it(
    register: Register, limits: Limits, settings: Any
) -> None:
    register("limited", lambda _: time.sleep(0.4), limit="service2", timeout=0.1, max_attempts=1)
    limits("service2 breaker=3")
    open_it()
    place(1, last_attempt=1)
    assert pass_jobs() == {"claimed": 1, "failure": 1}
    assert state() == (3, 1, True)


def test_the_databases_clock_that_went_back_keeps_it_open_no_longer(service: Service) -> None:
    """As after a failover to a server whose clock is right again: it would be open for a day."""
    service.then = DOWN
    place(4)
    pass_jobs()
    Limit.objects.update(open_until=UtcNow() + timedelta(days=1))
    service.then = None
    assert pass_jobs()["completed"] == 1
    assert state() == (0, 0, False)


def test_a_killed_probe_is_followed_by_another_when_its_lease_is_over(service: Service) -> None:
    open_it()
    place(3)
    pass_jobs(limit=0)
    rule = limit_of("limited")
    assert rule
    Job.objects.update(due_at=rule.lane)
    assert len(Job.objects.claim_from_lane(rule, "a process that dies", 9, 300).ids) == 1
    assert Limit.objects.get().probe == "a process that dies"
    assert pass_jobs() == {}
    let_leases_run_out()
    assert pass_jobs()["completed"] == 2
    assert (state(), len(service.calls)) == ((0, 0, False), 2)


def test_a_probe_that_was_not_called_is_followed_by_another(service: Service) -> None:
    open_it()
    rule = limit_of("limited")
    assert rule
    unanswered = make_request("Inprogress", ["limited"])
    make_job(unanswered, "limited", answer_in=-1)
    place(1)
    Job.objects.update(due_at=rule.lane)
    assert pass_jobs() == {"claimed": 2, "retry": 1, "completed": 1}
    assert statuses(unanswered)["limited", 1] == "retry"
    assert (state(), len(service.calls)) == ((0, 0, False), 1)


def test_a_breaker_that_is_removed_while_it_is_open_holds_nobody(service: Service, limits: Limits) -> None:
    open_it()
    Limit.objects.update(open_until=UtcNow() + timedelta(seconds=30))
    limits("service2 concurrency=8")
    place(20)
    assert pass_jobs() == {"claimed": 20, "completed": 20}


def test_the_log_says_when_it_opens_and_names_no_persons_data(service: Service) -> None:
    service.then = DOWN
    place(3)
    with structlog.testing.capture_logs() as logged:
        pass_jobs()
    [line] = [line for line in logged if line["event"].startswith("limit")]
    assert line == {
        "event": "limit_opened",
        "limit": "service2",
        "seconds": 30.0,
        "failures": 3,
        "log_level": "warning",
    }
