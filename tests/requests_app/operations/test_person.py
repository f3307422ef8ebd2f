"""`person SUBJECT`: every row of every table about one person as one JSON document, and nothing about anybody else."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import connection
from structlog.testing import capture_logs

from jobs_app.db.dialect import database_now
from jobs_app.models import AuditEvent
from requests_app.admin.personal_data import LOGGED
from requests_app.management.commands import person as command
from requests_app.models import Intervention, Receipt, Request
from requests_app.models.subjects import kept
from requests_app.operations import find_requests, person
from tests.conftest import called_here
from tests.factories import insert_raw, make_answer_to, make_job, make_request, pass_inprogress, pass_new
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db(transaction=True)

ANN, BOB = "ann@example.org", "bob@example.org"
KEY, OLD = "new-key-0123456789-abcdefghij-0123456789", "old-key-0123456789-abcdefghij-0123456789"
HOOK = {"shop": "http://127.0.0.1:9"}


def life_of(subject: str, **columns: Any) -> Request:
    """A request about somebody, with a row in every table that can have one."""
    request = make_request(
        "Failed", ["noop"], subject=subject, params={"who": subject}, extras={"who": subject}, **columns
    )
    make_job(request, "noop", "retry", error=subject, answer=subject)
    make_job(request, "noop", "failure", attempt=2, extras={"who": subject})
    answer = make_answer_to(request.token, extras={"who": subject}, reason=subject, effect="late")
    Intervention.objects.create(request=request, verb="retry_request", by="ada", reason=f"{subject} asked")
    AuditEvent.objects.create(event="retry_request", account="ada", token=request.token)
    ada, _ = User.objects.get_or_create(username="ada", is_staff=True)
    LogEntry.objects.log_actions(ada.pk, [request], CHANGE, change_message=f"{subject} asked")
    LogEntry.objects.log_actions(ada.pk, [answer], CHANGE, change_message=LOGGED)
    return request


def document(subject: str, *more: str) -> dict[str, Any]:
    ended = called_here("person", *more, subject)
    assert (ended.returncode, ended.stderr) == (0, "")
    return dict(json.loads(ended.stdout))


def test_each_row_about_them_is_there_and_no_other() -> None:
    request, other = life_of(ANN), life_of(BOB)
    told = document(ANN)
    (one,) = told["requests"]
    assert (one["token"], one["params"], one["extras"]) == (request.token, {"who": ANN}, {"who": ANN})
    assert [(job["attempt"], job["status"], job["answer"], job["extras"]) for job in one["jobs"]] == [
        (1, "retry", ANN, None),
        (2, "failure", None, {"who": ANN}),
    ]
    assert [(answer["reason"], answer["extras"]) for answer in one["answers"]] == [(ANN, {"who": ANN})]
    assert [(row["by"], row["reason"]) for row in one["interventions"]] == [("ada", f"{ANN} asked")]
    assert [row["change_message"] for row in told["admin_log"]] == [f"{ANN} asked", LOGGED]
    assert [row["event"] for row in told["audit_events"]] == ["retry_request", "personal_data_shown"]
    assert (told["subject"], told["receipts"]) == (ANN, [])
    text = json.dumps(told)
    assert BOB not in text
    assert other.token not in text


def test_every_column_of_every_table_is_there() -> None:
    life_of(ANN)
    told = document(ANN)
    (one,) = told["requests"]
    for table, row in (
        ("requests", one),
        ("jobs", one["jobs"][0]),
        ("answers", one["answers"][0]),
        ("interventions", one["interventions"][0]),
        ("audit_events", told["audit_events"][0]),
    ):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table} WHERE 1 = 0")
            columns = {column[0] for column in cursor.description}
        assert columns - {"request_id"} <= row.keys()


def test_receipts_are_there_also_once_their_request_is_purged() -> None:
    insert_raw("delete_user", params='{"id": 4711}', token="order-7")
    pass_new()
    called_here("cancel_request", "order-7", "--reason", "x")
    pass_inprogress()
    assert Receipt.objects.count() == 1
    assert [row["token"] for row in document("4711")["receipts"]] == ["order-7"]
    at = database_now() - timedelta(days=2)
    Request.objects.update(created_at=at, due_at=at, started_at=at, completed_at=at)
    called_here("purge_requests", "--older-than", "1d")
    told = document("4711")
    assert (told["requests"], [row["subject"] for row in told["receipts"]]) == ([], ["4711"])
    assert told["receipts"][0].keys() == set(Receipt.objects.values().get())


def test_who_was_told_of_an_end_is_there_and_a_token_that_looks_like_them_is_not(settings: Any) -> None:
    settings.WRK_NOTIFY, settings.WRK_NOTIFY_KEYS = HOOK, ["whsec_" + "MfKQ9r8G" * 4]
    mine = insert_raw("noop", subject="4711", token="order-7", notify="shop", steps="[]")
    insert_raw("noop", subject="Bob", token="4711", notify="shop", steps="[]")
    pass_new()
    told = [(row["action"], row["subject"]) for row in document("4711")["requests"]]
    assert told == [("noop", "4711"), ("notify", "order-7")]
    assert Request.objects.get(pk=mine).status == "Failed"


def test_a_hashed_person_is_found_under_every_key_and_before(settings: Any) -> None:
    tokens: list[str] = []
    for keys in ([], [OLD], [KEY, OLD]):
        settings.WRK_SUBJECT_KEYS = keys
        tokens.append(f"order-{len(tokens)}")
        insert_raw("made_up", subject=ANN, token=tokens[-1], steps='[{"name": "only", "jobs": ["noop"]}]')
        pass_new()
    assert sorted(row["token"] for row in document(f" {ANN} ")["requests"]) == tokens
    assert AuditEvent.objects.get().subject == kept(ANN)


def test_pages_leave_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_requests, "_TOKENS", 2)
    monkeypatch.setattr(person, "_PAGE", 2)
    monkeypatch.setattr(person, "_NAMES", 2)
    request = life_of(ANN)
    for attempt in range(3, 8):
        make_job(request, "noop", "failure", attempt=attempt)
    tokens = [request.token, *(life_of(ANN).token for _ in range(4))]
    told = document(ANN)
    assert [row["token"] for row in told["requests"]] == tokens
    assert [job["attempt"] for job in told["requests"][0]["jobs"]] == list(range(1, 8))
    assert len(told["admin_log"]) == 10  # of each a look at the request, and one at its answer
    assert [row["token"] for row in told["audit_events"]] == [*tokens, ""]


def test_the_look_is_told_before_anything_is_shown_and_whom_is_in_the_row_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    life_of(ANN)
    AuditEvent.objects.all().delete()
    with capture_logs() as events:
        document(ANN)
    (event,) = [event for event in events if event["event"] == "personal_data_shown"]
    assert (event["requests"], event["receipts"]) == (1, 0)
    assert ANN not in str(events)
    assert (AuditEvent.objects.get().subject, AuditEvent.objects.get().detail) == (ANN, "requests=1 receipts=0")
    monkeypatch.setattr(command, "log_person_shown", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        called_here("person", ANN)


@pytest.mark.parametrize("subject", ["nobody", "", "  ", "%", "order-7"])
def test_of_nobody_it_says_so_and_repeats_no_name(subject: str) -> None:
    make_request("Queuing", token="order-7")  # a token is no subject
    ended = called_here("person", subject)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.strip().endswith(": nothing is kept about this subject: no request and no receipt")
    assert not AuditEvent.objects.exists()


def test_what_others_wrote_into_a_row_breaks_no_document() -> None:
    life_of(ANN)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET answer = %s", ['"\x1b[2J\n'])
    assert document(ANN)["requests"][0]["jobs"][0]["answer"] == '"\x1b[2J\n'


def test_statements_do_not_grow_with_what_a_page_holds() -> None:
    request = life_of(ANN)
    with listening() as few:
        called_here("person", ANN)
    for attempt in range(3, 60):
        make_job(request, "noop", "failure", attempt=attempt)
    with listening() as many:
        called_here("person", ANN)
    assert len(many) == len(few)
