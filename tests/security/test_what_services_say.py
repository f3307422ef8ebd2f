"""What a service answered, and what an exception quotes, is kept apart from our own sentence and shown to few.

It is planted in every way in which it comes, and looked for in every column, page, command, log and metric.
"""

import importlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client

from demo.services import Answer, Fault, Services
from jobs_app.models import Job
from jobs_app.outcomes import Failure, JobContext, Retry
from jobs_app.registry import job, unregister
from requests_app.models import Request
from tests.conftest import called_here
from tests.factories import insert_raw, make_job, make_request, pass_inprogress, pass_jobs, pass_new
from tests.jobs_app.clients.server import http, sending

pytestmark = pytest.mark.django_db(transaction=True)

PLANTED = "said5e21"  # part of everything that others say, and of nothing else
EMAIL = f"{PLANTED}.ann@example.org"
REQUESTS = "/admin/requests_app/request/"
PAGES = (
    "/admin/",
    REQUESTS,
    "/admin/jobs_app/passrun/",
    "/admin/jobs_app/pausedjob/",
    "/admin/jobs_app/answer/",
    "/metrics",
    "/ready?passes=1",
)
ACCOUNTS = {
    "looks": ("view_request", "view_passrun", "view_pausedjob", "view_answer"),
    "operates": ("view_request", "view_passrun", "view_pausedjob", "view_answer", "operate_request", "operate_job"),
    "may unmask, and has not": ("view_request", "view_passrun", "view_pausedjob", "view_answer", "view_personal_data"),
}


def bug(context: JobContext) -> None:
    """An exception with a cause, both of which quote, in a group as `asyncio.TaskGroup` raises it."""
    try:
        int(EMAIL)
    except ValueError as error:
        cause = LookupError(f"no user {EMAIL}")
        cause.add_note(f"asked for {EMAIL}")
        raise ExceptionGroup(f"of {EMAIL}", [cause]) from error


def syntax(context: JobContext) -> None:
    compile(f"{EMAIL} =", "answer", "exec")


def own_failure(context: JobContext) -> None:
    raise Failure("the vendor refused", answer=EMAIL)


def own_retry(context: JobContext) -> None:
    raise Retry("the vendor is busy", answer=f"{EMAIL} waits")


JOBS = {"bug": bug, "syntax": syntax, "own_failure": own_failure, "own_retry": own_retry}


@pytest.fixture
def said(services: Services, settings: Any) -> Iterator[list[Request]]:
    """A request for each way in which somebody says something, as the passes left it: failed, or waiting."""
    settings.WRK_JOB_MAX_ATTEMPTS = 2
    told = {"error": f"{EMAIL} owes us", "who": EMAIL}
    services.reset(
        faults=[
            Fault(1, "GET", 1, Answer(409, told)),
            Fault(1, "GET", 2, Answer(503, told, {"X-User": EMAIL})),
            Fault(1, "GET", 3, Answer(200, {"id": EMAIL})),
        ]
    )
    for name, callback in JOBS.items():
        job(name, backoff=3600)(callback)
        insert_raw("made_up", steps=json.dumps([{"name": "only", "jobs": [name]}]), token=name)
    for id_ in (1, 2, 3):
        insert_raw("delete_user", params=json.dumps({"id": id_}), token=f"user-{id_}")
    for attempt in (1, 2):
        pass_new()
        pass_jobs()
        if attempt == 1:
            Job.objects.filter(status="new", name="bug").update(due_at="2026-01-01T00:00:00Z")
        pass_inprogress()
    yield list(Request.objects.order_by("id"))
    for name in JOBS:
        unregister(name)


def test_it_is_in_the_column_answer_and_in_no_other(said: list[Request]) -> None:
    found = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                columns = zip((column[0] for column in cursor.description), row, strict=True)
                found |= {(table, name) for name, value in columns if PLANTED in str(value)}
    assert found == {("jobs", "answer")}
    said_by = set(Job.objects.filter(answer__contains=PLANTED).values_list("name", flat=True))
    assert said_by == {*JOBS, "service1_get_user"}
    errors = dict(Request.objects.exclude(error="").values_list("token", "error"))
    assert errors == {
        "own_failure": "own_failure failed: the vendor refused",
        "user-1": "service1_get_user failed: service1 GET /user/{id}: answered 409",
        "user-3": "service1_get_user failed: service1 GET /user/{id}: the answer's id: an integer is needed",
        "bug": "bug failed: gave up after 2 attempts: ExceptionGroup in bug (test_what_services_say.py, "
        f"line {bug.__code__.co_firstlineno + 7})",
    }


def test_what_a_bug_leaves_says_where_it_is_and_quotes_nobody(said: list[Request]) -> None:
    error, answer = Job.objects.filter(name="bug").values_list("error", "answer").latest("id")
    for kept in ("Traceback (most recent call last)", "in bug", "int(EMAIL)", "ValueError", "LookupError"):
        assert kept in error
    for text in (f"of {EMAIL}", f"no user {EMAIL}", f"asked for {EMAIL}", "invalid literal for int()"):
        assert text in (answer or "")


def staff(permissions: tuple[str, ...]) -> Client:
    user = User.objects.create_user("somebody", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("account", ACCOUNTS)
def test_no_page_shows_it(account: str, said: list[Request], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = staff(ACCOUNTS[account])
    seen = [*PAGES, f"{REQUESTS}?q=user-1", f"{REQUESTS}?status__exact=Failed"]
    verbs = ("retry_request", "retry_now", "complete_job", "fail_job", "cancel_request")
    for request in said:
        seen += [f"{REQUESTS}{request.pk}/{page}/" for page in ("change", "history")]
        seen += [f"{REQUESTS}{request.pk}/verb/{verb}/" for verb in verbs]
    texts = [b"".join(client.get(path, follow=True)).decode() for path in seen]
    for request in said:  # each is refused by some of these
        for verb in verbs[:2]:
            done = client.post(f"{REQUESTS}{request.pk}/verb/{verb}/", {"reason": "a test"}, follow=True)
            texts.append(done.content.decode() + str(done.headers) + str(done.cookies))
    assert "answered 409" in "".join(texts), "the errors are not there"
    assert PLANTED not in "".join(texts) + caplog.text


def test_who_may_see_it_sees_it_once_and_leaves_a_trace(said: list[Request]) -> None:
    client = staff(("view_request", "view_personal_data"))
    page = f"{REQUESTS}{said[-3].pk}/"
    masked = client.get(f"{page}change/").content.decode()
    assert "<summary>answer</summary>" in masked
    shown = client.post(f"{page}personal_data/", follow=True).content.decode()
    assert f"{EMAIL} owes us" in shown
    assert LogEntry.objects.get().object_id == str(said[-3].pk)
    assert EMAIL not in client.get(f"{page}change/").content.decode()


def test_no_command_says_it(said: list[Request], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    because = ("--reason", "a test")
    tokens = [request.token for request in said]
    commands: list[tuple[str, ...]] = [("show_request", token) for token in tokens]
    commands += [("verify",), ("healthcheck",)]
    commands += [(verb, *tokens, *because) for verb in ("retry_now", "retry_request", "cancel_request")]
    commands += [(verb, token, "noop", *because) for verb in ("fail_job", "complete_job") for token in tokens]
    commands += [("retry_request", token, *because) for token in tokens]
    commands += [(name,) for name in ("run_new_requests", "run_jobs", "run_inprogress_requests")]
    written = [called_here(*arguments) for arguments in commands]
    text = "".join(process.stdout + process.stderr for process in written) + caplog.text
    assert "answered 409" in text
    assert PLANTED not in text


def test_everything_that_is_stored_is_told_to_who_asks_for_all_of_it(said: list[Request]) -> None:
    """As params are. `error` is ours there, too."""
    told = json.loads(called_here("show_request", "user-1", "--json").stdout)
    assert [PLANTED in attempt["answer"] for attempt in told["jobs"]] == [True]
    assert PLANTED not in json.dumps(told | {"jobs": [attempt | {"answer": ""} for attempt in told["jobs"]]})


@pytest.mark.parametrize(
    "sent",
    [f"SSH-2.0-{EMAIL}\r\n".encode(), f"HTTP/9.9 {EMAIL}\r\n\r\n".encode(), http(200, f"<p>{EMAIL}".encode())],
    ids=["no HTTP", "no known HTTP", "no JSON"],
)
def test_what_is_no_answer_at_all_is_kept_apart_too(sent: bytes, settings: Any) -> None:
    insert_raw("delete_user", params='{"id": 7}')
    with sending(sent) as server:
        settings.URL_SERVICE1 = server.url
        settings.WRK_HTTP_TIMEOUT_SECONDS = 1
        for one_pass in (pass_new, pass_jobs, pass_inprogress):
            one_pass()
    row = Job.objects.get()
    assert row.status in {"failure", "retry"}
    assert PLANTED not in row.error + Request.objects.get().error


@pytest.mark.parametrize("url", ["http://svc:{}@host:99999", "http://{}:80a", "http://service {}", "http://{}..b"])
def test_a_url_that_cannot_be_is_kept_nowhere(url: str, settings: Any) -> None:
    settings.URL_SERVICE1 = url.format(PLANTED)
    insert_raw("delete_user", params='{"id": 7007}')
    for one_pass in (pass_new, pass_jobs, pass_inprogress):
        one_pass()
    row = Job.objects.filter(status__in=("failure", "retry")).get()
    kept = row.error + (row.answer or "") + Request.objects.get().error
    assert PLANTED not in kept
    assert "7007" not in kept


# Rows of the release before -------------------------------------------------------------------------------------------
OLD = {
    "service2 DELETE /user/{id}: answered 409: " + EMAIL: "service2 DELETE /user/{id}: answered 409",
    f"gave up after 10 attempts: service3 POST /user: answered 503: {EMAIL}\nmore": (
        "gave up after 10 attempts: service3 POST /user: answered 503"
    ),
    f"service1 GET /user/{{id}}: the answer is not a JSON object: Expecting value: line 1 (char 0): {EMAIL}": (
        "service1 GET /user/{id}: the answer is not a JSON object"
    ),
    f"service1 GET /user/{{id}}: no usable answer: {EMAIL}": "service1 GET /user/{id}: no usable answer",
    f"ValueError: of {EMAIL}\n\nTraceback (most recent call last):\n  ...\nValueError: of {EMAIL}": "ValueError",
    f"gave up after 2 attempts: shop.Gone: {EMAIL}\nmore\n\nTraceback (most recent call last):\n": (
        "gave up after 2 attempts: shop.Gone"
    ),
    "the lease ran out: its worker died": None,
    "gave up after 10 attempts: timed out after 60 seconds": None,
    "service1 GET /user/{id}: no answer: [Errno 111] Connection refused": None,
    "params.id: an integer is needed": None,
}
OLD_OF_REQUESTS = {
    f"a_job failed: service2 DELETE /user/{{id}}: answered 409: {EMAIL}": (
        "a_job failed: service2 DELETE /user/{id}: answered 409"
    ),
    f"a_job failed: gave up after 10 attempts: ValueError: {EMAIL}": (
        "a_job failed: gave up after 10 attempts: ValueError"
    ),
    "a_job failed: refused": None,
    "action: unknown action": None,
}


def test_the_migration_parts_what_the_release_before_kept_in_one() -> None:
    request = make_request("Failed", ["noop"])
    for attempt, error in enumerate(OLD, start=1):
        make_job(request, "noop", "failure", attempt=attempt, error=error)
    of_requests = {make_request("Failed", error=error).pk: error for error in OLD_OF_REQUESTS}
    for module, function in (
        ("jobs_app.migrations.0010_answers_of_before", "part_errors"),
        ("requests_app.migrations.0009_errors_without_quotes", "cut_errors"),
    ):
        with connection.schema_editor(atomic=False) as editor:
            getattr(importlib.import_module(module), function)(None, editor)
    for row, (error, ours) in zip(Job.objects.order_by("attempt"), OLD.items(), strict=True):
        assert row.error == (ours or error)
        assert (EMAIL in (row.answer or "")) is (EMAIL in error)
    for id_, error in of_requests.items():
        assert Request.objects.get(pk=id_).error == (OLD_OF_REQUESTS[error] or error)
