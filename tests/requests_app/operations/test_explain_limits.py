"""What is said of a limit (since when, why and until when it is open) and of the jobs that need its permits."""

import re
from typing import Any

import pytest

from jobs_app.limit_rules import LimitRule, parse_limits
from jobs_app.models import Job, Limit, PausedJob
from requests_app.formatting import clock_utc
from requests_app.models import Request
from requests_app.monitoring import limits
from requests_app.operations import explain_limits
from requests_app.operations.explain import explain
from tests.factories import make_in_lane, make_job, make_request, open_limit, pass_jobs

pytestmark = pytest.mark.django_db

JOB = "service2_delete_user"
NEVER = " Permits are given by run_jobs, which has never run (is cron set up, or run_worker started?)."
WHY = "5 ends in a row without an answer, the last: service2 DELETE /user/{id}: answered 503"


@pytest.fixture
def rule(settings: Any) -> LimitRule:
    settings.WRK_LIMITS = parse_limits("service2 rate=600/m concurrency=8 breaker=5; service3 rate=10/s")
    return settings.WRK_LIMITS["service2"]  # type: ignore[no-any-return] # as of any setting


def said(job: Job) -> str:
    return explain(Request.objects.get(pk=job.request_id))


def test_a_job_that_needs_a_permit_names_its_limit_and_how_many_wait_before_it(rule: LimitRule) -> None:
    jobs = [make_in_lane(rule, JOB) for _ in range(3)]
    waits = f"{JOB} waits for a permit of the limit service2 (rate=10/s concurrency=8 breaker=5);"
    before = ["none waits before it.", "1 waits before it.", "2 wait before it."]
    assert [said(job) for job in jobs] == [f"{waits} {words}{NEVER}" for words in before]
    pass_jobs(limit=0)
    assert re.search(r"Permits are given by run_jobs, which last succeeded [01] s ago\.$", said(jobs[0]))


def test_of_very_many_before_it_more_than_is_said(rule: LimitRule, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [make_in_lane(rule, JOB) for _ in range(6)]
    for module in (limits, explain_limits):
        monkeypatch.setattr(module, "MOST_BEFORE", 3)
    assert "; 3 wait before it." in said(jobs[3])
    assert "; more than 3 wait before it." in said(jobs[5])


def test_an_open_limit_says_since_when_why_and_until_when(rule: LimitRule) -> None:
    job = make_in_lane(rule, JOB)
    limit = open_limit(rule)
    since, until = clock_utc(limit.opened_at), clock_utc(limit.open_until)
    opened = f"{JOB} waits for a permit: the limit service2 is open since {since}: {WHY}; it is tried again at {until};"
    assert said(job) == f"{opened} none waits before it.{NEVER}"
    open_limit(rule, failures=1)
    assert ": 1 end without an answer, the last: " in said(job)


def test_a_half_open_limit_says_whether_its_probe_runs_and_the_probe_that_it_is_one(rule: LimitRule) -> None:
    job = make_in_lane(rule, JOB)
    limit = open_limit(rule, open_in=-1)
    was = f"the limit service2 is half-open, and was open since {clock_utc(limit.opened_at)}: {WHY};"
    assert f"{JOB} waits for a permit: {was} the next of its jobs to begin is the probe; none" in said(job)
    probe, other = (make_in_lane(rule, JOB, "inprogress") for _ in range(2))
    assert "begin is the probe; none" in said(job)  # what runs began before it opened
    Limit.objects.update(probe=probe.claimed_by)
    assert f"{was} a probe runs; none" in said(job)
    assert said(probe).startswith(f"It runs {JOB} as the probe of the limit service2 since ")
    assert said(other).startswith(f"It runs {JOB} by a permit of the limit service2 since ")


def test_a_retry_that_waits_for_a_permit_says_what_became_of_the_last_attempt(rule: LimitRule) -> None:
    request = make_request("Inprogress", [JOB])
    make_job(request, JOB, "retry", error="answered 503")
    make_job(request, JOB, attempt=2, due_at=rule.lane)
    expected = (
        rf"^{JOB} \(attempt 2\) waits for a permit .*; none waits before it \(attempt 1: answered 503\)\. Permits"
    )
    assert re.search(expected, explain(request))


@pytest.mark.parametrize(
    ("due_in", "says"),
    [(-1, "noop and 1 more is due and waits for run_jobs"), (60, f"{JOB} waits for a permit ")],
    ids=["due", "later"],
)
def test_what_is_due_is_said_before_a_permit_and_a_permit_before_what_is_due_later(
    rule: LimitRule, due_in: float, says: str
) -> None:
    request = make_request("Inprogress", ["noop", JOB])
    make_job(request, due_in=due_in)
    make_job(request, JOB, due_at=rule.lane)
    assert says in explain(request)


@pytest.mark.parametrize(
    ("answer_in", "says"),
    [
        (
            900,
            r"^It waits for the vendor's answer \(.*\) until [^;]*; looks again by a permit: it waits for a permit of ",
        ),
        (
            -5,
            r"^It waited for the vendor's answer .*; the attempt ends by a permit: it waits for a permit of the limit ",
        ),
    ],
    ids=["in time", "past"],
)
def test_a_job_that_waits_for_an_answer_needs_a_permit_to_look_again(
    rule: LimitRule, answer_in: float, says: str
) -> None:
    assert re.search(
        says + ".*none waits before it. Permits are given", said(make_in_lane(rule, JOB, answer_in=answer_in))
    )


def test_a_paused_name_is_said_before_its_limit(rule: LimitRule) -> None:
    PausedJob.objects.pause(JOB, by="ann", reason="")
    assert said(make_in_lane(rule, JOB)).startswith(f"{JOB} is paused since ")


def test_a_lane_of_no_limit_any_more_is_emptied_and_one_that_never_was_is_said(rule: LimitRule, settings: Any) -> None:
    job = make_in_lane(rule, JOB)
    settings.WRK_LIMITS = {}
    assert "of a limit that never was: nothing will move it; look with `manage.py verify`." in said(job)
    Limit.objects.ensure([rule])
    assert "of the limit service2, which WRK_LIMITS, as this process has it, gives no job: where" in said(job)
    pass_jobs(limit=0)
    job.refresh_from_db()
    assert not job.is_in_lane
