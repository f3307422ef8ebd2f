"""Odd ids, filters, forms, cookies and headers, from staff and from strangers: refused or taken, and never a 500."""

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client

from requests_app.models import Request
from tests.factories import make_job, make_request

pytestmark = pytest.mark.django_db(transaction=True)

MODELS = ("requests_app/request", "jobs_app/passrun", "jobs_app/pausedjob", "jobs_app/answer")
IDS = ["9" * 30, "9223372036854775808", "-1", "1.5", "%00", "\u0661", "%F0%9F%98%80", "%ED%A0%80", "_5F", "x" * 5000]
TAILS = ("change/", "history/", "delete/", "personal_data/", "verb/cancel_request/", "verb/x/")
FILTERS = (
    *("q", "p", "o", "e", "all", "id", "id__in", "status", "action", "name", "token", "day", "overdue", "waiting"),
    *("short", "subject", "outcome", "effect", "created_at__gte", "params__x", "jobs__error", "_popup", "_to_field"),
)
TEXTS = ("\0", "x" * 300_000, "\U0001f600", "\x1b[31m", "\u202e")
EXTRAS = ("{" * 900, '{"a": 1e999}', '{"a": ' + "9" * 5000 + "}", "[1]")


@pytest.fixture
def staff() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("ann"))
    return client


@pytest.fixture
def failed() -> Request:
    request = make_request("Failed", ["noop"])
    make_job(request, "noop", "failure")
    return request


PAGES = [f"/admin/{model}/{id_}/{tail}" for model in MODELS for id_ in IDS for tail in TAILS]
LISTS = [f"/admin/{model}/?{name}={value}" for model in MODELS for name in FILTERS for value in IDS[::3]]


def test_no_path_and_no_filter_breaks_a_page(staff: Client) -> None:
    assert [path[:100] for path in PAGES + LISTS if staff.get(path).status_code >= 500] == []
    assert [path[:100] for path in PAGES if staff.post(path, {"reason": "x"}).status_code >= 500] == []


@pytest.mark.sqlite  # without an action the database is asked as by those who get the list
def test_no_filter_breaks_what_is_posted_to_a_list(staff: Client) -> None:
    assert [path[:100] for path in LISTS if staff.post(path, {"reason": "x"}).status_code >= 500] == []


def test_no_form_breaks_a_page(staff: Client, failed: Request) -> None:
    forms: list[tuple[str, dict[str, Any]]] = []
    for verb in ("retry_now", "complete_job", "fail_job"):
        page = f"/admin/requests_app/request/{failed.pk}/verb/{verb}/"
        forms += [(page, {"reason": text, "job": text, "step": "9" * 30}) for text in TEXTS]
        forms += [(page, {"reason": "x", "job": "noop", "step": "0", "extras": extras}) for extras in EXTRAS]
        many = f"/admin/requests_app/request/verb/{verb}/"
        forms += [(many, {"reason": "x", "ids": ids}) for ids in ("9" * 30, "-5", "\0", ",", "\u0661")]
    for name in ("noop", "\0", "x" * 5000, "%F0%9F%98%80", "..", "a b"):
        page = f"/admin/jobs_app/pausedjob/verb/pause_job/{quote(name)}/"
        forms += [(page, {"reason": text}) for text in TEXTS]
    for chosen in ("9" * 30, "\0", "-1", "x", ["1"] * 3):
        asked = {"action": "retry_request", "_selected_action": chosen, "index": "9" * 20}
        forms += [("/admin/requests_app/request/", asked), ("/admin/requests_app/request/", asked | {"index": 0})]
    assert [(path, str(said)[:100]) for path, said in forms if staff.post(path, said).status_code >= 500] == []


@pytest.mark.parametrize("header", ["User-Agent", "Accept", "X-Forwarded-For", "Accept-Language", "Referer", "Cookie"])
def test_no_stranger_breaks_the_login(header: str) -> None:
    client = Client(raise_request_exception=False)
    for value in ("x" * 9000, "\xe9" * 3000, "=;,\x1b"):
        for account in ("x" * 150, "\U0001f600", "\x1b[31m", "\u0130", "x" * 5000):
            form = {"username": account, "password": "p\0" if account == "\u0130" else "p" * 5000}
            answer = client.post("/admin/login/?next=//evil.example", form, headers={header: value})
            assert answer.status_code < 500
    for key in ("x", "\xe9", "'", "a" * 4000, "%00"):
        client.cookies["sessionid"] = key
        assert client.get("/admin/").status_code == 302
