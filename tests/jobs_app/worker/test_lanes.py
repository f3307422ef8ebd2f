"""Limits and breakers: jobs wait for permits in lanes, in the way of nobody, and none is lost."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobs_app.db.columns import UtcNow
from jobs_app.limit_rules import LANES_FROM, parse_limits
from jobs_app.models import Job, Limit
from jobs_app.outcomes import JobContext, Unavailable
from tests.factories import make_job, make_request, pass_inprogress, pass_jobs, pass_new

pytestmark = pytest.mark.django_db(transaction=True)
Register = Callable[..., str]


@pytest.fixture
def limits(settings: Any) -> Callable[[str], None]:
    def set_limits(text: str) -> None:
        settings.WRK_LIMITS = parse_limits(text)

    return set_limits


def place(count: int, name: str = "limited") -> None:
    for _ in range(count):
        make_job(make_request("Inprogress", [name]), name)


def test_a_pass_runs_what_gets_a_permit_and_waits_for_the_next_one(register: Register, limits: Any) -> None:
    began: list[float] = []
    register("limited", lambda _: began.append(time.monotonic()), limit="service2")
    limits("service2 rate=20/s")
    place(30)
    assert pass_jobs() == {"claimed": 30, "completed": 30}
    # Twenty at once at most, then one each 50 ms.
    assert began[29] - began[0] >= 0.45


def test_what_is_due_goes_into_its_lane_at_once(register: Register, limits: Any) -> None:
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


def test_no_more_run_at_once_than_its_concurrency(register: Register, limits: Any) -> None:
    running, most = set[str](), []

    def callback(context: JobContext) -> None:
        running.add(context.token)
        most.append(len(running))
        time.sleep(0.01)
        running.discard(context.token)

    register("limited", callback, limit="service2")
    limits("service2 concurrency=3")
    place(20)
    assert pass_jobs() == {"claimed": 20, "completed": 20}
    assert max(most) == 3


def test_a_breaker_opens_tries_once_and_closes(register: Register, limits: Any, settings: Any) -> None:
    calls: list[str] = []
    answers: dict[str, Exception | None] = {"now": Unavailable("service2: answered 503")}

    def callback(context: JobContext) -> None:
        calls.append(context.token)
        if answers["now"]:
            raise answers["now"]

    register("limited", callback, limit="service2", backoff=0)
    settings.WRK_BREAKER_SECONDS = 30
    limits("service2 concurrency=1 breaker=3")
    place(10)
    assert pass_jobs(concurrency=1)["retry"] == 3
    limit = Limit.objects.get()
    assert (limit.failures, limit.openings) == (3, 1)
    assert limit.open_until
    assert limit.opened_at
    assert 25 < (limit.open_until - limit.opened_at).total_seconds() <= 30
    assert pass_jobs() == {}
    assert len(calls) == 3

    Limit.objects.update(open_until=UtcNow() - timedelta(seconds=1))
    assert pass_jobs() == {"claimed": 1, "retry": 1}
    limit.refresh_from_db()
    assert limit.openings == 2
    assert Job.objects.filter(status="retry").count() == 4

    answers["now"] = None
    Limit.objects.update(open_until=UtcNow() - timedelta(seconds=1))
    counts = pass_jobs()
    assert counts["completed"] == 10
    closed = Limit.objects.get()
    assert (closed.failures, closed.openings, closed.open_until, closed.probe) == (0, 0, None, None)
