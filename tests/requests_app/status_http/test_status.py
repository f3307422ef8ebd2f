"""GET /requests/TOKEN: what a caller is told, which nobody else is, and that it is as docs/openapi.yaml says."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from django.db import OperationalError, connection
from django.test import Client
from openapi_spec_validator import OpenAPIV31SpecValidator
from structlog.testing import capture_logs

from jobs_app.db.dialect import database_now
from requests_app.callers import is_named
from requests_app.models import Request, StatusBearer
from requests_app.status_http.polls import ENVIRON, MOST_WAIT_SECONDS, LongPoll
from tests.factories import insert_raw, make_job, make_request, make_waiting
from tests.lifecycle.statements import listening
from tests.requests_app.status_http.openapi import SPEC, demand_as_described

pytestmark = pytest.mark.django_db

SHOP = "shop@10.0.0.%"
Ask = Callable[..., Any]


def bearer_of(caller: str, lifetime: timedelta | None = None) -> str:
    return StatusBearer.objects.issue(caller, lifetime, "a test")[1]


@pytest.fixture
def ask(settings: Any) -> Ask:
    """`ask(token)`, as the shop, where nothing else answers over plain HTTP or to this host; `bearer`: as somebody."""
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["tasker.example"], True
    web = Client(headers={"host": "10.1.2.3"})
    of_shop = bearer_of("shop")

    def get(token: str, *, bearer: str | None = of_shop, method: str = "get", query: str = "", **extra: Any) -> Any:
        headers = {"authorization": f"Bearer {bearer}"} if bearer is not None else {}
        response = getattr(web, method)(f"/requests/{quote(token, safe='')}{query}", headers=headers, **extra)
        if method in {"get", "head"}:
            demand_as_described(response, method)
        assert (response["Cache-Control"], len(response.cookies)) == ("no-store", 0)
        return response

    return get


def placed(*args: Any, **columns: Any) -> Request:
    return make_request(*args, **{"placed_by": SHOP, "token": "order-1"} | columns)


def rfc3339(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None


# What is told ---------------------------------------------------------------------------------------------------------
def test_the_description_is_openapi() -> None:
    OpenAPIV31SpecValidator(SPEC).validate()


def test_one_that_waits_for_its_pick_up(ask: Ask) -> None:
    request = placed("Queuing", deadline_at=database_now() + timedelta(days=30), steps=[{"made": "up"}] * 3)
    assert ask("order-1").json() == {
        "token": "order-1",
        "action": "made_up",
        "status": "Queuing",
        "step": 0,
        "steps": None,
        "waiting_until": None,
        "shortfall": 0,
        "error_kind": None,
        "created_at": rfc3339(request.created_at),
        "started_at": None,
        "ended_at": None,
        "deadline_at": rfc3339(request.deadline_at),
    }


def test_one_in_progress_says_where_it_is_and_until_when_it_waits(ask: Ask) -> None:
    request = placed("Inprogress", ["a"], ["b", "c", "d"], ["e"], step=1, shortfall=2)
    make_job(request, "d")
    make_waiting(Request(pk=request.pk, step=0), "a", within=9000)  # over
    make_waiting(request, "b", within=60)
    latest = make_waiting(request, "c", within=3600)
    told = ask("order-1").json()
    said = (told["status"], told["step"], told["steps"], told["shortfall"], told["waiting_until"])
    assert said == ("Inprogress", 1, 3, 2, rfc3339(latest.answer_by))


@pytest.mark.parametrize("status", ["Completed", "Failed", "Cancelled"])
def test_one_that_has_ended(ask: Ask, status: str) -> None:
    request = placed(status, error_kind="0123abcd" if status == "Failed" else "")
    told = ask("order-1").json()
    assert (told["status"], told["ended_at"]) == (status, rfc3339(request.completed_at))
    assert told["error_kind"] == ("0123abcd" if status == "Failed" else None)


def test_nothing_that_is_personal_is_told(ask: Ask) -> None:
    planted = {"params": {"a": "planted"}, "extras": {"a": "planted"}, "subject": "planted", "error": "planted"}
    request = placed("Failed", ["planted"], **planted, notify="planted")
    make_job(request, "planted", "failure", error="planted", answer="planted")
    response = ask("order-1", query="?wait=3")
    assert "planted" not in response.content.decode() + str(response.headers)


def test_steps_that_nobody_can_read_are_not_counted(ask: Ask) -> None:
    placed("Failed", steps={"a": 1}, started_at=None)
    assert ask("order-1").json()["steps"] is None


ODD = [
    "a/b/../c",
    "/",
    "//",
    "50%",
    "%41",
    "%2F",
    " lead",
    "two words",
    "a?wait=5&b#c",
    "a+b;c=d",
    "\u00fc\u4e16\U0001f600",
    "line\nbreak\r\n",
    "quote'\"\\",
    "-",
    "x" * 64,
    "\U0001f600" * 64,
]


@pytest.mark.parametrize("token", ODD)
def test_a_token_may_hold_anything(ask: Ask, token: str) -> None:
    placed(token=token)
    placed(token="A", status="Completed")
    assert ask(token).json()["token"] == token


@pytest.mark.parametrize("token", ["a", "A ", "", "x" * 65, "x" * 5000, "\0", "A\0", "%", "A/"])
def test_no_other_token_is_taken_for_it(ask: Ask, token: str) -> None:
    placed(token="A")
    assert ask(token).status_code == 404


def test_a_path_that_is_no_utf8_is_missing(ask: Ask) -> None:
    placed(token="A")
    response = Client().get("/requests/%ff%fe", headers={"authorization": f"Bearer {bearer_of('shop')}"})
    assert response.status_code == 404


# Who is told ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("caller", "account", "sees"),
    [
        ("shop", "shop@10.0.0.%", True),
        ("shop", "shop@localhost", True),
        ("shop@10.0.0.%", "shop@10.0.0.%", True),
        ("shop@10.0.0.%", "shop@10.0.0.1", False),
        ("shop@%", "shop@localhost", False),
        ("shop", "shop2@%", False),
        ("sho", "shop@%", False),
        ("Shop", "shop@%", False),
        ("shop", "shop@evil@%", False),
        ("shop@evil", "shop@evil@%", False),
        ("shop@evil@%", "shop@evil@%", True),
        ("shop", "", False),
        ("shop", "shop", True),
        ("", "shop@%", False),
        ("", "", True),
        ("%", "shop@%", False),
    ],
)
def test_a_bearer_sees_what_its_caller_placed(ask: Ask, caller: str, account: str, sees: bool) -> None:
    assert is_named(caller, account) == sees
    placed(placed_by=account)
    assert ask("order-1", bearer=bearer_of(caller)).status_code == (200 if sees else 404)


def test_somebody_elses_is_answered_as_one_that_is_missing(ask: Ask, django_assert_num_queries: Any) -> None:
    placed("Inprogress", placed_by="crm@%")
    with django_assert_num_queries(2):
        of_another = ask("order-1", query="?wait=5")
    with django_assert_num_queries(2):
        missing = ask("order-2", query="?wait=5")
    assert (of_another.status_code, of_another.content) == (404, missing.content)
    assert of_another.headers == missing.headers


def test_without_a_bearer_nobody_is_told_and_nobody_is_asked(ask: Ask, django_assert_num_queries: Any) -> None:
    placed()
    wrong = [
        "",
        "x",
        "tasker_",
        *("tasker_" + letter * count for letter, count in [("x", 42), ("x", 44), ("\u0664", 43)]),
    ]
    with django_assert_num_queries(0):
        for bearer in (None, *wrong):
            assert ask("order-1", bearer=bearer).status_code == 401
    response = ask("order-1", bearer=None)
    assert response["WWW-Authenticate"] == 'Bearer realm="requests"'


@pytest.mark.parametrize("header", ["Basic c2hvcDpwYXNz", "Bearer", "Token {}", "{}", "Bearer {} {}", "Bearer,{}"])
def test_another_kind_of_authorization_is_none(ask: Ask, header: str) -> None:
    placed()
    bearer = bearer_of("shop")
    response = Client().get("/requests/order-1", headers={"authorization": header.format(bearer, bearer)})
    assert response.status_code == 401


def test_the_schemes_case_does_not_matter(ask: Ask) -> None:
    placed()
    response = Client().get("/requests/order-1", headers={"authorization": f"bEARER   {bearer_of('shop')} "})
    assert response.status_code == 200


def test_one_that_is_unknown_revoked_or_expired_sees_nothing(ask: Ask) -> None:
    placed()
    rows = [StatusBearer.objects.issue("shop", timedelta(hours=1), "a test") for _ in range(3)]
    for row, secret in rows:
        assert ask("order-1", bearer=secret).status_code == 200
        assert abs((row.expires_at or database_now()) - database_now() - timedelta(hours=1)) < timedelta(minutes=1)
    assert StatusBearer.objects.revoke(rows[0][0].pk)
    assert not StatusBearer.objects.revoke(rows[0][0].pk)
    StatusBearer.objects.filter(pk=rows[1][0].pk).update(expires_at=database_now() - timedelta(seconds=1))
    StatusBearer.objects.filter(pk=rows[2][0].pk).delete()
    refused = [ask("order-1", bearer=secret) for _, secret in rows]
    assert {response.status_code for response in refused} == {401}
    assert {response["WWW-Authenticate"] for response in refused} == {'Bearer realm="requests", error="invalid_token"'}


def test_only_the_hash_of_a_bearer_is_kept(ask: Ask) -> None:
    secret = bearer_of("shop")
    assert re.fullmatch(r"tasker_[A-Za-z0-9_-]{43}", secret)
    kept = [str(value) for row in StatusBearer.objects.values_list() for value in row]
    assert not [value for value in kept if secret[7:] in value]
    assert len({bearer_of("shop") for _ in range(20)}) == 20


def test_each_try_with_a_wrong_one_is_one_event_without_it(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    with capture_logs() as events:
        ask("order-1", bearer=f"tasker_{'x' * 43}", REMOTE_ADDR="192.0.2.7")
        ask("order-1", bearer=None, REMOTE_ADDR="192.0.2.8")
    told = [{"event": "status_refused", "log_level": "warning", "address": f"192.0.2.{last}"} for last in (7, 8)]
    assert events == told
    assert caplog.records == []


# How it is asked ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_nothing_can_be_changed(ask: Ask, method: str) -> None:
    placed()
    response = ask("order-1", method=method)
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


def test_a_head_is_the_same_without_a_body(ask: Ask) -> None:
    placed()
    head, get = ask("order-1", method="head"), ask("order-1")
    assert (head["ETag"], head["Content-Length"]) == (get["ETag"], str(len(get.content)))


def test_what_has_not_changed_is_not_sent_again(ask: Ask) -> None:
    request = placed("Inprogress")
    etag = ask("order-1")["ETag"]
    for given in (etag, f'W/{etag}, "other"', "*"):
        again = ask("order-1", HTTP_IF_NONE_MATCH=given)
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", etag)
    assert ask("order-1", HTTP_IF_NONE_MATCH='"other"').status_code == 200
    Request.objects.filter(pk=request.pk).update(shortfall=1)
    changed = ask("order-1", HTTP_IF_NONE_MATCH=etag)
    assert changed.status_code == 200
    assert changed["ETag"] != etag


@pytest.mark.parametrize(
    "query", ["wait=", "wait=-1", "wait=1.5", "wait=x", "wait=1&wait=1", "wait=1e3", "wait=\u0664", "wait=9999999"]
)
def test_a_wait_that_is_no_whole_number_is_refused(ask: Ask, query: str) -> None:
    placed()
    response = ask("order-1", query=f"?{query}")
    assert (response.status_code, str(MOST_WAIT_SECONDS) in response.json()["reason"]) == (400, True)


def test_a_server_that_cannot_wait_says_when_to_ask_again(ask: Ask) -> None:
    """As Django's own, and every WSGI server but ours."""
    request = placed("Inprogress")
    for query in ("?wait=30", "?wait=999999"):
        assert ask("order-1", query=query)["Retry-After"] == "5"
    etag = ask("order-1")["ETag"]
    assert ask("order-1", query="?wait=1", HTTP_IF_NONE_MATCH=etag)["Retry-After"] == "5"
    for query, more in [("", {}), ("?wait=0", {}), ("?wait=30", {ENVIRON: LongPoll.HELD})]:
        assert "Retry-After" not in ask("order-1", query=query, **more)
    Request.objects.filter(pk=request.pk).update(status="Completed", completed_at=database_now())
    assert "Retry-After" not in ask("order-1", query="?wait=30")


def fails(error: Exception) -> AbstractContextManager[object]:
    def execute(*_: Any) -> Any:
        raise error

    return connection.execute_wrapper(execute)


def test_a_database_that_is_away_is_no_missing_request(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    placed()
    with fails(OperationalError(2013, "Lost connection to server during query")), capture_logs() as events:
        response = ask("order-1")
    assert (response.status_code, response["Retry-After"]) == (503, "30")
    assert [event["event"] for event in events] == ["status_unavailable"]
    assert caplog.records == []


def test_when_the_server_knows_that_it_is_away_it_is_not_asked(ask: Ask, django_assert_num_queries: Any) -> None:
    placed()
    with django_assert_num_queries(0):
        assert ask("order-1", **{ENVIRON: LongPoll.AWAY}).status_code == 503


def test_it_costs_three_statements_at_most(ask: Ask, django_assert_num_queries: Any) -> None:
    placed("Inprogress")
    with django_assert_num_queries(3):
        ask("order-1")
    Request.objects.update(status="Completed", completed_at=database_now())
    with django_assert_num_queries(2):
        ask("order-1")


def test_polls_that_wait_are_looked_for_by_their_ids() -> None:
    """Whatever the optimizer thinks of statuses: on SQLite `NOT INDEXED` leaves it the id alone."""
    requests = [placed(status, token=f"order-{status}") for status in ("Queuing", "Completed", "Failed", "Cancelled")]
    with listening() as heard:
        ended = Request.objects.ended_of([request.pk for request in requests])
    assert ended == {request.pk for request in requests[1:]}
    [statement] = heard
    plan = "EXPLAIN" if connection.vendor == "mysql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        cursor.execute(f"{plan} {statement.sql}", statement.params)
        assert re.search("PRIMARY", str(cursor.fetchall()))


def test_who_inserts_is_whose_bearer_sees_it(ask: Ask) -> None:
    token = Request.objects.get(pk=insert_raw()).token
    account = connection.vendor == "mysql" and str(connection.settings_dict["USER"])
    assert ask(token, bearer=bearer_of(account or "")).status_code == 200
    assert ask(token).status_code == 404


def test_an_embedding_project_has_its_own_path(ask: Ask) -> None:
    """The trailing slash belongs to ours."""
    with mock.patch("requests_app.status_http.middleware.look_up", side_effect=AssertionError):
        assert Client(headers={"host": "tasker.example"}).get("/requests", secure=True).status_code == 404
