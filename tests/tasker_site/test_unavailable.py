"""What the web process answers when a statement fails: one page for each kind of fault, and no page for small ones."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, OperationalError, ProgrammingError, connection
from django.test import Client

pytestmark = pytest.mark.django_db

READ_ONLY = OperationalError(1290, "The MariaDB server is running with the --read-only option")
LOCKED = OperationalError(1205, "Lock wait timeout exceeded")
AWAY = OperationalError(2013, "Lost connection to server during query")


@pytest.fixture
def browser() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("ann"))
    return client


@contextmanager
def failing(error: DatabaseError, text: str) -> Any:
    """Each statement that holds the text."""

    def execute(run: Callable[..., Any], sql: str, *more: Any) -> Any:
        if text in sql:
            raise error
        return run(sql, *more)

    with connection.execute_wrapper(execute):
        yield


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (READ_ONLY, "The database is read-only"),
        (OperationalError("attempt to write a readonly database"), "The database is read-only"),
        (LOCKED, "locked by another session"),
        (AWAY, "The database does not answer"),
        (OperationalError(1040, "Too many connections"), "The database does not answer"),
        (ProgrammingError(1146, "Table 'tasker.requests' doesn't exist"), "tables are missing or old"),
        (OperationalError("no such table: requests"), "tables are missing or old"),
    ],
)
def test_a_fault_of_the_database_is_a_page_that_says_it(
    browser: Client, error: DatabaseError, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with failing(error, "requests"):
        response = browser.get("/admin/requests_app/request/")
    assert (response.status_code, response["Retry-After"]) == (503, "30")
    assert sentence in response.content.decode()
    (record,) = [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    assert (record.name, record.exc_info) == ("tasker_site.unavailable", None)


def test_a_bug_stays_a_bug(browser: Client) -> None:
    with failing(ProgrammingError(1064, "You have an error in your SQL syntax"), "requests"):
        assert browser.get("/admin/requests_app/request/").status_code == 500


@pytest.mark.parametrize("error", [READ_ONLY, LOCKED, AWAY])
def test_no_page_fails_since_nobody_can_write_down_that_it_was_looked_at(browser: Client, error: DatabaseError) -> None:
    with failing(error, "UPDATE"):
        assert browser.get("/admin/jobs_app/passrun/").status_code == 200


def test_what_a_session_is_to_keep_is_not_lost_in_silence(browser: Client) -> None:
    with failing(READ_ONLY, "UPDATE"):
        assert browser.get("/admin/password_change/").status_code == 503  # leaves a message for the next page


def test_a_session_that_is_gone_is_not_made_again(browser: Client) -> None:
    with failing(DatabaseError("Forced update did not affect any rows."), "UPDATE"):
        assert browser.get("/admin/jobs_app/passrun/").status_code == 400
