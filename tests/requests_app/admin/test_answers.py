"""The admin's list of answers, and the page of one: what it said is masked like all that others said."""

import html
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from requests_app.admin.personal_data import LOGGED
from tests.factories import make_answer_to, make_job, make_request

pytestmark = pytest.mark.django_db

ANSWERS = "/admin/jobs_app/answer/"
EMAIL = "ann@example.org"
SAID: dict[str, Any] = {"extras": {"email": EMAIL}, "reason": f"{EMAIL} said"}


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def tokens_of(text: str) -> list[str]:
    return re.findall(r'field-token"><a[^>]*>([^<]+)<', text)


def test_the_list_shows_what_became_of_each_and_no_word_of_what_was_said() -> None:
    make_answer_to("first", effect="taken")
    make_answer_to("second", **SAID)
    text = text_of(staff("view_answer").get(ANSWERS))
    assert tokens_of(text) == ["second", "first"]
    assert ">2026-01-01 00:00:00<" in text
    assert EMAIL not in text


@pytest.mark.parametrize(
    ("query", "tokens"),
    [("effect=pending", ["b"]), ("effect=taken", ["a"]), ("effect=late", []), ("q=b", ["b"]), ("q=x", [])],
)
def test_it_is_filtered_by_effect_and_searched_by_token(query: str, tokens: list[str]) -> None:
    make_answer_to("a", effect="taken")
    make_answer_to("b")
    assert tokens_of(text_of(staff("view_answer").get(f"{ANSWERS}?{query}"))) == tokens


def test_a_list_of_fifty_takes_as_many_statements_as_one_of_one() -> None:
    client = staff("view_answer")
    counts = []
    for more in (1, 49):
        for _ in range(more):
            make_answer_to(**SAID)
        with CaptureQueriesContext(
            connection,
        ) as heard:
            client.get(ANSWERS)
        counts.append(sum("answers" in query["sql"] for query in heard.captured_queries))
    assert counts[0] == counts[1] <= 3


def test_what_it_said_is_masked_and_shown_once_to_whom_the_log_names() -> None:
    client, answer = (
        staff("view_answer", "view_personal_data"),
        make_answer_to(**SAID),
    )
    page = f"{ANSWERS}{answer.pk}/"
    masked = text_of(client.get(f"{page}change/"))
    assert EMAIL not in masked
    assert '"email": <text of 15>' in masked
    assert "<text of 20>" in masked
    shown = text_of(client.post(f"{page}personal_data/", follow=True))
    assert shown.count(EMAIL) == 2
    (entry,) = LogEntry.objects.all()
    assert (entry.user.username, entry.object_id, entry.change_message) == ("ada", str(answer.pk), LOGGED)
    assert EMAIL not in text_of(client.get(f"{page}change/"))


def test_who_may_not_see_personal_data_is_not_offered_it() -> None:
    client, answer = staff("view_answer"), make_answer_to(**SAID)
    assert "Show them once" not in text_of(client.get(f"{ANSWERS}{answer.pk}/change/"))
    assert client.post(f"{ANSWERS}{answer.pk}/personal_data/").status_code == 403
    assert not LogEntry.objects.exists()


def test_one_look_at_a_request_is_none_at_an_answer_of_the_same_number() -> None:
    client = staff("view_request", "view_answer", "view_personal_data")
    answer = make_answer_to(**SAID)
    request = make_request("Completed", id=answer.pk)
    client.post(f"/admin/requests_app/request/{request.pk}/personal_data/")
    assert EMAIL not in text_of(client.get(f"{ANSWERS}{answer.pk}/change/"))


@pytest.mark.parametrize("extras", ["[" * 2000 + "]" * 2000, '"' + "x" * 200_000 + '"'], ids=["deep", "long"])
def test_what_python_cannot_read_is_said_instead(extras: str) -> None:
    if connection.vendor == "mysql" and not connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        pytest.skip("MySQL lets no session switch its CHECKs off")
    client, answer = staff("view_answer"), make_answer_to(**SAID)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        else:
            cursor.execute("SET check_constraint_checks = 0")
        cursor.execute("UPDATE answers SET extras = %s", [extras])
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = OFF")
        else:
            cursor.execute("SET check_constraint_checks = 1")
    text = text_of(client.get(f"{ANSWERS}{answer.pk}/change/"))
    assert "cannot be read" in text or "too large to be shown" in text
    assert len(text) < 100_000


@pytest.mark.parametrize("permissions", [[], ["view_request"]])
def test_only_who_may_see_answers_does(permissions: list[str]) -> None:
    client, answer = staff(*permissions), make_answer_to(**SAID)
    assert client.get(ANSWERS).status_code == 403
    assert client.get(f"{ANSWERS}{answer.pk}/change/").status_code == 403


def test_a_requests_page_leads_to_its_answers() -> None:
    request = make_request("Inprogress", token="a b&c")
    make_job(request)
    make_answer_to("a b&c")
    make_answer_to("other")
    client = staff("view_request", "view_answer")
    page = text_of(client.get(f"/admin/requests_app/request/{request.pk}/change/"))
    (link,) = re.findall(r'href="([^"]+)">Answers to its jobs', page)
    assert tokens_of(text_of(client.get(link))) == ["a b&c"]
