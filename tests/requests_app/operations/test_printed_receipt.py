"""`manage.py receipt`: as text, as a page, as JSON, for a month; and what `--check` and `--digest` say."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client

from requests_app.models import Intervention, Receipt, Request
from requests_app.models.receipt_moves import ReceiptState
from requests_app.operations.printed_receipt import as_page
from tests.conftest import called_here
from tests.factories import make_job, make_request
from tests.requests_app.test_receipts import chain, ended, put, write

pytestmark = pytest.mark.django_db(transaction=True)

RECEIPT = "/admin/requests_app/request/{}/receipt/"


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def request_of_two_attempts() -> Request:
    request = make_request("Completed", ["noop"], ["noop_1"], action="proven", token="r1", receipt=ReceiptState.DUE)
    request.subject = "<4711>"
    request.save(update_fields=["subject"])
    make_job(request, "noop", "retry", started_at="2026-11-01 10:00Z", completed_at="2026-11-01 10:00:05Z")
    make_job(request, "noop", "completed", attempt=2, started_at="2026-11-01 10:01Z")
    make_job(request, "noop_1", "failure", step=1, if_fails="continue")
    Request.objects.update(shortfall=1)
    Intervention.objects.create(request=request, verb="retry_now", by="ann", reason="hurry")
    assert write() == 1
    return request


def test_it_says_what_was_done_also_when_the_request_is_gone(request_of_two_attempts: Request) -> None:
    sql("DELETE FROM interventions")
    sql("DELETE FROM jobs")
    sql("DELETE FROM requests")
    said = called_here("receipt", "r1")
    assert (said.returncode, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert lines[0] == "receipt 1"
    assert "  subject  <4711>" in lines
    assert "  1 job short" in lines
    assert "    attempt 1   retry             began 2026-11-01 10:00:00  ended 2026-11-01 10:00:05" in lines
    assert any("retry_now  ann" in line for line in lines)
    assert "hurry" not in said.stdout
    assert lines[-3:] == [
        f"digest   {chain()[0].digest}",
        f"follows  {'0' * 64}",
        "The digest is that of what stands here.",
    ]


def test_a_page_holds_the_same_and_needs_nothing_from_elsewhere(request_of_two_attempts: Request) -> None:
    page = called_here("receipt", "r1", "--html").stdout
    assert page.startswith("<!DOCTYPE html>")
    assert "&lt;4711&gt;" in page
    assert chain()[0].digest in page
    assert "src=" not in page
    assert "http" not in page
    assert "url(" not in page
    assert "href" not in page


def test_one_that_was_changed_says_so_and_exits_1(request_of_two_attempts: Request) -> None:
    sql("UPDATE receipts SET status = 'Failed'")
    said = called_here("receipt", "r1")
    assert said.returncode == 1
    assert said.stdout.splitlines()[-1].startswith("CHANGED: ")
    assert "CHANGED: " in called_here("receipt", "r1", "--html").stdout


@pytest.mark.parametrize("body", ["{}", "[]", "7", '{"steps": 7, "by_hand": 1, "created_at": 1, "started_at": 1}'])
def test_a_body_of_another_shape_is_said(request_of_two_attempts: Request, body: str) -> None:
    Receipt.objects.update(body=json.loads(body))
    said = called_here("receipt", "r1")
    assert said.returncode == 1
    assert "What it says of the jobs cannot be read." in said.stdout
    assert "cannot be read" in as_page(chain())


def test_of_several_each_is_printed() -> None:
    ended(status="Failed")
    write()
    put(chain()[0], id=2, previous_digest=chain()[0].digest)
    assert called_here("receipt", "r1").stdout.count("receipt ") == 2
    assert [json.loads(line)["id"] for line in called_here("receipt", "r1", "--json").stdout.splitlines()] == [1, 2]


def test_without_one_it_says_so() -> None:
    said = called_here("receipt", "nobody")
    assert (said.returncode, said.stdout) == (1, "")
    assert "there is no receipt of a request with token nobody" in said.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--month", "2026-11"], ["--month", "November"], ["--digest", "0", "--html"]]
)
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    assert called_here("receipt", *arguments).returncode == 2


def test_a_month_is_exported_whole_and_checked(tmp_path: Path) -> None:
    ended(5)
    write()
    previous = "0" * 64
    for row, at in zip(
        chain(), ("10-31T23:59:59", "11-01T00:00:00", "11-15T00:00:00", "11-30T23:59:59", "12-01T00:00:00"), strict=True
    ):
        previous = put(row, created_at=f"2026-{at}.000000Z", previous_digest=previous).digest
    file = tmp_path / "november"
    file.write_text(called_here("receipt", "--month", "2026-11").stdout)
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == [2, 3, 4]
    good = called_here("receipt", "--check", str(file))
    assert (good.returncode, good.stdout) == (0, "receipt: all is well in 3 receipts\n")
    file.write_text(file.read_text().replace('"r3"', '"r9"'))
    bad = called_here("receipt", "--check", str(file))
    assert bad.returncode == 1
    assert bad.stdout == "receipt 3 (request r9): it was changed: its digest is not that of what stands in it\n"
    assert called_here("receipt", "--month", "2025-12").stdout == ""


@pytest.mark.parametrize("content", [b"nothing\n", b"\xff\xfe\n", None])
def test_a_file_that_is_none_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    said = called_here("receipt", "--check", str(file))
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (1, "", 1)


def test_a_digest_is_looked_for() -> None:
    ended(2)
    write()
    found = called_here("receipt", "--digest", chain()[1].digest.upper())
    assert found.stdout.startswith("receipt 2 of request r2, written ")
    lost = called_here("receipt", "--digest", "f" * 64)
    assert (lost.returncode, lost.stdout) == (1, "")
    assert "lost with a backup" in lost.stderr


def test_verify_checks_them_too_and_by_themselves() -> None:
    ended(3)
    write()
    assert "and 3 receipts (" in called_here("verify").stdout
    assert called_here("verify", "--receipts-from", "2").stdout.startswith("verify: all is well in 2 receipts (")
    sql("UPDATE receipts SET status = 'Failed' WHERE id = 2")
    assert called_here("verify").returncode == 1
    assert called_here("verify", "--receipts-from", "3").returncode == 0
    wrong = called_here("verify", "--receipts-from", "1")
    assert "receipt 2 (request r2): it was changed" in wrong.stdout
    assert "verify: 1 wrong in 3 receipts (" in wrong.stderr


# The admin ------------------------------------------------------------------------------------------------------------
def staff(*permissions: str) -> Client:
    user = User.objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_the_admin_leads_to_the_page(request_of_two_attempts: Request, settings: Any) -> None:
    client, url = staff("view_request"), RECEIPT.format(request_of_two_attempts.pk)
    assert f'href="{url}">Receipt</a>' in client.get(url.replace("receipt", "change")).content.decode()
    answer = client.get(url)
    page = answer.content.decode()
    assert chain()[0].digest in page
    nonce = page.partition('<style nonce="')[2].partition('"')[0]
    assert nonce
    assert f"style-src 'self' 'nonce-{nonce}'" in answer["Content-Security-Policy"]


def test_the_admin_shows_it_to_nobody_else(request_of_two_attempts: Request) -> None:
    assert staff().get(RECEIPT.format(request_of_two_attempts.pk)).status_code == 403
    assert Client().get(RECEIPT.format(request_of_two_attempts.pk)).status_code == 302


def test_a_request_without_one_has_no_button() -> None:
    request, client = make_request("Completed"), staff("view_request")
    url = RECEIPT.format(request.pk)
    assert url not in client.get(url.replace("receipt", "change")).content.decode()
    assert client.get(url).status_code == 404
