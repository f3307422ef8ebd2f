"""Each verb and each look at personal data is one log event with account and address. Logins: test_logins.py."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from jobs_app.management.operator_command import account
from jobs_app.models import Answer
from requests_app.models import Request
from tests.conftest import Manage, called_here
from tests.factories import make_job, make_request

pytestmark = pytest.mark.django_db(transaction=True)

REQUESTS = "/admin/requests_app/request/"
WHO = {"account": "ann", "address": "192.0.2.7"}
HERE = {"account": account(), "address": ""}


@pytest.fixture
def browser(settings: Any) -> Client:
    settings.BEHIND_TLS_PROXY = True
    client = Client(headers={"X-Forwarded-For": "198.51.100.1, 192.0.2.7"})
    client.force_login(User.objects.create_superuser("ann"))
    return client


@pytest.fixture
def told() -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    with capture_logs(processors=(merge_contextvars,)) as events:
        yield lambda name: [dict(event) for event in events if event["event"] == name]


def waiting() -> Request:
    request = make_request("Inprogress", ["noop"])
    make_job(request, "noop", "new", due_in=3600)
    return request


def test_a_look_at_a_requests_values_is_told(browser: Client, told: Any) -> None:
    request = make_request("Queuing")
    assert browser.get(f"{REQUESTS}{request.pk}/change/").status_code == 200
    assert told("personal_data_shown") == []  # they are masked
    browser.post(f"{REQUESTS}{request.pk}/personal_data/")
    (event,) = told("personal_data_shown")
    assert event == WHO | {
        "event": "personal_data_shown",
        "token": request.token,
        "action": "other",
        "log_level": "info",
    }


def test_a_look_at_an_answers_values_is_told(browser: Client, told: Any) -> None:
    answer = Answer.objects.create(token="t-1", step=0, job="noop", outcome="completed")
    browser.post(f"/admin/jobs_app/answer/{answer.pk}/personal_data/")
    (event,) = told("personal_data_shown")
    assert event == WHO | {
        "event": "personal_data_shown", "token": "t-1", "step": 0, "job": "noop", "log_level": "info"
    }  # fmt: skip


def test_a_look_from_the_command_line_is_told(told: Any) -> None:
    request = make_request("Queuing")
    called_here("show_request", request.token)
    assert told("personal_data_shown") == []
    called_here("show_request", request.token, "--json")
    (event,) = told("personal_data_shown")
    assert event.items() >= (HERE | {"token": request.token}).items()


def test_a_verb_in_the_admin_is_told_also_one_of_many(browser: Client, told: Any) -> None:
    first, *more = waiting(), waiting(), waiting()
    browser.post(f"{REQUESTS}{first.pk}/verb/cancel_request/", {"reason": "x"})
    browser.post(f"{REQUESTS}verb/cancel_request/", {"reason": "x", "ids": ",".join(str(row.pk) for row in more)})
    events = told("cancel_request")
    assert [event["token"] for event in events] == [row.token for row in (first, *more)]
    assert all(event.items() >= (WHO | {"by": "ann"}).items() for event in events)


@pytest.mark.parametrize("verb", ["pause_job", "resume_job"])
def test_a_pause_and_a_resume_are_told(verb: str, browser: Client, told: Any) -> None:
    browser.post("/admin/jobs_app/pausedjob/verb/pause_job/noop/", {"reason": "x"})
    browser.post("/admin/jobs_app/pausedjob/verb/resume_job/noop/", {"reason": "x"})
    (event,) = told(verb)
    assert event == WHO | {"event": verb, "job": "noop", "by": "ann", "log_level": "info"}


def test_verbs_of_the_command_line_are_told_with_the_account_that_nobody_can_choose(told: Any) -> None:
    request = waiting()
    called_here("cancel_request", request.token, "--reason", "x", "--by", "the.ceo")
    called_here("pause_job", "noop", "--reason", "x", "--by", "the.ceo")
    for verb in ("cancel_request", "pause_job"):
        (event,) = told(verb)
        assert event.items() >= (HERE | {"by": f"{account()} for the.ceo"}).items()


def test_what_was_refused_is_not_told_as_done(browser: Client, told: Any) -> None:
    request = make_request("Completed")
    browser.post(f"{REQUESTS}{request.pk}/verb/cancel_request/", {"reason": "x"})
    called_here("cancel_request", request.token, "--reason", "x")
    assert told("cancel_request") == []


def test_in_the_log_of_a_process_they_are_there_and_standard_output_is_the_result_alone(manage: Manage) -> None:
    request = make_request("Queuing")
    ran = manage("show_request", request.token, "--json", WRK_LOG_FORMAT="json", WRK_LOG_LEVEL="INFO")
    assert json.loads(ran.stdout)["token"] == request.token
    (event,) = [json.loads(line) for line in ran.stderr.splitlines()]
    assert event.items() >= (HERE | {"event": "personal_data_shown", "token": request.token}).items()
