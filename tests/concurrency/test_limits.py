"""A limit over many processes, some of which are killed, by the service's own log; and permits that meet.

The long form: `python -m tests.chaos.limited`, by `make test-long`.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from jobs_app.db.columns import UtcNow
from jobs_app.limit_rules import LimitRule
from jobs_app.models import Job, Limit
from jobs_app.models.attempts import JobStatus, Result
from tests.chaos.limited import Plan, run_limited
from tests.concurrency.interleaving import Actor
from tests.database_server import DB_NAMES
from tests.factories import held, make_in_lane

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

RULE = LimitRule("service2", rate=100.0, concurrency=3, breaker=3)
CLAIMS = r"UPDATE jobs .*SET status = 'inprogress'"


@pytest.fixture
def environment() -> dict[str, str]:
    """The test database; the settings are the storm's."""
    return {name: os.environ[name] for name in DB_NAMES} | {"DB_NAME": str(connection.settings_dict["NAME"])}


def test_a_service_sees_no_more_than_its_limit_while_workers_are_killed(environment: dict[str, str], tmp_path: Path):
    report = run_limited(Plan(jobs=500, limit="rate=100/s concurrency=8", kills=4, seed=1), environment, tmp_path)

    assert report.wrong == [], str(report)
    assert report.figures["calls"] >= 500


def test_while_a_service_is_down_only_probes_call_it_and_all_is_done_afterwards(
    environment: dict[str, str], tmp_path: Path
):
    plan = Plan(jobs=200, limit="rate=100/s concurrency=8 breaker=5", outage=4, breaker_seconds=1.5)

    report = run_limited(plan, environment, tmp_path)

    assert report.wrong == [], str(report)
    assert 5 <= report.figures["silent"] <= report.figures["not_completed"]


# Two at once ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def lane(settings: Any) -> None:
    """Five wait."""
    settings.WRK_LIMITS = {"service2": RULE}
    Limit.objects.ensure([RULE])
    for _ in range(5):
        make_in_lane(RULE, "service2_delete_user")


def claim(name: str) -> list[int]:
    return Job.objects.claim_from_lane(RULE, name, 9, 300).ids


def test_who_finds_permits_being_given_gets_none_and_does_not_wait(lane: None):
    with Actor(lambda: claim("one"), stop_before=CLAIMS) as one:
        assert one.stands
        assert claim("another") == []
        assert len(one.go_on()) == 3
    assert claim("another") == []  # three run
    Job.objects.record([Result(held(job), JobStatus.COMPLETED) for job in Job.objects.filter(status="inprogress")[:1]])
    assert len(claim("another")) == 1


def test_a_half_open_breaker_lets_one_through_however_many_ask(lane: None):
    Limit.objects.update(failures=3, openings=1, opened_at=UtcNow(), open_until=UtcNow() - timedelta(seconds=1))
    with Actor(lambda: claim("one"), stop_before=CLAIMS) as one:
        assert one.stands
        with Actor(lambda: claim("two")) as two:
            assert two.go_on() == []
        assert len(one.go_on()) == 1
    assert [claim(name) for name in ("three", "four")] == [[], []]
    assert Limit.objects.get().probe == "one"


def test_a_claim_whose_commit_was_not_answered_uses_its_permits_once(lane: None):
    """By what it reads back; see `PermitClaimer._claim`."""
    with Actor(lambda: claim("one"), lose_answers=1) as one, pytest.raises(Exception, match=r"."):
        one.go_on()
    [before] = Limit.objects.values_list("next_at", flat=True)
    assert len(Job.objects.won_by("one")) == 3
    assert claim("again") == []
    assert [*Limit.objects.values_list("next_at", flat=True)] == [before]


def test_ends_that_another_session_makes_uncountable_hold_up_nobody(lane: None, settings: Any):
    """Somebody's client has locked the limit's row."""
    ended = [Result(held(job), JobStatus.RETRY, is_unavailable=True, ran_microseconds=9) for job in Job.objects.all()]
    with Actor(lambda: claim("one"), stop_before=CLAIMS) as one:
        assert one.stands
        Limit.objects.count_ends(ended)
        assert Limit.objects.get().failures == 0
        one.go_on()
