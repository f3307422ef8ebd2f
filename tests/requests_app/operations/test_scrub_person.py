"""`scrub --subject SUBJECT`: of one person's requests what has ended is emptied, and what has not is named."""

from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from jobs_app.models import AuditEvent, Job
from requests_app.models import Receipt, Request, RequestStatus
from requests_app.models.subjects import kept
from tests.concurrency.interleaving import Actor
from tests.conftest import called_here
from tests.factories import insert_raw, make_job, make_request, pass_inprogress, pass_new
from tests.requests_app.operations.test_person import life_of

pytestmark = pytest.mark.django_db(transaction=True)

ANN, BOB = "ann@example.org", "bob@example.org"
KEY = "a-key-0123456789-abcdefghij-0123456789"
FINAL = ("Completed", "Failed", "Cancelled")


def everything() -> str:
    """As the tables hold it."""
    said = []
    with connection.cursor() as cursor:
        for table in ("requests", "jobs", "answers", "interventions", "django_admin_log"):
            cursor.execute(f"SELECT * FROM {table}")
            said += cursor.fetchall()
    return str(said)


def test_what_has_ended_is_emptied_whenever_it_was_and_what_has_not_is_named() -> None:
    life_of(ANN)
    for status in ("Completed", "Cancelled", "Queuing", "Inprogress"):
        request = make_request(status, ["noop"], subject=ANN, params={"who": ANN}, token=f"is-{status}")
        if status == "Inprogress":
            make_job(request, "noop", "new")
        if status == "Completed":
            make_job(request, "noop", "completed")
    done = called_here("scrub", "--subject", ANN)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "is-Queuing is left: it is Queuing",
        "is-Inprogress is left: it is Inprogress",
        "scrub scrubbed=3 before=0 left=2 receipts_kept=0",
    ]
    assert "2 left: run it again once they have ended" in done.stderr
    scrubbed = Request.objects.exclude(scrubbed_at=None)
    assert {row.status for row in scrubbed} == set(FINAL)
    assert {(str(row.params), row.subject) for row in scrubbed} == {("{}", "")}
    for token in ("is-Queuing", "is-Inprogress"):
        assert Request.objects.get(token=token).params == {"who": ANN}
        called_here("cancel_request", token, "--reason", "x")
    again = called_here("scrub", "--subject", ANN)
    assert (again.returncode, again.stdout) == (0, "scrub scrubbed=2 before=0 left=0 receipts_kept=0\n")
    assert ANN not in everything()


def test_nobody_else_is_touched() -> None:
    life_of(ANN)
    life_of(BOB)
    assert called_here("scrub", "--subject", ANN).returncode == 0
    assert ANN not in everything()
    assert everything().count(BOB) >= 8


def test_a_dry_run_says_the_same_and_changes_nothing() -> None:
    life_of(ANN)
    make_request("Queuing", subject=ANN, token="order-7")
    before = everything()
    dry = called_here("scrub", "--subject", ANN, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.splitlines() == [
        "order-7 is left: it is Queuing",
        "scrub dry run, nothing is changed: scrubbed=1 before=0 left=1 receipts_kept=0",
    ]
    assert everything() == before
    assert not AuditEvent.objects.filter(event="scrub").exists()


def test_a_hash_stays_so_who_asks_again_is_told_that_it_was_done_before(settings: Any) -> None:
    settings.WRK_SUBJECT_KEYS = [KEY]
    insert_raw("made_up", subject=ANN, steps="[]")
    pass_new()
    assert "scrubbed=1 before=0" in called_here("scrub", "--subject", ANN).stdout
    again = called_here("scrub", "--subject", ANN)
    assert (again.returncode, again.stdout) == (0, "scrub scrubbed=0 before=1 left=0 receipts_kept=0\n")
    assert Request.objects.get().subject == kept(ANN)


def test_a_receipt_is_written_first_and_keeps_the_subject() -> None:
    insert_raw("delete_user", params='{"id": 4711}', token="order-7")
    pass_new()
    called_here("cancel_request", "order-7", "--reason", "x")
    first = called_here("scrub", "--subject", "4711")
    assert "order-7 is left: its receipt is written first, by run_inprogress_requests" in first.stdout
    pass_inprogress()
    assert called_here("scrub", "--subject", "4711").stdout == "scrub scrubbed=1 before=0 left=0 receipts_kept=1\n"
    assert Receipt.objects.get().subject == "4711"


def test_a_cancelled_one_whose_job_still_runs_is_left() -> None:
    request = make_request("Cancelled", ["noop"], subject=ANN, token="order-7")
    make_job(request, "noop", "inprogress")
    assert "order-7 is left: a job of it still runs" in called_here("scrub", "--subject", ANN).stdout
    assert Request.objects.get().subject == ANN


@pytest.mark.integration
def test_one_that_another_session_holds_is_named_and_the_others_are_emptied() -> None:
    held, free = (make_request("Completed", subject=ANN, token=f"order-{n}") for n in (1, 2))
    for request in (held, free):
        make_job(request, "noop", "completed")
    with connection.cursor() as cursor:
        cursor.execute("SET innodb_lock_wait_timeout = 1")
    with Actor(partial(_hold, held.pk), stop_before="SELECT 1"):
        done = called_here("scrub", "--subject", ANN)
    assert done.stdout.splitlines()[0] == "order-1 is left: another session holds it"
    assert list(Request.objects.filter(scrubbed_at=None).values_list("token", flat=True)) == ["order-1"]


def _hold(id_: int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM requests WHERE id = %s FOR UPDATE", [id_])
        cursor.execute("SELECT 1")


def test_who_was_told_of_an_end_is_emptied_too(settings: Any) -> None:
    settings.WRK_NOTIFY, settings.WRK_NOTIFY_KEYS = {"shop": "http://127.0.0.1:9"}, ["whsec_" + "MfKQ9r8G" * 4]
    insert_raw("made_up", subject=ANN, token="order-7", notify="shop", steps="[]")
    pass_new()
    (notify,) = Request.objects.filter(action="notify").values_list("token", flat=True)
    assert f"{notify} is left: it is Queuing" in called_here("scrub", "--subject", ANN).stdout


def test_it_is_told_with_the_account_and_whom_is_in_the_row_alone() -> None:
    life_of(ANN)
    called_here("scrub", "--subject", ANN)
    row = AuditEvent.objects.get(event="scrub")
    assert row.subject == ANN
    assert row.detail.endswith("scrubbed=1 before=0 left=0")


@pytest.mark.parametrize("subject", ["nobody", "", "%"])
def test_of_nobody_it_says_so(subject: str) -> None:
    make_request("Completed")
    done = called_here("scrub", "--subject", subject)
    assert (done.returncode, done.stdout) == (1, "")
    assert "scrub: there is no request about this subject" in done.stderr


def test_many_are_emptied_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests_app.operations.scrub_person._BATCH", 2)
    for status in FINAL * 2:
        ended = {"Completed": "completed", "Failed": "failure"}.get(status, "cancelled")
        make_job(make_request(status, subject=ANN), "noop", ended)
    assert "scrubbed=6 before=0 left=0" in called_here("scrub", "--subject", ANN).stdout
    assert not Request.objects.filter(scrubbed_at=None).exists()
    assert Job.objects.count() == 6
    assert RequestStatus.FAILED in {row.status for row in Request.objects.all()}
