"""Values of params and extras are masked; who may see them sees them once, and the admin's log says so."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from requests_app.admin.personal_data import LOGGED
from requests_app.models import Request
from tests.requests_app.admin.test_requests import REQUESTS, make_job, make_request, text_of

pytestmark = pytest.mark.django_db

EMAIL = "ann@example.org"


@pytest.fixture
def request_of_ann() -> Request:
    request = make_request(params={"id": 4711, "<b>": EMAIL}, extras={"who": {"email": EMAIL}})
    make_job(request, "a", extras={"email": EMAIL})
    return request


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def change(request: Request) -> str:
    return f"{REQUESTS}{request.pk}/change/"


def unmask(client: Client, request: Request) -> Any:
    return client.post(f"{REQUESTS}{request.pk}/personal_data/")


def test_values_are_masked_and_keys_are_not(request_of_ann: Request) -> None:
    html = text_of(staff("view_request", "view_personal_data").get(change(request_of_ann)))
    assert EMAIL not in html
    assert "4711" not in html
    assert "&lt;text of 15&gt;" in html
    assert html.count("&quot;email&quot;") == 2
    assert "&quot;&lt;b&gt;&quot;" in html


def test_who_may_see_them_sees_them_once_and_leaves_a_trace(request_of_ann: Request) -> None:
    client = staff("view_request", "view_personal_data")
    response = unmask(client, request_of_ann)
    assert response.status_code == 302
    html = text_of(client.get(response.url))
    assert html.count(EMAIL) == 3
    assert "&quot;id&quot;: 4711" in html
    (entry,) = LogEntry.objects.all()
    assert (entry.user.username, entry.object_id, entry.change_message) == ("someone", str(request_of_ann.pk), LOGGED)
    assert EMAIL not in text_of(client.get(change(request_of_ann)))


def test_one_look_is_for_one_request(request_of_ann: Request) -> None:
    client = staff("view_request", "view_personal_data")
    other = make_request(1, params={"email": EMAIL})
    unmask(client, request_of_ann)
    assert EMAIL not in text_of(client.get(change(other)))


@pytest.mark.parametrize("permissions", [["view_request"], ["view_personal_data"], []])
def test_others_are_refused_and_not_logged(permissions: list[str], request_of_ann: Request) -> None:
    client = staff(*permissions)
    assert unmask(client, request_of_ann).status_code == 403
    assert not LogEntry.objects.exists()
    if "view_request" in permissions:
        html = text_of(client.get(change(request_of_ann)))
        assert EMAIL not in html
        assert "Show them once" not in html


def test_a_permission_that_was_taken_away_meanwhile_is_gone(request_of_ann: Request) -> None:
    client = staff("view_request", "view_personal_data")
    unmask(client, request_of_ann)
    User.objects.get().user_permissions.set(Permission.objects.filter(codename="view_request"))
    assert EMAIL not in text_of(client.get(change(request_of_ann)))


def test_only_a_form_of_the_site_can_ask(request_of_ann: Request) -> None:
    client = staff("view_request", "view_personal_data")
    assert client.get(f"{REQUESTS}{request_of_ann.pk}/personal_data/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    assert unmask(strict, request_of_ann).status_code == 403
    assert not LogEntry.objects.exists()


def test_of_a_request_that_is_not_there_nothing_is_shown() -> None:
    client = staff("view_request", "view_personal_data")
    assert client.post(f"{REQUESTS}12345/personal_data/").status_code == 404
