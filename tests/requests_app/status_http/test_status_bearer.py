"""`manage.py status_bearer`: makes, lists and revokes bearers, and shows each once."""

import re
from typing import Any

import pytest
from django.db import OperationalError, connection
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from jobs_app.management.operator_command import account
from jobs_app.models import AuditEvent
from requests_app.models import StatusBearer
from tests.conftest import called_here

pytestmark = pytest.mark.django_db(transaction=True)

CALLER = "" if connection.vendor == "sqlite" else "shop@10.0.0.%"


def created(*arguments: str) -> str:
    """The line of it, which is all that standard output has."""
    made = called_here("status_bearer", "create", CALLER, *arguments)
    assert made.returncode == 0, made.stderr
    assert "shown this once" in made.stderr
    return str(made.stdout)


def test_what_is_printed_is_a_bearer_of_the_caller() -> None:
    secret = created()
    assert re.fullmatch(r"tasker_\S{43}\n", secret)
    assert StatusBearer.objects.caller_of(secret.strip()) == CALLER
    assert StatusBearer.objects.get().created_by == account()


@pytest.mark.parametrize(("given", "days"), [((), 365), (("--expires", "30d"), 30), (("--expires", "never"), None)])
def test_it_expires(given: tuple[str, ...], days: int | None) -> None:
    created(*given)
    row = StatusBearer.objects.get()
    assert (row.expires_at and round((row.expires_at - row.created_at).total_seconds() / 86_400, 2)) == days


def test_a_list_names_all_and_shows_none() -> None:
    secrets = [created(), created("--expires", "never")]
    first, second = StatusBearer.objects.order_by("id")
    revoked = called_here("status_bearer", "revoke", str(first.pk))
    assert (revoked.returncode, revoked.stdout) == (0, f"bearer {first.pk} is revoked\n")
    assert StatusBearer.objects.caller_of(secrets[0].strip()) is None
    listed = called_here("status_bearer", "list").stdout.splitlines()
    caller = CALLER or "''"
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    made = rf"of {re.escape(caller)}, made {moment} by {re.escape(account())}"
    assert re.fullmatch(rf"bearer {first.pk} {made}, expires {moment}, revoked {moment}", listed[0]), listed
    assert re.fullmatch(rf"bearer {second.pk} {made}, does not expire", listed[1]), listed
    assert not [secret for secret in secrets if secret.strip() in "".join(listed)]


def test_who_made_and_who_revoked_one_is_told() -> None:
    with capture_logs(processors=(merge_contextvars,)) as events:
        secret = created().strip()
        number = StatusBearer.objects.get().pk
        called_here("status_bearer", "revoke", str(number))
    who = {"account": account(), "address": "", "log_level": "info", "bearer": number}
    assert events == [
        who | {"event": "status_bearer_created", "caller": CALLER},
        who | {"event": "status_bearer_revoked"},
    ]
    assert secret not in str(events)
    kept = AuditEvent.objects.order_by("id").values_list("event", "account", "detail")
    assert list(kept) == [
        ("status_bearer_created", account(), f"bearer={number} caller={CALLER}"),
        ("status_bearer_revoked", account(), f"bearer={number}"),
    ]


def test_one_that_is_not_there_cannot_be_revoked() -> None:
    ended = called_here("status_bearer", "revoke", "7")
    assert (ended.returncode, ended.stderr) == (1, "CommandError: there is no bearer 7 that is not revoked\n")


@pytest.mark.sqlite
def test_sqlite_has_no_callers() -> None:
    ended = called_here("status_bearer", "create", "shop")
    assert ended.returncode == 2
    assert "SQLite has no accounts" in ended.stderr


@pytest.mark.integration
@pytest.mark.parametrize("caller", ["", "x" * 385])
def test_a_caller_is_a_name_of_the_database(caller: str) -> None:
    ended = called_here("status_bearer", "create", caller)
    assert ended.returncode == 2
    assert "shop@10.0.0.%" in ended.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("create",), ("create", CALLER, "--expires", "soon"), ("revoke",), ("revoke", "x"), ("forget",)]
)
def test_what_it_cannot_be_asked_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert called_here("status_bearer", *arguments).returncode == 2


def test_a_database_that_is_away_is_one_line() -> None:
    def execute(*_: Any) -> Any:
        raise OperationalError(2013, "Lost connection to server during query")

    with connection.execute_wrapper(execute):
        ended = called_here("status_bearer", "list")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
