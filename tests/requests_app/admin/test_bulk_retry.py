"""*Retry all of this kind*: from the overview to the list, the question, and all of them taken up, in portions."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from jobs_app.db.dialect import database_now
from jobs_app.models import Job
from requests_app.admin import bulk_retry as page_of_kind
from requests_app.models import Intervention, Request
from requests_app.models.fingerprints import error_kind
from requests_app.operations import bulk_retry as operation
from tests.factories import insert_many, make_job, make_request, seconds_from_now
from tests.requests_app.admin.test_request_actions import REQUESTS, page, shown, staff, told
from tests.requests_app.admin.test_requests import analyze, assert_served_by_an_index, operator, statements

pytestmark = pytest.mark.django_db
__all__ = ["operator"]

ERROR = "fails failed: answered 503"
KIND = error_kind(ERROR)
LISTED, ASK = f"{REQUESTS}?error_kind={KIND}", f"{REQUESTS}kind/{KIND}/retry/"


@pytest.fixture
def ada(db: None) -> Client:
    return staff("view_request", "operate_request")


def failed(error: str = ERROR, **columns: Any) -> Request:
    request = make_request("Failed", ["fails"], error=error, error_kind=error_kind(error), **columns)
    make_job(request, "fails", "failure", error=error.partition(": ")[2])
    return request


def hidden(text: str) -> str:
    (until,) = re.findall(r'name="until" value="([^"]+)"', text)
    return str(until)


def said(text: str) -> dict[str, str]:
    """What the form sends when a reason is added."""
    (pace,) = re.findall(r'name="pace" value="([^"]*)"', text)
    return {"reason": "service 2 is back", "pace": pace, "until": hidden(text)}


def sentence(text: str) -> str:
    (found,) = re.findall(r'tasker-explanation">(.*?)</p>', text, re.DOTALL)
    return " ".join(found.split())


def test_an_error_of_the_overview_leads_to_its_requests_and_they_to_their_retry(ada: Client) -> None:
    selected, other = [failed() for _ in range(2)], failed("fails failed: no answer")
    (link,) = re.findall(r'<a href="([^"]+)"[^>]*>answered 503</a>', shown(ada, "/admin/"))
    assert link == LISTED
    text = shown(ada, link)
    assert [request.token in text for request in (*selected, other)] == [True, True, False]
    assert "Failed alike" in text
    assert ASK in text
    assert ASK in shown(ada, page(selected[0]))


def test_an_error_of_which_no_request_is_failed_leads_to_no_list(ada: Client) -> None:
    request = failed()
    Request.objects.retry_failed(request.token)
    assert "answered 503" in shown(ada, "/admin/")
    assert "error_kind=" not in shown(ada, "/admin/")
    assert "/retry/" not in shown(ada, page(request))


def test_it_asks_first_with_how_many_of_what_and_the_pace(ada: Client) -> None:
    for action in ("made_up", "made_up", "delete_user"):
        failed(action=action)
    text = shown(ada, ASK)
    assert sentence(text).startswith("3 requests (made_up 2, delete_user 1) that failed alike, from 20")
    assert sentence(text).endswith(" UTC: fails failed: answered 503")
    assert said(text)["pace"] == "10/s"
    assert text.index('name="reason"') < text.index('name="pace"') < text.index('value="Retry all"')
    assert not Intervention.objects.exists()


def test_all_are_taken_up_with_the_reason_and_leave_their_traces(ada: Client) -> None:
    requests, other = [failed() for _ in range(3)], failed("fails failed: no answer")
    answer = told(ada, ASK, said(shown(ada, ASK)) | {"pace": "60/h"})
    assert re.fullmatch(r"Done: retry_request of 3 requests; the last is due at 20[\d: -]+ UTC\.", answer)
    due = Job.objects.filter(status="new").order_by("request_id").values_list("due_at", flat=True)
    assert [round(seconds_from_now(moment) / 60) for moment in due] == [0, 1, 2]
    assert set(Request.objects.filter(status="Failed")) == {other}
    assert set(Intervention.objects.values_list("verb", "by", "reason")) == {
        ("retry_request", "ada", "service 2 is back")
    }
    entries = LogEntry.objects.order_by("object_id")
    assert [entry.object_id for entry in entries] == sorted(str(request.pk) for request in requests)
    assert {entry.change_message for entry in entries} == {"retry_request: service 2 is back"}


def test_when_its_time_is_over_it_says_what_is_left_and_goes_on_behind_it(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "BATCH", 2)
    monkeypatch.setattr(page_of_kind, "_MOST_SECONDS", 0)
    for _ in range(5):
        failed()
    text, left = shown(ada, ASK), []
    for _ in range(2):
        response = ada.post(ASK, said(text) | {"pace": "1/m"})
        text = response.content.decode()
        assert 'value="Go on"' in text
        assert "service 2 is back</textarea>" in text
        left += re.findall(r"2 requests taken up, .* Left: (\d) request", sentence(text))
    assert left == ["3", "1"]
    assert told(ada, ASK, said(text)).startswith("Done: retry_request of 1 request; ")
    due = Job.objects.filter(status="new").order_by("request_id").values_list("due_at", flat=True)
    assert [round(seconds_from_now(moment) / 60) for moment in due] == [0, 1, 2, 3, 4]


def test_what_failed_after_the_page_was_asked_for_is_not_meant(ada: Client) -> None:
    first = failed()
    text = shown(ada, ASK)
    Request.objects.filter(pk=failed().pk).update(completed_at=database_now() + timedelta(seconds=5))
    assert "of 1 request;" in told(ada, ASK, said(text))
    assert Request.objects.get(status="Inprogress") == first


@pytest.mark.parametrize("wrong", [{"reason": ""}, {"pace": "fast"}, {"pace": ""}, {"until": "soon"}])
def test_without_a_reason_or_a_pace_nothing_is_done(ada: Client, wrong: dict[str, str]) -> None:
    failed()
    response = ada.post(ASK, said(shown(ada, ASK)) | wrong)
    assert response.status_code == 200
    assert Request.objects.get().status == "Failed"


def test_when_none_is_left_it_says_so(ada: Client) -> None:
    text_of_one = said_of_one(ada)
    assert "Nothing to do" in told(ada, ASK, text_of_one)
    response = ada.get(ASK)
    assert (response.status_code, response["Location"]) == (302, LISTED)


def said_of_one(ada: Client) -> dict[str, str]:
    request = failed()
    found = said(shown(ada, ASK))
    Request.objects.retry_failed(request.token)
    return found


@pytest.mark.parametrize("permissions", [[], ["view_request"], ["operate_request"]])
def test_only_who_may_operate_requests_does(permissions: list[str]) -> None:
    client, request = staff(*permissions), failed()
    until = database_now().isoformat()
    assert client.get(ASK).status_code == 403
    assert client.post(ASK, {"reason": "x", "pace": "10/s", "until": until}).status_code == 403
    if "view_request" in permissions:
        assert ASK not in shown(client, LISTED)
        assert ASK not in shown(client, page(request))
    assert Request.objects.get().status == "Failed"


@pytest.mark.parametrize("kind", ["no/kind", "%22%3E%3Cscript%3E", "ABCDEF01", "%00"])
def test_a_kind_that_can_be_none_lists_nothing(ada: Client, kind: str) -> None:
    failed()
    assert "/retry/" not in shown(ada, f"{REQUESTS}?error_kind={kind}")


@pytest.mark.django_db(transaction=True)
def test_the_list_of_a_kind_is_served_by_its_index(operator: Client) -> None:
    ended = {"action": "made_up", "status": "Failed", "completed_at": database_now()}
    kinds = [{"error": f"fails failed: {letter}", "error_kind": f"{letter * 8}"} for letter in "abcdef"]
    ours = {"error": "", "error_kind": KIND}
    insert_many("requests", [ended | (kinds[number % 6] if number % 50 else ours) for number in range(3000)])
    analyze()
    for query in (f"?error_kind={KIND}", f"?error_kind={KIND}&p=2"):
        for sql in statements(operator, REQUESTS + query):
            if "error_kind" in sql and "WHERE" in sql:
                assert_served_by_an_index(sql, "requests_error_kind")
