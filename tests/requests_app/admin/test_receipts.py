"""The admin's list of receipts: read-only, found by token and subject, masked, and each leads to its page to print."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from requests_app.models import Receipt, Request
from requests_app.models.subjects import kept
from tests.conftest import called_here
from tests.factories import insert_raw, pass_inprogress, pass_new

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/requests_app/receipt/"
KEY = "a-key-0123456789-abcdefghij-0123456789"


@pytest.fixture
def tokens() -> list[str]:
    """Of requests with a receipt each; the first one is purged."""
    for number in (1, 2):
        insert_raw("delete_user", params=f'{{"id": {number}4711}}', token=f"order-{number}")
    pass_new()
    for number in (1, 2):
        called_here("cancel_request", f"order-{number}", "--reason", "x")
    pass_inprogress()
    request = Request.objects.get(token="order-1")
    request.jobs.all().delete()
    request.interventions.all().delete()
    request.delete()
    return ["order-1", "order-2"]


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("ann"))
    return client


def found(browser: Client, query: str) -> list[str]:
    return [row.token for row in browser.get(LIST + query).context["cl"].result_list]


def test_they_are_found_by_token_and_subject(tokens: list[str], browser: Client) -> None:
    assert found(browser, "") == tokens[::-1]
    assert (found(browser, "?q=order-1"), found(browser, "?q=24711"), found(browser, "?q=47")) == (
        tokens[:1], tokens[1:], []
    )  # fmt: skip


def test_a_hashed_subject_is_found_by_the_plain_one(browser: Client, settings: Any) -> None:
    settings.WRK_SUBJECT_KEYS = [KEY]
    insert_raw("delete_user", params='{"id": 4711}', token="hashed")
    pass_new()
    called_here("cancel_request", "hashed", "--reason", "x")
    pass_inprogress()
    assert found(browser, "?q=4711") == ["hashed"]
    assert kept("4711") not in browser.get(LIST).content.decode()


def test_one_leads_to_its_page_to_print_also_once_its_request_is_purged(tokens: list[str], browser: Client) -> None:
    receipt = Receipt.objects.get(token="order-1")
    page = browser.get(f"{LIST}{receipt.pk}/change/")
    assert page.status_code == 200
    assert "The digest is that of what stands here." in page.content.decode()
    assert "nonce-" in page["Content-Security-Policy"]
    assert browser.get(f"{LIST}999/change/").status_code == 404


def test_nobody_changes_one(tokens: list[str], browser: Client) -> None:
    receipt = Receipt.objects.get(token="order-2")
    for path in (f"{receipt.pk}/change/", f"{receipt.pk}/delete/", "add/"):
        browser.post(LIST + path, {"status": "Failed", "post": "yes"})
    assert list(Receipt.objects.filter(pk=receipt.pk).values()) == [
        {name: getattr(receipt, name) for name in Receipt.objects.values().first() or {}}
    ]


def test_who_may_see_none_sees_none_and_a_plain_subject_is_masked(tokens: list[str], client: Client) -> None:
    eve = User.objects.create_user("eve", is_staff=True)
    client.force_login(eve)
    receipt = Receipt.objects.get(token="order-1")
    ended = Request.objects.get(token="order-2")
    of_request = f"/admin/requests_app/request/{ended.pk}/receipt/"
    pages = {LIST: "14711", f"{LIST}{receipt.pk}/change/": "14711", of_request: "24711"}
    assert {client.get(page).status_code for page in pages} == {403}
    eve.user_permissions.set(Permission.objects.filter(codename__in=("view_receipt", "view_request")))
    texts = {page: client.get(page).content.decode() for page in pages}
    assert all("order-" in text and pages[page] not in text for page, text in texts.items())
    eve.user_permissions.add(Permission.objects.get(codename="view_personal_data"))
    assert all(subject in client.get(page).content.decode() for page, subject in pages.items())
