"""Where limits stand, read by one bounded statement and told as metrics; no count takes their jobs for others."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import CollectorRegistry

from jobs_app.db.dialect import database_now
from jobs_app.limit_rules import LimitRule, parse_limits
from jobs_app.models import Limit
from jobs_app.models.pause import PARKED_AT
from requests_app.models import RequestStatus
from requests_app.monitoring import limits
from requests_app.monitoring.awaited_answers import read_awaited
from requests_app.monitoring.backlog import read_backlog, read_waiting
from requests_app.monitoring.gauges import DatabaseCollector
from requests_app.monitoring.limits import Breaker, LimitState, count_before, read_limits
from tests.factories import make_in_lane, make_job, make_request, open_limit
from tests.lifecycle.test_explain import fill
from tests.requests_app.monitoring.test_gauges import plan_of

pytestmark = pytest.mark.django_db(transaction=True)  # the scrape has a connection of its own: rows must be committed

JOB = "service2_delete_user"


@pytest.fixture
def rules(settings: Any) -> dict[str, LimitRule]:
    settings.WRK_LIMITS = parse_limits("service2 rate=600/m concurrency=8 breaker=5; service3 rate=10/s breaker=5")
    return dict(settings.WRK_LIMITS)


def read(rules: dict[str, LimitRule]) -> dict[str, LimitState]:
    return {state.rule.name: state for state in read_limits(connection, rules.values())}


def test_each_limit_says_who_waits_and_runs_and_since_when_the_first_waits(rules: dict[str, LimitRule]) -> None:
    Limit.objects.ensure(rules.values())
    made = database_now() - timedelta(hours=2)
    make_in_lane(rules["service2"], JOB, created_at=made)
    for status in ("new", "inprogress", "completed", "cancelled"):
        make_in_lane(rules["service2"], JOB, status)
    make_job(make_request("Inprogress"), JOB)
    states = read(rules)
    assert [*states] == ["service2", "service3"]
    one, other = states.values()
    assert (one.rule, one.waiting, one.running, one.oldest) == (rules["service2"], 2, 1, made)
    assert (other.waiting, other.running, other.oldest, other.reason) == (0, 0, None, "")


def test_a_breaker_is_closed_open_or_half_open_and_closed_before_there_is_a_row(rules: dict[str, LimitRule]) -> None:
    assert {state.breaker for state in read(rules).values()} == {Breaker.CLOSED}
    opened = open_limit(rules["service2"], open_in=30)
    open_limit(rules["service3"], open_in=-1, failures=6)
    one, other = read(rules).values()
    assert (one.breaker, other.breaker) == (Breaker.OPEN, Breaker.HALF_OPEN)
    assert (one.failures, one.opened_at, one.open_until) == (5, opened.opened_at, opened.open_until)
    assert (one.reason, other.failures) == ("service2 DELETE /user/{id}: answered 503", 6)
    open_limit(rules["service2"], open_in=901)  # longer than it can be: the database's clock went back
    assert read(rules)["service2"].breaker == Breaker.HALF_OPEN
    without = {"service2": replace(rules["service2"], breaker=None)}
    assert read(without)["service2"].breaker == Breaker.CLOSED


def test_counting_stops_at_its_bounds(rules: dict[str, LimitRule], monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [make_in_lane(rules["service2"], JOB) for _ in range(5)]
    assert [count_before(connection, job) for job in jobs] == [0, 1, 2, 3, 4]
    for name in ("MOST_COUNTED", "MOST_BEFORE"):
        monkeypatch.setattr(limits, name, 2)
    assert read(rules)["service2"].waiting == 2
    assert [count_before(connection, job) for job in jobs] == [0, 1, 2, 3, 3]


def test_all_limits_take_one_statement_and_none_takes_none(
    rules: dict[str, LimitRule], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        read_limits(connection, rules.values())
    with django_assert_num_queries(0):
        assert read_limits(connection, []) == []


@pytest.mark.integration
def test_limits_are_read_by_nothing_but_ranges_of_the_index(rules: dict[str, LimitRule]) -> None:
    fill("Inprogress", "new")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET due_at = %s WHERE id %% 2 = 0", [rules["service2"].lane])
        cursor.execute("ANALYZE TABLE jobs")
    last = make_in_lane(rules["service2"], JOB)
    with CaptureQueriesContext(connection) as statements:
        assert read(rules)["service2"].waiting > 1000
        assert count_before(connection, last) > 1000
    plans = [row for statement in statements for row in plan_of(statement["sql"])]
    of_jobs = [row for row in plans if row["table"] == "jobs"]
    assert len(of_jobs) == 2 * 3 + 1
    for row in of_jobs:
        assert (row["key"], row["type"] in {"ref", "range"}) == ("jobs_status_due", True)
        assert "filesort" not in (row["Extra"] or "")


# Not taken for others ------------------------------------------------------------------------------------------------
def test_what_waits_for_a_permit_counts_neither_as_paused_nor_as_later(rules: dict[str, LimitRule]) -> None:
    request = make_request("Inprogress", due_in=-100)
    make_job(request, "noop", due_in=-5)
    make_job(request, "noop_1", due_in=60)
    make_job(request, "noop_2", due_at=PARKED_AT)
    for _ in range(3):
        make_in_lane(rules["service2"], JOB)
    counts = read_backlog(connection, list(RequestStatus))
    assert (counts.due, counts.later, counts.paused, counts.in_lanes, counts.new) == (1, 1, 1, 3, 6)
    assert sorted(row.what for row in read_waiting()) == ["due", "permit", "permit", "permit", "progress"]


def test_a_job_that_waits_for_an_answer_is_found_in_a_lane_too(rules: dict[str, LimitRule]) -> None:
    make_in_lane(rules["service2"], JOB, answer_in=900)
    awaited = read_awaited(connection)
    assert (awaited.by_name, awaited.later) == ({JOB: 1}, 0)


# Metrics -------------------------------------------------------------------------------------------------------------
def test_each_limit_of_the_settings_has_its_gauges(rules: dict[str, LimitRule]) -> None:
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())

    def told(name: str) -> list[float | None]:
        return [registry.get_sample_value(f"tasker_limit_{name}", {"limit": limit}) for limit in rules]

    assert (told("open"), told("waiting"), told("running")) == ([0, 0], [0, 0], [0, 0])
    open_limit(rules["service2"], open_in=30)
    open_limit(rules["service3"], open_in=-1)
    for status in ("new", "new", "inprogress"):
        make_in_lane(rules["service2"], JOB, status)
    assert (told("open"), told("waiting"), told("running")) == ([1, 1], [2, 0], [1, 0])
    value = registry.get_sample_value
    assert value("tasker_jobs", {"status": "new"}) == 2


def test_what_waits_for_a_permit_is_due_but_for_what_only_looks_for_an_answer(rules: dict[str, LimitRule]) -> None:
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    made = database_now() - timedelta(hours=2)
    make_in_lane(rules["service3"], JOB, created_at=made, answer_in=900)
    assert registry.get_sample_value("tasker_oldest_due_job_age_seconds") == 0
    make_in_lane(rules["service2"], JOB, created_at=made)
    assert registry.get_sample_value("tasker_oldest_due_job_age_seconds") == pytest.approx(7200, abs=5)


def test_without_limits_nothing_is_told_of_any() -> None:
    families = {family.name: family.samples for family in DatabaseCollector().collect()}
    assert (families["tasker_limit_open"], families["tasker_limit_waiting"]) == ([], [])
