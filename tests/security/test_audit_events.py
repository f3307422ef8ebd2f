"""The table `audit_events`: a row beside each log event that tells who did what to whose data."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from jobs_app.db.dialect import database_now
from jobs_app.management.operator_command import account
from jobs_app.models import Answer, AuditEvent
from jobs_app.telemetry import audit
from requests_app.models import Request
from requests_app.models.subjects import kept
from requests_app.operations.interventions import cancel_request
from tests.conftest import called_here
from tests.factories import make_job, make_request
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db(transaction=True)

REQUESTS, EVENTS = "/admin/requests_app/request/", "/admin/jobs_app/auditevent/"
KEY = "a-key-0123456789-abcdefghij-0123456789"
Row = tuple[str, str, str, str, str, str]


def rows() -> list[Row]:
    columns = "event", "account", "address", "token", "subject", "detail"
    return list(AuditEvent.objects.order_by("id").values_list(*columns))


@pytest.fixture
def browser(settings: Any) -> Client:
    settings.BEHIND_TLS_PROXY = True
    client = Client(headers={"X-Forwarded-For": "198.51.100.1, 192.0.2.7"})
    client.force_login(User.objects.create_superuser("ann", password="a long password"))
    AuditEvent.objects.all().delete()
    return client


def waiting(**columns: Any) -> Request:
    request = make_request("Inprogress", ["noop"], **columns)
    make_job(request, "noop", "new", due_in=3600)
    return request


# Written --------------------------------------------------------------------------------------------------------------
def test_looks_and_verbs_of_the_admin_leave_a_row_each(browser: Client) -> None:
    request = waiting(subject="4711")
    answer = Answer.objects.create(token="t-1", step=0, job="noop", outcome="completed")
    browser.post(f"{REQUESTS}{request.pk}/personal_data/")
    browser.post(f"/admin/jobs_app/answer/{answer.pk}/personal_data/")
    browser.post(f"{REQUESTS}{request.pk}/verb/cancel_request/", {"reason": "Ann asked"})
    browser.post("/admin/jobs_app/pausedjob/verb/pause_job/noop/", {"reason": "Ann asked"})
    who = ("ann", "192.0.2.7")
    assert rows() == [
        ("personal_data_shown", *who, request.token, "4711", "action=other"),
        ("personal_data_shown", *who, "t-1", "", "step=0 job=noop"),
        ("cancel_request", *who, request.token, "", "action=other by=ann"),
        ("pause_job", *who, "", "", "job=noop by=ann"),
    ]
    now = database_now()
    assert all(now - row.at < timedelta(minutes=1) for row in AuditEvent.objects.all())


def test_logins_refused_ones_and_logouts_leave_a_row_each(browser: Client) -> None:
    browser.logout()
    AuditEvent.objects.all().delete()
    for name, password in (("ann", "wrong"), ("my password", "x"), ("ann", "a long password")):
        browser.post("/admin/login/", {"username": name, "password": password})
    browser.post("/admin/logout/")
    assert [(event, who, where, detail) for event, who, where, _, _, detail in rows()] == [
        ("login_refused", "ann", "192.0.2.7", "outcome=refused"),
        ("login_refused", "unknown", "192.0.2.7", "outcome=refused"),
        ("login", "ann", "192.0.2.7", ""),
        ("logout", "ann", "192.0.2.7", ""),
    ]


def test_the_command_line_leaves_rows_with_the_systems_account(settings: Any) -> None:
    settings.WRK_SUBJECT_KEYS = [KEY]
    request = waiting(subject="4711")  # as before its pick-up: plain
    here = (account(), "")
    called_here("show_request", request.token)
    called_here("show_request", request.token, "--json")
    called_here("cancel_request", request.token, "--reason", "x", "--by", "Bob")
    called_here("purge_requests", "--older-than", "90d", "--scrub-after", "30d")
    called_here("purge_requests", "--older-than", "90d", "--dry-run")
    called_here("receipt", "--month", "2026-11")
    assert rows() == [
        ("personal_data_shown", *here, request.token, kept("4711"), "action=other"),
        ("cancel_request", *here, request.token, "", f"action=other by={account()} for Bob"),
        (
            "purge_requests", *here, "", "",
            f"by={account()} older_than=90 d 0 h scrub_after=30 d 0 h",
        ),
        ("receipts_exported", *here, "", "", "month=2026-11"),
    ]  # fmt: skip


def test_many_that_failed_alike_leave_a_row_each_by_one_statement_for_a_batch() -> None:
    requests = [make_request("Failed", error_kind="12345678") for _ in range(3)]
    for request in requests:
        make_job(request, "noop", "failure")
    with listening() as heard:
        done = called_here("retry_request", "--like", requests[0].token, "--reason", "x")
    assert done.returncode == 0
    assert {row[3] for row in rows()} == {request.token for request in requests}
    # The one that was named is taken up after all others, by itself.
    assert sum("INTO `audit_events`" in one.sql or 'INTO "audit_events"' in one.sql for one in heard) == 2


def test_what_is_refused_or_rolled_back_leaves_none() -> None:
    request = make_request("Completed")
    called_here("cancel_request", request.token, "--reason", "x")
    assert rows() == []


def test_outside_of_the_admin_and_the_commands_it_is_who_the_verb_says() -> None:
    cancel_request(waiting().token, by="a script", reason="x")
    assert rows()[0][1:3] == ("a script", "")


# Not written ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OperationalError(1142, "INSERT command denied to user 'x'@'y' for table `tasker`.`audit_events`")

    monkeypatch.setattr(AuditEvent.objects, "bulk_create", refuse)


def test_a_row_that_cannot_be_written_takes_no_verb_and_no_look_and_is_told_and_counted(broken: None) -> None:
    request = waiting()
    before = REGISTRY.get_sample_value("tasker_audit_events_not_kept_total") or 0
    with capture_logs() as events:
        shown = called_here("show_request", request.token, "--json")
        done = called_here("cancel_request", request.token, "--reason", "x")
    assert (shown.returncode, done.returncode) == (0, 0)
    assert Request.objects.get(pk=request.pk).status == "Cancelled"
    told = [event for event in events if event["event"] == "audit_event_not_kept"]
    assert [(event["of"], event["log_level"]) for event in told] == [
        ("personal_data_shown", "error"),
        ("cancel_request", "error"),
    ]
    assert "INSERT command denied" in told[0]["fault"]
    assert [event["event"] for event in events if event["event"] in {"personal_data_shown", "cancel_request"}] == [
        "personal_data_shown",
        "cancel_request",
    ]
    assert REGISTRY.get_sample_value("tasker_audit_events_not_kept_total") == before + 2


def test_what_is_too_long_is_cut_and_kept() -> None:
    audit.audit(lambda *_, **__: None, "login", account="ä" * 300, address="fe80::1%" + "x" * 99, said="x" * 600)
    ((_, who, where, _, _, detail),) = rows()
    assert (len(who), len(where), len(detail)) == (255, 45, 500)


# Kept for so long -----------------------------------------------------------------------------------------------------
def test_they_are_purged_by_an_age_of_their_own(settings: Any) -> None:
    settings.WRK_AUDIT_DAYS = 400
    for days in (401, 399):
        AuditEvent.objects.create(event="login", account=str(days), at=database_now() - timedelta(days=days))
    kept_ones = AuditEvent.objects.exclude(event="purge_requests").values_list("account", flat=True)
    dry = called_here("purge_requests", "--older-than", "30d", "--dry-run")
    assert " audit_events=1 " in dry.stdout
    assert len(kept_ones) == 2
    assert " audit_events=1 " in called_here("purge_requests", "--older-than", "30d").stdout
    assert list(kept_ones.all()) == ["399"]
    assert "audit_events" not in called_here("purge_requests", "--scrub-after", "1d").stdout


# Looked at ------------------------------------------------------------------------------------------------------------
def test_the_admin_finds_them_by_account_token_subject_and_event(browser: Client, settings: Any) -> None:
    settings.WRK_SUBJECT_KEYS = [KEY]
    for event, who, token, subject in [
        ("login", "eve", "", ""),
        ("cancel_request", "bob", "order-7", ""),
        ("personal_data_shown", "bob", "order-8", kept("4711")),
    ]:
        AuditEvent.objects.create(event=event, account=who, token=token, subject=subject)
    found = partial(_found, browser)
    assert found("") == ["order-8", "order-7", "eve"]
    assert (found("?q=bob"), found("?q=order-7"), found("?q=4711")) == (
        ["order-8", "order-7"],
        ["order-7"],
        ["order-8"],
    )
    assert found("?event=login") == ["eve"]
    assert found("?q=bob&event=cancel_request") == ["order-7"]
    assert found("?q=nobody") == []


def _found(browser: Client, query: str) -> list[str]:
    rows = browser.get(EVENTS + query).context["cl"].result_list
    return [row.token or row.account for row in rows]


def test_the_admin_lets_nobody_change_add_or_delete_one(browser: Client) -> None:
    row = AuditEvent.objects.create(event="login", account="eve")
    for path in (f"{row.pk}/change/", f"{row.pk}/delete/", "add/"):
        browser.post(EVENTS + path, {"account": "x"})
    browser.post(EVENTS, {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"})
    assert rows() == [("login", "eve", "", "", "", "")]


def test_a_plain_subject_is_masked_and_a_hash_is_cut(client: Client, settings: Any) -> None:
    eve = User.objects.create_user("eve", is_staff=True)
    eve.user_permissions.add(Permission.objects.get(codename="view_auditevent"))
    client.force_login(eve)
    AuditEvent.objects.create(event="personal_data_shown", account="bob", subject="4711-plain")
    AuditEvent.objects.create(event="personal_data_shown", account="bob", subject="ab" * 32)
    settings.WRK_SUBJECT_KEYS = [KEY]
    page = client.get(EVENTS).content.decode()
    assert "4711-plain" not in page
    assert "ab" * 32 not in page
    assert "abababab… (hashed)" in page
    eve.user_permissions.add(Permission.objects.get(codename="view_personal_data"))
    assert "4711-plain" in client.get(EVENTS).content.decode()


def test_who_may_not_see_them_does_not(client: Client) -> None:
    client.force_login(User.objects.create_user("eve", is_staff=True))
    assert client.get(EVENTS).status_code == 403


@pytest.mark.integration
@pytest.mark.parametrize("term", ["bob", "order-7"])
def test_a_search_reads_indexes_and_not_the_table(term: str, browser: Client) -> None:
    AuditEvent.objects.bulk_create(
        AuditEvent(event="login", account=f"a{n}", token=f"t{n}", subject=f"s{n}") for n in range(2000)
    )
    call = _reads(lambda: browser.get(f"{EVENTS}?q={term}"))
    assert call < 500


def _reads(act: Callable[[], object]) -> int:
    """Rows that the server's storage engine read one after another, without an index's help."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read_rnd_next'")
        before = int(cursor.fetchone()[1])
        act()
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read_rnd_next'")
        return int(cursor.fetchone()[1]) - before
