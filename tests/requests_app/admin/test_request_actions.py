"""The verbs in the admin: who may, what is asked, what is done and written down, and what a refusal says."""

import html
import re
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from jobs_app.db.transactions import DatabaseAway
from jobs_app.models import Job, JobIntervention, PausedJob
from requests_app.admin.request_actions import VERBS
from requests_app.models import Intervention, Request
from tests.factories import make_job, make_request, make_waiting, statuses

pytestmark = pytest.mark.django_db

REQUESTS, PAUSES = "/admin/requests_app/request/", "/admin/jobs_app/pausedjob/"


def staff(*permissions: str, **options: Any) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(**options)
    client.force_login(user)
    return client


@pytest.fixture
def ada(db: None) -> Client:
    return staff("view_request", "operate_request", "view_pausedjob", "operate_job")


def failed(*names: str) -> Request:
    request = make_request("Failed", names or ("fails", "noop"))
    make_job(request, (names or ("fails",))[0], "failure")
    if not names:
        make_job(request, "noop", "completed")
    return request


def waiting() -> Request:
    request = make_request("Inprogress", ["retries"])
    make_job(request, "retries", "new", due_in=3600)
    return request


def page(request: Request) -> str:
    return f"{REQUESTS}{request.pk}/change/"


def ask(request: Request, verb: str) -> str:
    return f"{REQUESTS}{request.pk}/verb/{verb}/"


def shown(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return html.unescape(str(response.content.decode()))


def told(client: Client, path: str, said: dict[str, Any]) -> str:
    """What the next page says after this POST."""
    response = client.post(path, said)
    assert response.status_code == 302, response.content.decode()
    text = shown(client, response["Location"])
    return " ".join(re.findall(r'<li class="(?:success|warning|error|info)">(.*?)</li>', text, re.DOTALL))


def buttons(client: Client, request: Request) -> list[str]:
    return re.findall(r"/verb/(\w+)/", shown(client, page(request)))


def test_what_was_refused_is_in_no_cookie(ada: Client) -> None:
    request = make_request("Failed", ["fails"], error="answered 401: Bearer hunter2")
    response = ada.post(ask(request, "retry_now"), {"reason": "x"})
    assert "hunter2" not in str(response.cookies)
    assert "messages" not in response.cookies
    assert "Refused: " in shown(ada, response["Location"])


# One request ---------------------------------------------------------------------------------------------------------
def test_a_page_offers_the_verbs_that_its_state_allows(ada: Client) -> None:
    running = make_request("Inprogress", ["noop"])
    make_job(running, "noop", "inprogress")
    assert buttons(ada, make_request("Queuing")) == ["cancel_request"]
    assert buttons(ada, waiting()) == ["retry_now", "complete_job", "fail_job", "cancel_request"]
    assert buttons(ada, running) == ["cancel_request"]
    assert buttons(ada, failed()) == ["retry_request", "complete_job"]
    assert buttons(ada, make_request("Failed")) == ["retry_request"]  # it was refused
    assert buttons(ada, make_request("Completed")) == buttons(ada, make_request("Cancelled")) == []


def test_a_verb_is_done_with_its_reason_and_leaves_its_traces(ada: Client) -> None:
    request = failed()
    assert "fresh budget of attempts" in shown(ada, ask(request, "retry_request"))
    said = told(ada, ask(request, "retry_request"), {"reason": "service 2 is mended"})
    assert said == f"Done: {request} is taken up again."
    assert statuses(request)["fails", 2] == "new"
    trace, entry = Intervention.objects.get(), LogEntry.objects.get()
    assert (trace.verb, trace.by, trace.reason) == ("retry_request", "ada", "service 2 is mended")
    assert (entry.user.username, entry.object_id) == ("ada", str(request.pk))
    assert entry.change_message == "retry_request: service 2 is mended"
    assert re.search(r"<td>retry_request</td><td></td><td>ada</td>.*service 2 is mended", shown(ada, page(request)))


@pytest.mark.parametrize(
    ("verb", "make", "status"),
    [("retry_now", waiting, "Inprogress"), ("cancel_request", waiting, "Cancelled")],
)
def test_the_other_verbs_do_what_they_say(ada: Client, verb: str, make: Any, status: str) -> None:
    request = make()
    assert str(request) in told(ada, ask(request, verb), {"reason": "x"})
    request.refresh_from_db()
    assert request.status == status
    assert Intervention.objects.get().verb == verb


def test_a_job_is_completed_with_what_it_would_have_returned(ada: Client) -> None:
    request = failed("fails")
    make_job(request, "a_sibling", "cancelled")
    form = shown(ada, ask(request, "complete_job"))
    assert re.findall(r'<option value="(\w+)"', form) == ["fails", "a_sibling"]
    said = {"reason": "done by phone", "job": "fails", "extras": '{"email": "ann@example.org"}', "step": 0}
    assert "goes on without that job" in told(ada, ask(request, "complete_job"), said)
    request.refresh_from_db()
    assert (request.status, request.extras) == ("Inprogress", {"email": "ann@example.org"})
    assert Intervention.objects.get().job == "fails"
    assert LogEntry.objects.get().change_message == "complete_job fails: done by phone"  # extras may be personal data


def test_an_approval_is_refused_by_failing_its_job(ada: Client) -> None:
    request = make_request("Inprogress", ["approve", "noop", "runs"])
    make_waiting(request, "approve")
    make_job(request, "noop", "completed")
    make_job(request, "runs", "inprogress")
    form = shown(ada, ask(request, "fail_job"))
    assert re.findall(r'<option value="(\w+)"', form) == ["approve"]
    said = {"reason": "not by Ann's manager", "job": "approve", "step": 0}
    assert told(ada, ask(request, "fail_job"), said) == f"Done: {request} takes that job as failed."
    assert statuses(request)["approve", 2] == "failure"
    assert (Intervention.objects.get().verb, Intervention.objects.get().job) == ("fail_job", "approve")
    assert LogEntry.objects.get().change_message == "fail_job approve: not by Ann's manager"
    assert "Refused: fail_job is not possible now" in told(ada, ask(request, "fail_job"), {})


def test_retry_now_says_that_a_job_which_waits_for_an_answer_looks_again_now(ada: Client) -> None:
    request = make_request("Inprogress", ["noop"])
    make_waiting(request)
    assert "one that waits for an answer looks again now" in shown(ada, ask(request, "retry_now"))


@pytest.mark.parametrize("extras", ["{", "[1]", '"x"', "NaN", "[" * 5000, '{"x": "' + "y" * 70_000 + '"}'])
def test_extras_that_no_job_may_return_are_asked_for_again(ada: Client, extras: str) -> None:
    request = failed("fails")
    response = ada.post(ask(request, "complete_job"), {"reason": "r", "job": "fails", "extras": extras, "step": 0})
    assert response.status_code == 200
    assert "This is not " in response.content.decode()
    assert statuses(request) == {("fails", 1): "failure"}


@pytest.mark.parametrize("said", [{}, {"reason": "  "}, {"reason": "x" * 1001}, {"reason": "a\0b"}])
def test_without_a_reason_nothing_is_done(ada: Client, said: dict[str, str]) -> None:
    request = failed()
    assert ada.post(ask(request, "retry_request"), said).status_code == 200
    assert not Intervention.objects.exists()


def test_a_verb_whose_request_moved_meanwhile_is_refused_with_a_sentence(ada: Client) -> None:
    request = failed()
    assert ada.get(ask(request, "retry_request")).status_code == 200
    Request.objects.retry_failed(request.token)
    said = told(ada, ask(request, "retry_request"), {"reason": "x"})
    assert said.startswith(
        "Refused: retry_request: only a Failed request can be retried; this one is Inprogress. fails"
    )
    assert told(ada, ask(request, "retry_request"), {}).startswith("Refused: retry_request is not possible now. fails")
    assert ada.get(ask(request, "retry_request")).status_code == 302
    assert not Intervention.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_job_of_the_same_name_in_the_next_step_is_not_completed_by_an_old_page(ada: Client) -> None:
    request = make_request("Failed", ["fails"], ["fails"], step=1)
    make_job(request, "fails", "failure")
    said = {"reason": "x", "job": "fails", "step": 0}
    assert "only a job of the current step" in told(ada, ask(request, "complete_job"), said)
    assert statuses(request) == {("fails", 1): "failure"}


def test_what_people_write_is_escaped(ada: Client) -> None:
    request = make_request("Queuing")
    told(ada, ask(request, "cancel_request"), {"reason": "<script>alert(1)</script>"})
    assert b"<script>alert" not in ada.get(page(request)).content


# Who may -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("permissions", [[], ["view_request"], ["operate_request"]])
def test_only_who_may_operate_requests_does(permissions: list[str]) -> None:
    client, request = staff(*permissions), failed()
    for path in (ask(request, "retry_request"), f"{REQUESTS}verb/retry_request/"):
        assert client.post(path, {"reason": "x", "ids": str(request.pk)}).status_code == 403
    assert client.get(ask(request, "retry_request")).status_code == 403
    if "view_request" in permissions:
        assert buttons(client, request) == []
        assert 'name="action"' not in shown(client, REQUESTS)
    assert Request.objects.get().status == "Failed"


def test_a_post_from_elsewhere_is_refused() -> None:
    client, request = staff("view_request", "operate_request", enforce_csrf_checks=True), failed()
    assert client.post(ask(request, "retry_request"), {"reason": "x"}).status_code == 403
    assert Request.objects.get().status == "Failed"


@pytest.mark.parametrize("path", ["{}/verb/explode/", "999/verb/retry_request/", "verb/complete_job/", "x/verb/y/"])
def test_what_is_not_there_is_not_found(ada: Client, path: str) -> None:
    request = failed()
    assert ada.post(REQUESTS + path.format(request.pk), {"reason": "x"}).status_code == 404


# Many ----------------------------------------------------------------------------------------------------------------
def choose(client: Client, verb: str, requests: list[Request], **more: Any) -> str:
    chosen = {"action": verb, "_selected_action": [request.pk for request in requests], "index": 0} | more
    response = client.post(REQUESTS, chosen)
    assert response.status_code == 200
    return html.unescape(str(response.content.decode()))


def ids(text: str) -> str:
    (found,) = re.findall(r'name="ids" value="([\d,]*)"', text)
    return str(found)


def test_many_are_retried_one_by_one_and_the_refused_are_told(ada: Client) -> None:
    good, bad = [failed() for _ in range(3)], [make_request("Completed") for _ in range(4)]
    asked = choose(ada, "retry_request", [*good, *bad])
    assert "Retry 7 requests" in asked
    said = told(ada, f"{REQUESTS}verb/retry_request/", {"ids": ids(asked), "reason": "mended"})
    assert said.startswith("Done: retry_request of 3 requests. Refused: 4. ")
    assert f"{bad[0].token}: retry_request: only a Failed request" in said
    assert said.endswith("And 1 more.")
    assert Intervention.objects.filter(reason="mended", by="ada").count() == LogEntry.objects.count() == 3


@pytest.mark.parametrize("chosen", ["x", "\0", "9" * 30, "-1", ""])
def test_what_is_no_row_cannot_be_chosen(ada: Client, chosen: str) -> None:
    response = ada.post(REQUESTS, {"action": "retry_request", "_selected_action": chosen, "index": 0})
    assert response.status_code == 302
    assert "These are no ids." in shown(ada, response["Location"])


def test_of_many_none_is_tried_any_more_once_the_database_is_away(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(token: str, **_: Any) -> None:
        tried.append(token)
        raise DatabaseAway("the database cannot be used: gone")

    tried: list[str] = []
    monkeypatch.setitem(VERBS, "retry_request", replace(VERBS["retry_request"], act=act))
    asked = choose(ada, "retry_request", [failed() for _ in range(3)])
    said = told(ada, f"{REQUESTS}verb/retry_request/", {"ids": ids(asked), "reason": "mended"})
    assert len(tried) == 1
    assert said.startswith("Done: retry_request of 0 requests. Refused: 1. ")
    assert "those after it were not tried: the database cannot be used" in said


def test_of_very_many_the_first_are_taken(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests_app.admin.request_actions.MOST_AT_ONCE", 2)
    requests = [make_request("Queuing") for _ in range(3)]
    asked = choose(ada, "cancel_request", requests[:1], select_across=1)
    assert "Only the first 2" in asked
    assert ids(asked) == ",".join(str(request.pk) for request in requests[:2])


def test_many_without_a_reason_are_asked_again_and_nonsense_leads_back(ada: Client) -> None:
    request = waiting()
    again = ada.post(f"{REQUESTS}verb/retry_now/", {"ids": str(request.pk)})
    assert again.status_code == 200
    assert ids(again.content.decode()) == str(request.pk)
    for nonsense in ("", "x", "1,,2", "-1", "9" * 30, ",".join("1" * 501)):
        assert ada.post(f"{REQUESTS}verb/retry_now/", {"ids": nonsense, "reason": "x"}).status_code == 302
    assert not Intervention.objects.exists()


# Pauses --------------------------------------------------------------------------------------------------------------
def rows(client: Client) -> dict[str, str]:
    """By job name, the label of its button."""
    return dict(re.findall(r'<th scope="row">(\w+).*?aria-label="(\w+) ', shown(client, PAUSES), re.DOTALL))


def test_a_job_name_is_paused_and_resumed_on_its_page(ada: Client) -> None:
    assert rows(ada)["noop"] == "Pause"
    asked = shown(ada, f"{PAUSES}verb/pause_job/noop/")
    assert "wait from now on, in all requests" in asked
    assert told(ada, f"{PAUSES}verb/pause_job/noop/", {"reason": "moved"}) == "Done: noop is paused."
    assert PausedJob.objects.get().by == "ada"
    assert next(iter(rows(ada).items())) == ("noop", "Resume")
    assert told(ada, f"{PAUSES}verb/pause_job/noop/", {"reason": "again"}) == "Nothing to do: noop was paused already."
    assert told(ada, f"{PAUSES}verb/resume_job/noop/", {"reason": "back"}) == "Done: noop is resumed."
    assert rows(ada)["noop"] == "Pause"
    assert list(JobIntervention.objects.order_by("id").values_list("verb", "reason")) == [
        ("pause_job", "moved"),
        ("resume_job", "back"),
    ]
    assert LogEntry.objects.count() == 2
    assert ada.get(f"{PAUSES}noop/change/").status_code == 302


def test_a_name_that_nobody_knows_is_refused_with_a_sentence_and_one_of_another_release_is_shown(ada: Client) -> None:
    assert 'no job is registered as "nobody"' in told(ada, f"{PAUSES}verb/pause_job/nobody/", {"reason": "x"})
    PausedJob.objects.create(name="of_tomorrow", by="bob")
    assert rows(ada)["of_tomorrow"] == "Resume"
    assert "not in this release" in shown(ada, PAUSES)


def test_only_who_may_operate_jobs_pauses_them() -> None:
    client = staff("view_pausedjob", "operate_request")
    assert "Pause</a>" not in shown(client, PAUSES)
    assert client.post(f"{PAUSES}verb/pause_job/noop/", {"reason": "x"}).status_code == 403
    assert client.get(f"{PAUSES}verb/pause_job/noop/").status_code == 403
    assert not PausedJob.objects.exists()


def test_who_may_not_see_pauses_does_not(db: None) -> None:
    assert staff("view_request").get(PAUSES).status_code == 403


def test_jobs_of_a_paused_name_are_shown_as_paused(ada: Client) -> None:
    request = make_request("Inprogress", ["noop"])
    make_job(request, "noop", "new")
    told(ada, f"{PAUSES}verb/pause_job/noop/", {"reason": "moved"})
    assert Job.objects.get().is_parked
    text = shown(ada, page(request))
    assert "noop is paused since" in text
    assert re.search(r"<td[^>]*>\s*paused\s*</td>", text)
    assert "noop, attempt 1: new\npaused" in text
    assert not re.search(r"\b9\d\d\d-\d\d-\d\d ", text)
