"""Personal data and secrets are in the tables and nowhere else: all that was written is searched for planted ones.

The column `error` may quote them where the author of a callback or of a request wrote them into a sentence or a name;
what services and exceptions say is apart from it (test_what_services_say.py).
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from demo.services import Answer, Fault, Services
from jobs_app.models import Job
from requests_app.models import Request
from tests.conftest import Manage, _environment_of_commands
from tests.factories import insert_raw
from tests.security.jobs import NAMES

PLANTED = "planted7f3a"  # part of everything that must not be seen
EMAIL = f"{PLANTED}.person@example.org"
PERSON = {"id": 1, "email": EMAIL, "iban": f"{PLANTED}-iban", "nested": {"name": [f"{PLANTED}-name"]}}
SECRETS = {
    "DJANGO_SECRET_KEY": f"{PLANTED}-key-of-32-characters-and-more",
    "WRK_LOG_LEVEL": "DEBUG",
    "WRK_JOB_BACKOFF_BASE_SECONDS": "0",
}
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")


@pytest.fixture
def manage(transactional_db: None, services: Services) -> Iterator[Manage]:
    settings = {"DJANGO_SETTINGS_MODULE": "tests.security.settings"}
    manage = Manage(_environment_of_commands() | settings | SECRETS)
    yield manage
    manage.end_all()


def nothing_leaks(*texts: str) -> None:
    for text in texts:
        assert PLANTED not in text


def one_step(*jobs: str) -> str:
    return json.dumps([{"name": "only", "jobs": jobs}])


@pytest.fixture
def personal_rows(transactional_db: None, services: Services) -> None:
    """Good requests and bad ones, all of one person; services that answer with personal data, in body and headers."""
    told = {"error": f"{EMAIL} owes us", "trace": [PERSON]}
    services.reset(
        faults=[
            Fault(1, "DELETE", 1, Answer(500, told, {"X-User": EMAIL, "Set-Cookie": f"user={EMAIL}"})),
            Fault(2, "DELETE", 1, Answer(409, told)),
            Fault(3, "DELETE", 1, Answer(429, told, {"Retry-After": EMAIL})),
            Fault(1, "GET", 2, Answer(200, {"id": EMAIL})),
        ]
    )
    params = json.dumps(PERSON)
    insert_raw("delete_user", params=params)
    insert_raw("delete_user", params=json.dumps(PERSON | {"id": 2}))
    insert_raw("update_user", params=json.dumps(PERSON | {"id": 3}))
    insert_raw("delete_user", params=json.dumps(PERSON | {"id": EMAIL}))
    insert_raw("delete_user", params=json.dumps([EMAIL]))
    insert_raw("delete_user", params=json.dumps({"id": 4}), subject=EMAIL)
    insert_raw(f"delete_{EMAIL}", params=params)
    insert_raw("odd", params=params, steps=json.dumps({EMAIL: EMAIL}))
    insert_raw("odd", params=params, steps=one_step(EMAIL))
    insert_raw("odd", params=params, steps=json.dumps([{"name": EMAIL, EMAIL: 1}]))
    insert_raw("odd", params=params, steps=one_step("noop"), extras=json.dumps([EMAIL]))
    for name in NAMES:
        insert_raw("shows", params=params, extras=json.dumps(PERSON), steps=one_step(name))


def written_by(manage: Manage, *arguments: str, **environment: Any) -> str:
    """All that a command wrote; it must have been something."""
    process = manage(*arguments, **environment)
    assert process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    return process.stdout + process.stderr


def test_the_passes_say_nothing_of_a_person(manage: Manage, personal_rows: None) -> None:
    for command in [*PASSES, "verify"]:
        nothing_leaks(written_by(manage, command))
    nothing_leaks(written_by(manage, "run_worker", "--max-seconds", "1"))  # retries, and what follows the first steps

    kept = [*Job.objects.values_list("error", "answer"), *Request.objects.values_list("error")]
    assert sum(PLANTED in str(texts) for texts in kept) > 10, "nothing was planted that could have leaked"


def test_the_passes_say_nothing_of_a_person_when_leases_are_lost(manage: Manage, personal_rows: None) -> None:
    insert_raw("shows", params=json.dumps(PERSON | {"seconds": 5}), steps=one_step("sleeps"))
    short: dict[str, Any] = {"WRK_JOB_LEASE_SECONDS": "0.9", "WRK_JOB_TIMEOUT_SECONDS": "0.5"}
    manage("run_new_requests")
    nothing_leaks(written_by(manage, "run_jobs", **short), written_by(manage, "run_jobs", **short))


def test_the_commands_say_no_secret_when_the_database_is_away(manage: Manage) -> None:
    away: dict[str, Any] = {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": "1",
        "DB_USER": "tasker",
        "DB_NAME": "tasker",
        "DB_PASS": f"{PLANTED}-password",
        "WRK_SQLITE_FILE": "/dev/null/nowhere",
    }
    if connection.vendor == "sqlite":
        away = {"WRK_SQLITE_FILE": "/proc/nowhere.sqlite3"}
    submit = ("submit_request", "delete_user", "--params", json.dumps(PERSON))
    commands = [*((name,) for name in PASSES), ("verify",), ("show_request", "x"), ("migrate",), submit]
    for process in [manage.start(*arguments, **away) for arguments in commands]:  # one waits ten seconds for it
        nothing_leaks(*process.communicate(timeout=60))
        assert process.returncode != 0


@pytest.mark.integration
def test_a_wrong_password_is_not_said(manage: Manage) -> None:
    process = manage("run_jobs", DB_PASS=f"{PLANTED}-password")
    assert process.returncode == 1
    assert "Access denied" in process.stderr
    nothing_leaks(process.stdout, process.stderr)


def test_a_refused_submission_says_nothing_of_a_person(manage: Manage) -> None:
    submit = ("submit_request", "delete_user", "--params", json.dumps(PERSON), "--token", "taken")
    nothing_leaks(written_by(manage, *submit), written_by(manage, *submit))
    nothing_leaks(written_by(manage, "submit_request", "delete_user", "--params", f'{{"{EMAIL}'))
    if connection.vendor == "mysql":
        deep = "[" * 40 + f'"{EMAIL}"' + "]" * 40
        nothing_leaks(written_by(manage, "submit_request", "delete_user", "--params", f'{{"a": {deep}}}'))


def test_settings_that_are_wrong_are_named_without_their_secrets(manage: Manage) -> None:
    process = manage("run_jobs", ENV="production", PORT="", DB_PORT="none", DB_PASS=f"{PLANTED}-password")
    assert "PORT" in process.stderr
    nothing_leaks(process.stdout, process.stderr)


def test_a_url_that_is_none_is_named_without_its_password(manage: Manage) -> None:
    process = manage("run_jobs", URL_SERVICE1=f"htp://user:{PLANTED}@service1.example")
    assert "URL_SERVICE1" in process.stderr
    nothing_leaks(process.stdout, process.stderr)


def test_a_secrets_file_that_cannot_be_read_is_named_in_one_message(manage: Manage) -> None:
    process = manage("run_jobs", DJANGO_SECRET_KEY_FILE="/nowhere")
    assert "DJANGO_SECRET_KEY_FILE" in process.stderr
    assert "FileNotFoundError" not in process.stderr


# The web process ------------------------------------------------------------------------------------------------------
@pytest.fixture
def browser(transactional_db: None, settings: Any) -> Client:
    settings.SECRET_KEY = f"{PLANTED}-key"
    settings.ALLOWED_HOSTS = ["testserver"]
    User.objects.create_superuser("operator", EMAIL, f"{PLANTED}-password")
    return Client(raise_request_exception=False, headers={"authorization": PLANTED, "x-user": EMAIL, "referer": EMAIL})


def test_probes_and_error_pages_say_nothing_of_a_person(
    browser: Client, manage: Manage, personal_rows: None, caplog: pytest.LogCaptureFixture
) -> None:
    for command in PASSES:
        manage(command)
    caplog.set_level("DEBUG")
    for path in ("/metrics", "/ready", "/heartbeat", "/nowhere", "/admin/nowhere", "/favicon.ico", "/static/nowhere"):
        response = browser.get(path, {"email": EMAIL}, headers={"cookie": f"user={EMAIL}"})
        nothing_leaks(b"".join(response).decode())
    browser.force_login(User.objects.get(username="operator"))
    overview = browser.get("/admin/").content.decode()
    assert "refused: {" in overview, "the errors that quote somebody are not there"
    nothing_leaks(overview, caplog.text)


def test_a_page_that_breaks_shows_no_more_than_that(
    browser: Client, personal_rows: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("the page is broken")

    browser.force_login(User.objects.get(username="operator"))
    monkeypatch.setattr("requests_app.admin.requests.explain", broken)
    response = browser.get(f"/admin/requests_app/request/{Request.objects.earliest('id').id}/change/")
    assert response.status_code == 500
    nothing_leaks(response.content.decode())
    assert "the page is broken" in caplog.text, "the log says why"
    nothing_leaks(caplog.text)


def test_a_failed_login_says_neither_name_nor_password(browser: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    response = browser.post("/admin/login/", {"username": "operator", "password": f"{PLANTED}-wrong"})
    assert response.status_code == 200
    nothing_leaks(caplog.text, response.content.decode())


def test_looking_at_requests_leaves_nothing_in_the_admins_log(browser: Client, personal_rows: None) -> None:
    browser.force_login(User.objects.get(username="operator"))
    request = Request.objects.earliest("id")
    for path in ("/admin/", "/admin/requests_app/request/", f"/admin/requests_app/request/{request.id}/change/"):
        assert browser.get(path).status_code == 200
    assert not LogEntry.objects.exists()
