"""`verify` of limits: what waits in a lane that nobody looks at is found, and what a healthy system shows is not."""

from typing import Any

import pytest

from jobs_app.limit_rules import LimitRule, parse_limits
from jobs_app.models import Job, Limit
from jobs_app.outcomes import JobContext, Unavailable
from requests_app.operations.explain import explain
from requests_app.operations.verify import ReadCount, findings
from tests.factories import make_in_lane, make_job, make_request, open_limit, pass_jobs
from tests.jobs_app.conftest import register as register

pytestmark = pytest.mark.django_db(transaction=True)

JOB = "service2_delete_user"


@pytest.fixture
def rule(settings: Any) -> LimitRule:
    settings.WRK_LIMITS = parse_limits("service2 rate=600/m breaker=5")
    return settings.WRK_LIMITS["service2"]  # type: ignore[no-any-return] # as of any setting


def found() -> list[str]:
    return [str(finding) for finding in findings(ReadCount())]


def test_what_waits_for_a_permit_or_runs_by_one_is_no_finding(rule: LimitRule) -> None:
    waits = make_in_lane(rule, JOB)
    for status in ("inprogress", "completed"):
        make_in_lane(rule, JOB, status, created_at=waits.created_at)
    assert [line for line in found() if "permit" in line or "due" in line or "parked" in line] == []


def test_before_a_worker_has_made_its_row_and_after_its_limit_is_none_a_lane_is_looked_at(
    rule: LimitRule, settings: Any
) -> None:
    make_in_lane(rule, JOB)
    assert (Limit.objects.count(), found()) == (0, [])
    Limit.objects.ensure([rule])
    settings.WRK_LIMITS = {}
    assert found() == []


def test_a_lane_of_a_limit_that_never_was_is_found(rule: LimitRule, settings: Any) -> None:
    job = make_in_lane(LimitRule("forgotten"), JOB)
    Limit.objects.ensure([rule])
    line = f"request {job.request.token} step 0 job {JOB} attempt 1: it waits for a permit of a limit that never was"
    assert found() == [line]
    settings.WRK_LIMITS = {}
    assert found() == [line]


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"open_until": None, "openings": 0, "reason": ""}, "it is closed and its opened_at is set"),
        ({"open_until": None, "opened_at": None, "reason": ""}, "it is closed and its openings is set"),
        ({"open_until": None, "opened_at": None, "openings": 0}, "it is closed and its reason is set"),
        ({"opened_at": None}, "it is open and its opened_at is not set"),
        ({"reason": ""}, "it is open and its reason is not set"),
        (
            {"open_until": None, "opened_at": None, "openings": 0, "reason": "", "probe": "a claim"},
            "it is closed and has a probe",
        ),
        ({"failures": -1}, "its failures are -1"),
        ({"lane": LimitRule("another").lane}, "its lane is not the one of its name: its jobs wait in another"),
    ],
)
def test_columns_of_a_limit_that_do_not_fit_are_found(rule: LimitRule, columns: dict[str, Any], what: str) -> None:
    open_limit(rule)
    assert found() == []
    Limit.objects.update(**columns)
    assert found() == [f"limit service2: {what}"]


def test_a_breaker_that_opens_and_closes_leaves_nothing_to_find(register: Any, settings: Any) -> None:
    answers: list[Exception | None] = [Unavailable("service2: answered 503")]

    def callback(_: JobContext) -> None:
        if answers[0]:
            raise answers[0]

    register("limited", callback, limit="service2", backoff=0)
    settings.WRK_LIMITS = parse_limits("service2 concurrency=1 breaker=2")
    for _ in range(4):
        make_job(make_request("Inprogress", ["limited"]), "limited")
    assert pass_jobs(concurrency=1)["retry"] == 2
    assert found() == []
    waits = Job.objects.filter(status="new").earliest("id")
    assert waits.is_in_lane
    assert "2 ends in a row without an answer, the last: service2: answered 503; it is tried" in explain(waits.request)
    answers[0] = None
    Limit.objects.update(open_until=waits.created_at)
    assert pass_jobs()["completed"] == 4
    assert found() == []
