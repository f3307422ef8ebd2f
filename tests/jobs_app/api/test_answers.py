"""POST to an answer's URL: what is kept, what is refused and how, and who is asked meanwhile."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.test import Client

from jobs_app.answer_urls import AnswerAddress, answer_url
from jobs_app.api.answers import MAX_BODY_BYTES
from jobs_app.models.answer import Answer, Effect
from jobs_app.tracing import traceparent
from tests.factories import make_job, make_request

KEY = "a-key-0123456789-abcdefghij-klmnop"
ADDRESS = AnswerAddress("tok", 2, "noop", 3)


@pytest.fixture
def web(settings: Any) -> Client:
    """As production is set up, where nothing else answers over plain HTTP or to this host."""
    settings.WRK_PUBLIC_URL, settings.WRK_ANSWER_KEYS = "https://tasker.example", [KEY]
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["tasker.example"], True
    return Client(enforce_csrf_checks=True, headers={"host": "10.1.2.3"})


def path() -> str:
    return str(answer_url(ADDRESS)).removeprefix("https://tasker.example")


def post(web: Client, body: object = None, **options: Any) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body or {"outcome": "completed"}).encode()
    return web.post(path(), text, content_type="application/json", **options)


def rows() -> list[tuple[Any, ...]]:
    names = ("token", "step", "job", "attempt", "outcome", "extras", "reason", "effect", "taken_at")
    return [*Answer.objects.order_by("id").values_list(*names)]


# Kept -----------------------------------------------------------------------------------------------------------------
GOOD = [
    ("completed", {"email": "a@b", "n": [1, 2.5, None, True], "\u00fc": "\U0001f600"}, "done on Friday"),
    ("completed", {}, ""),
    ("failure", None, "\u00fcber \U0001f600\nnever"),
    ("retry", None, None),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("outcome", "extras", "reason"), GOOD)
def test_an_answer_becomes_one_row_and_so_does_its_repetition(
    web: Client, outcome: str, extras: Any, reason: Any
) -> None:
    for _ in range(3):
        response = post(web, {"outcome": outcome, "extras": extras, "reason": reason})
        assert (response.status_code, response.json()) == (202, {"kept": True})
        assert response["Cache-Control"] == "no-store"
        assert not response.cookies
    assert rows() == [(*ADDRESS, outcome, extras, reason, "", None)]
    assert Answer.objects.get().created_at is not None


@pytest.mark.django_db
def test_what_is_left_out_is_null(web: Client) -> None:
    assert post(web, {"outcome": "completed"}).status_code == 202
    assert rows() == [(*ADDRESS, "completed", None, None, "", None)]


@pytest.mark.django_db
def test_another_answer_is_another_row(web: Client) -> None:
    different: list[Any] = [{"outcome": "completed", "extras": extras} for extras in (None, {}, {"a": 1}, {"a": 2})]
    for body in [*different, {"outcome": "failure"}, {"outcome": "retry"}] * 2:
        assert post(web, body).status_code == 202
    assert len(rows()) == 6


@pytest.mark.django_db
@pytest.mark.parametrize(("effect", "count"), [(Effect.TAKEN, 1), (Effect.LATE, 2)])
def test_one_that_was_taken_is_not_placed_again_and_one_that_was_late_is(
    web: Client, effect: Effect, count: int
) -> None:
    post(web)
    first = Answer.objects.get()
    Answer.objects.update(effect=effect, taken_at=first.created_at)
    assert post(web).status_code == 202
    assert len(rows()) == count


@pytest.mark.django_db
def test_those_of_other_attempts_are_rows_of_their_own(web: Client) -> None:
    Answer.objects.create(**ADDRESS._replace(attempt=2)._asdict(), outcome="completed")
    Answer.objects.create(**ADDRESS._asdict() | {"attempt": None}, outcome="completed")
    assert post(web).status_code == 202
    assert len(rows()) == 3


@pytest.mark.django_db
def test_a_body_of_64_kib_is_kept_and_no_more(web: Client) -> None:
    empty = len(json.dumps({"outcome": "completed", "extras": {"x": ""}}))
    body = {"outcome": "completed", "extras": {"x": "x" * (MAX_BODY_BYTES - empty)}}
    assert post(web, body).status_code == 202
    body["reason"] = ""
    response = post(web, body)
    assert (response.status_code, response.json()["reason"]) == (400, "the body is longer than 65536 bytes")
    assert len(rows()) == 1


@pytest.mark.django_db
def test_it_costs_two_statements_and_its_repetition_one(web: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        post(web)
    with django_assert_num_queries(1):
        post(web)


# Refused: none of these may ask the database, or pytest-django would fail them ----------------------------------------
BAD = [
    (b"", "Expecting value"),
    (b"completed", "Expecting value"),
    (b"[]", "list where a JSON object is needed"),
    (b'"completed"', "str where a JSON object is needed"),
    (b"null", "where a JSON object is needed"),
    (b"\xff\xfe", "not UTF-8"),
    (b'\xef\xbb\xbf{"outcome": "retry"}', "not a JSON object"),
    (b"{}", "outcome: one of completed, failure, retry is needed"),
    (b'{"outcome": "done"}', "outcome: one of"),
    (b'{"outcome": "Completed"}', "outcome: one of"),
    (b'{"outcome": ["completed"]}', "outcome: one of"),
    (b'{"outcome": true}', "outcome: one of"),
    (b'{"outcome": NaN}', "outcome: one of"),
    (b'{"outcome": "retry", "after": 5}', "none of outcome, extras, reason"),
    (b'{"outcome": "retry", "outcome": "completed"}', "a key stands twice"),
    (b'{"outcome": "retry", "extras": {"a": 1, "a": 2}}', "a key stands twice"),
    (b'{"outcome": "retry", "extras": []}', "extras: an object or null"),
    (b'{"outcome": "retry", "extras": "{}"}', "extras: an object or null"),
    (b'{"outcome": "retry", "extras": false}', "extras: an object or null"),
    (b'{"outcome": "retry", "extras": {"a": NaN}}', "extras: nan has no form in JSON"),
    (b'{"outcome": "retry", "extras": {"a": -Infinity}}', "extras: -inf"),
    (b'{"outcome": "retry", "extras": {"a": 1e999}}', "extras: inf"),
    (b'{"outcome": "retry", "extras": {"a": 9223372036854775808}}', "extras: an integer of 64 bits"),
    (b'{"outcome": "retry", "extras": {"a": 1' + b"0" * 5000 + b"}}", "not a JSON object"),
    (b'{"outcome": "retry", "extras": ' + b'{"a":' * 30 + b"{}" + b"}" * 31, "extras: nested deeper than 30"),
    (b'{"outcome": "retry", "extras": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested too deep"),
    (b'{"outcome": "retry", "extras": {"a": "\\ud800"}}', "half a surrogate pair"),
    (b'{"outcome": "retry", "extras": {"\\udfff": 1}}', "half a surrogate pair"),
    (b'{"outcome": "retry", "extras": {"a": [{"b": "x\\u0000"}]}}', "NUL"),
    (b'{"outcome": "retry", "extras": {"a": "\0"}}', "not a JSON object"),
    (b'{"outcome": "retry", "reason": "\\u0000"}', "NUL"),
    (b'{"outcome": "retry", "reason": "\\ud800"}', "half a surrogate pair"),
    (b'{"outcome": "retry", "reason": 5}', "reason: a string or null"),
]


@pytest.mark.parametrize(("body", "says"), BAD, ids=[f"{number} {says}" for number, (_, says) in enumerate(BAD)])
def test_a_body_that_is_no_answer_is_refused_with_a_sentence(web: Client, body: bytes, says: str) -> None:
    response = post(web, body)
    assert response.status_code == 400
    assert response.json()["kept"] is False
    assert says in response.json()["reason"]
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_no_other_method_is_allowed(web: Client, method: str) -> None:
    response = getattr(web, method)(path())
    assert (response.status_code, response["Allow"]) == (405, "POST")


@pytest.mark.parametrize("method", ["get", "post", "put"])
def test_a_path_that_nobody_signed_is_not_found_and_nobody_is_asked(web: Client, method: str, settings: Any) -> None:
    signed = path()
    elsewhere = web.post("/nowhere", secure=True, headers={"host": "tasker.example"})
    settings.WRK_ANSWER_KEYS = ["another-key-0123456789-abcdefghij-klm"]
    for unknown in (signed, f"{signed}/", "/answers/", "/answers/x", "/answers/x:y", "/answers/%FF:%00"):
        response = getattr(web, method)(unknown, {"outcome": "completed"}, content_type="application/json")
        assert (response.status_code, response["Cache-Control"], response.cookies) == (404, "no-store", {})
        assert response.content == elsewhere.content


@pytest.mark.parametrize(("url", "keys"), [("", []), ("https://tasker.example", []), ("", [KEY])])
def test_without_both_settings_there_is_no_such_path(web: Client, settings: Any, url: str, keys: list[str]) -> None:
    signed = path()
    settings.WRK_PUBLIC_URL, settings.WRK_ANSWER_KEYS = url, keys
    web = Client(headers={"host": "tasker.example"})
    assert web.post(signed, {"outcome": "completed"}, content_type="application/json", secure=True).status_code == 404


# The database away, and the log ---------------------------------------------------------------------------------------
def test_without_the_database_the_service_is_told_to_try_again(
    web: Client, transactional_db: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = {"HOST" if connection.vendor == "mysql" else "NAME": str(tmp_path / "no folder" / "here")}
    connection.close()
    with mock.patch.dict(connection.settings_dict, nowhere):
        response = post(web)
        connection.close()
    assert (response.status_code, response["Retry-After"], response["Cache-Control"]) == (503, "30", "no-store")
    assert response.json() == {"kept": False, "reason": "the database does not answer: try again later"}
    assert rows() == []
    assert "answer_not_kept" in caplog.text
    assert "/answers/" not in caplog.text
    assert post(web).status_code == 202


@pytest.mark.django_db
def test_the_log_says_what_was_kept_once_and_nothing_of_what_it_said(
    web: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    body = {"outcome": "failure", "extras": {"planted": "planted"}, "reason": "planted"}
    post(web, body)
    post(web, body)
    post(web, b'{"planted": 1}')
    web.get(path())
    kept = [record.msg for record in caplog.records if "answer_kept" in str(record.msg)]
    assert len(kept) == 1
    said = dict(kept[0])  # type: ignore[arg-type] # structlog's event
    assert {name: said[name] for name in ADDRESS._fields} == ADDRESS._asdict()
    assert (said["outcome"], said["traceparent"][:3]) == ("failure", "00-")
    assert "planted" not in caplog.text


@pytest.mark.django_db
def test_the_log_names_the_trace_of_its_requests_caller(web: Client, caplog: pytest.LogCaptureFixture) -> None:
    """In the same two statements."""
    caplog.set_level("INFO")
    callers = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    make_job(make_request("Inprogress", token=ADDRESS.token, traceparent=callers))
    post(web)
    assert traceparent(*ADDRESS, callers) in caplog.text


@pytest.mark.django_db
def test_a_job_that_this_release_does_not_know_is_other(web: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    url = str(answer_url(ADDRESS._replace(job="planted"))).removeprefix("https://tasker.example")
    assert web.post(url, {"outcome": "retry"}, content_type="application/json").status_code == 202
    assert "'job': 'other'" in caplog.text
    assert "planted" not in caplog.text
