"""The admin: shows what is there, changes nothing, and does as much work for a million rows as for fifty."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs_app.db.dialect import database_now
from jobs_app.limit_rules import LANES_FROM, parse_limits
from jobs_app.models import Job, PassRun
from jobs_app.models.pause import PARKED_FROM
from requests_app.admin import read_only, request_page, requests
from requests_app.models import Request
from requests_app.operations.find_requests import find
from tests import factories
from tests.lifecycle.test_explain import fill

pytestmark = pytest.mark.django_db

REQUESTS, PASSES = "/admin/requests_app/request/", "/admin/jobs_app/passrun/"
PROLONGS = 3  # statements: a session's age counts from the last request
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def operator() -> Client:
    ContentType.objects.get_for_model(Request)  # else the first page of a process would read it
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def make_request(number: int = 0, status: str = "Completed", **values: Any) -> Request:
    final = status in {"Completed", "Failed", "Cancelled"}
    values.setdefault("token", f"token-{number}")
    values.setdefault("due_at", MOMENT + timedelta(seconds=number))
    values.setdefault("steps", [{"name": "first", "jobs": ["a", "b"]}, {"name": "second", "jobs": ["c"]}])
    return Request.objects.create(
        action="delete_user", status=status, completed_at=MOMENT if final else None, started_at=MOMENT, **values
    )


def make_job(request: Request, name: str, step: int = 0, attempt: int = 1, status: str = "completed", **values: Any):
    return Job.objects.create(
        request=request,
        name=name,
        step=step,
        attempt=attempt,
        status=status,
        started_at=MOMENT,
        completed_at=MOMENT + timedelta(seconds=1.5) if status not in {"new", "inprogress"} else None,
        **values,
    )


def found(client: Client, **query: str) -> list[str]:
    """Tokens of the list, or of the one request that a search leads to."""
    response = client.get(REQUESTS, query)
    if response.status_code == 302:
        return [Request.objects.get(pk=int(response["Location"].split("/")[-3])).token]
    return tokens(text_of(response))


def tokens(html: str) -> list[str]:
    return re.findall(r'field-token"><a[^>]*>([^<]*)<', html)


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


# The list ------------------------------------------------------------------------------------------------------------
def test_the_list_shows_the_newest_first(operator):
    for number in range(3):
        make_request(number)
    assert tokens(text_of(operator.get(REQUESTS))) == ["token-2", "token-1", "token-0"]


def test_of_one_status_the_latest_due_comes_first(operator):
    for number, due in enumerate((50, 70, 60)):
        make_request(number, "Failed", due_at=MOMENT + timedelta(seconds=due))
    make_request(9)
    html = text_of(operator.get(REQUESTS, {"status__exact": "Failed"}))
    assert tokens(html) == ["token-1", "token-2", "token-0"]


def test_search_finds_the_whole_token_and_nothing_like_it(operator):
    for token in ("abc", "ABC", "abcd", "two words"):
        make_request(token=token)
    for sought, there in (("abc", ["abc"]), (" abc ", ["abc"]), ("ab", []), ("two words", ["two words"]), ("two", [])):
        assert found(operator, q=sought) == there
    assert len(found(operator, q=" ")) == 4


@pytest.mark.parametrize("keys", [[], ["a-key-0123456789-abcdefghij-0123456789"]], ids=len)
def test_search_by_subject_leads_to_its_request_in_one_step_or_lists_the_newest_first(operator, settings, keys):
    settings.WRK_SUBJECT_KEYS = keys
    for number, subject in enumerate(("Ann", "Bob", "Ann")):
        factories.make_request(token=f"token-{number}", subject=subject)
    factories.pass_new()
    bob = Request.objects.get(token="token-1")
    assert operator.get(REQUESTS, {"q": " Bob "})["Location"] == f"{REQUESTS}{bob.pk}/change/"
    assert found(operator, q="Ann") == ["token-2", "token-0"]
    assert found(operator, q="Ann", status__exact="Failed") == found(operator, q="nobody") == []


def test_a_token_leads_to_its_request_also_where_somebody_is_told_of_its_end(operator):
    make_request(token="ended")
    told = Request.objects.create(action="notify", subject="ended", token="told")
    assert found(operator, q="ended") == ["ended"]
    assert found(operator, q="ended", action="notify") == [told.token]


def test_the_overview_has_the_search_box(operator):
    html = text_of(operator.get("/admin/"))
    assert re.search(rf'<form[^>]*method="get"[^>]*action="{REQUESTS}"', html)
    assert re.search(r'<label for="tasker-search">.*<input type="text" id="tasker-search" name="q"', html, re.DOTALL)


def test_of_more_than_a_search_looks_at_the_page_says_so(operator, monkeypatch):
    monkeypatch.setattr(requests, "MOST_FOUND", 3)
    monkeypatch.setattr(requests, "find", lambda text: find(text, 3))
    for number in range(4):
        make_request(number, subject="Ann")
    html = text_of(operator.get(REQUESTS, {"q": "Ann"}))
    assert (tokens(html), "Only the newest 3 are looked at." in html) == (["token-3", "token-2", "token-1"], True)


def test_search_and_status_filter_go_together(operator):
    make_request(token="abc")
    assert found(operator, q="abc", status__exact="Completed") == ["abc"]
    assert found(operator, q="abc", status__exact="Failed") == []


def late(number: int, days: float, **values: Any) -> Request:
    """Placed 100 days ago; its deadline was so many days ago."""
    now = database_now()
    moments = {"created_at": now - timedelta(days=100), "deadline_at": now - timedelta(days=days)}
    return make_request(number, **{"status": "Inprogress"} | moments | values)


def test_who_is_past_the_deadline_and_who_soon_is_found_by_a_filter_and_has_a_badge(operator):
    for number, days in enumerate((1, 3, -5, -50)):
        late(number, days)
    late(5, 1, status="Completed")
    late(6, 2, status="Failed")
    overdue = text_of(operator.get(REQUESTS, {"deadline": "overdue"}))
    assert tokens(overdue) == ["token-1", "token-6", "token-0"]
    assert overdue.count('tasker-failed">overdue<') == 3
    soon = text_of(operator.get(REQUESTS, {"deadline": "due_soon"}))
    assert (tokens(soon), soon.count('tasker-retry">due soon<')) == (["token-2"], 1)
    assert tokens(text_of(operator.get(REQUESTS, {"deadline": "overdue", "status__exact": "Failed"}))) == ["token-6"]
    everybody = text_of(operator.get(REQUESTS, {"deadline": "made_up"}))
    assert (len(tokens(everybody)), everybody.count('tasker-failed">overdue<')) == (6, 3)


def test_the_page_of_a_request_shows_its_deadline(operator):
    shown = text_of(operator.get(f"{REQUESTS}{late(1, 3).pk}/change/"))
    assert re.search(r'<dt>Deadline</dt><dd><span class="nowrap">[\d: -]+</span> <span class="[^"]*">overdue<', shown)
    assert "it is 3 d 0 h late" in shown
    assert "<dt>Deadline" not in text_of(operator.get(f"{REQUESTS}{make_request(2).pk}/change/"))


def test_requests_that_are_short_have_a_badge_and_are_found_by_one_click(operator):
    make_request(1)
    make_request(2, shortfall=1)
    make_request(3, "Failed", shortfall=1)
    make_request(4, shortfall=2)
    html = text_of(operator.get(REQUESTS))
    assert re.findall(r'class="tasker-status[^>]*>([^<]*)<', html) == [
        "Completed, 2 jobs short",
        "Failed",
        "Completed, 1 job short",
        "Completed",
    ]
    assert 'href="?short=yes"' in html
    assert tokens(text_of(operator.get(REQUESTS, {"short": "yes"}))) == ["token-4", "token-2"]
    assert "Completed, 1 job short</span>" in page(operator, Request.objects.get(token="token-2"))


@pytest.mark.parametrize("query", ["error__contains=x", "params__contains=x", "jobs__name=a", "subject=a"])
def test_a_lookup_that_no_index_serves_is_refused(query, operator):
    assert operator.get(f"{REQUESTS}?{query}").status_code == 400


# Filters -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def filtered(db) -> None:
    """By number: action, status, day of January 2026 and jobs that it is short."""
    for number, (action, status, day, short) in enumerate(
        [
            ("delete_user", "Completed", 1, 0),
            ("delete_user", "Completed", 2, 2),
            ("update_user", "Completed", 2, 1),
            ("update_user", "Failed", 2, 1),
            ("made up", "Failed", 3, 0),
        ]
    ):
        made = make_request(number, status, shortfall=short)
        created_at = datetime(2026, 1, day, 23, 59, 59, 999_999, tzinfo=UTC)
        by = "shop@%" if number % 2 else "billing@%"
        Request.objects.filter(pk=made.pk).update(action=action, created_at=created_at, placed_by=by)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("action=delete_user", "10"),
        ("action=made up", "4"),
        ("action=nobody", ""),
        ("action=", "43210"),
        ("day=2026-01-02", "321"),
        ("day=2026-01-04", ""),
        ("day=nonsense", "43210"),
        ("day=2026-02-30", "43210"),
        ("day=9999-12-31", "43210"),
        ("day=0001-01-01", "43210"),
        ("status__exact=Failed", "43"),
        ("status__exact=nonsense", "43210"),
        ("short=yes", "12"),
        ("placed_by=shop@%25", "31"),
        ("placed_by=nobody@%25", ""),
        ("placed_by=", "43210"),
        ("placed_by=shop@%25&status__exact=Completed", "1"),
        ("day=2026-01-02&action=delete_user", "1"),
        ("day=2026-01-02&status__exact=Completed", "21"),
        ("status__exact=Failed&action=update_user", "3"),
        ("status__exact=Failed&short=yes", ""),
        ("short=yes&action=update_user&day=2026-01-02&status__exact=Completed", "2"),
        ("short=yes&deadline=nonsense", "12"),
        ("action=delete_user&waiting=answer", ""),
        ("action=delete_user&deadline=overdue", ""),
        ("status__exact=Failed&status__exact=Completed", "210"),
    ],
)
def test_each_filter_and_several_together(operator, filtered, query, numbers):
    assert tokens(text_of(operator.get(f"{REQUESTS}?{query}"))) == [f"token-{number}" for number in numbers]


def test_who_placed_a_request_is_in_the_list_and_on_its_page_each_with_a_link(operator, filtered):
    link = '<a href="{}?placed_by=shop%40%25">shop@%</a>'
    assert text_of(operator.get(REQUESTS)).count(link.format("")) == 2
    assert link.format(REQUESTS) in page(operator, Request.objects.get(token="token-1"))
    Request.objects.update(placed_by="")
    assert "placed by" not in page(operator, Request.objects.get(token="token-1"))


def test_filters_together_take_one_statement_more_and_say_how_far_they_look(operator, filtered, monkeypatch):
    alone = statements(operator, f"{REQUESTS}?status__exact=Completed")
    assert len(statements(operator, f"{REQUESTS}?status__exact=Completed&action=delete_user")) == len(alone) + 1
    monkeypatch.setattr("requests_app.operations.find_requests.MOST_READ", 1)
    html = text_of(operator.get(f"{REQUESTS}?status__exact=Completed&day=2026-01-02"))
    assert "Found among the newest" in html
    assert tokens(html) == ["token-2"]


def test_the_day_may_be_chosen_and_the_other_filters_stay(operator, filtered):
    html = text_of(operator.get(f"{REQUESTS}?action=delete_user&day=2026-01-02&q="))
    form = html[html.index('class="tasker-day"') :].partition("</form>")[0]
    assert 'type="date" name="day" value="2026-01-02"' in form
    assert '<input type="hidden" name="action" value="delete_user">' in form


# Columns -------------------------------------------------------------------------------------------------------------
def column(html: str, name: str) -> list[str]:
    return re.findall(rf'field-{name}">(.*?)</td>', html)


def test_the_list_says_how_old_each_is_and_what_it_waits_for(operator):
    def placed(status: str = "Inprogress", **columns: Any) -> Request:
        return factories.make_request(status, ["noop", "noop_1"], created_at=now - timedelta(hours=2), **columns)

    now = database_now()
    placed("Completed")
    placed("Failed")
    placed("Queuing", due_in=-1)
    placed("Queuing", due_at=MOMENT.replace(year=2999))
    placed()
    of_jobs: list[list[dict[str, Any]]] = [
        [{"status": "inprogress"}, {"name": "noop_1"}],
        [{"status": "inprogress", "lease": -1}],
        [{"due_in": -1}],
        [{"due_at": MOMENT.replace(year=2999)}],
        [{"due_at": PARKED_FROM}],
        [{"due_at": LANES_FROM}],
        [{"answer_in": 60}],
        [{"status": "retry", "attempt": 1}, {"attempt": 2}],
        [{"step": 1}],
    ]
    for jobs in of_jobs:
        request = placed()
        for job in jobs:
            factories.make_job(request, **job)
    html = text_of(operator.get(REQUESTS))
    assert column(html, "waits")[::-1] == [
        "-",
        "an operator",
        "its pick-up by run_new_requests",
        "its time, 2999-01-02 03:04:05",
        "run_inprogress_requests",
        "noop, which runs",
        "run_jobs: its worker is gone",
        "run_jobs",
        "its next try, 2999-01-02 03:04:05",
        "noop, which is paused",
        "a permit of its limit",
        "an answer",
        "run_jobs",
        "run_inprogress_requests",
    ]
    assert {*column(html, "age")} == {"2 h 0 min"}


def test_what_a_page_waits_for_is_one_statement_however_many_wait(operator):
    taken = []
    for _ in range(2):
        for _ in range(20):
            factories.make_job(factories.make_request("Inprogress"), "noop")
        taken.append([sql for sql in statements(operator, REQUESTS) if "jobs" in sql])
    assert [len(sqls) for sqls in taken] == [1, 1]


def test_a_plain_subject_is_masked_for_whoever_may_not_see_personal_data(operator, settings):
    plain = make_request(1, subject="4711")
    settings.WRK_SUBJECT_KEYS = ["a-key-0123456789-abcdefghij-0123456789"]
    factories.make_request(token="hashed", subject="Ann")
    factories.pass_new()
    kept = Request.objects.get(token="hashed").subject[:8]
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_request"))
    clerk = Client()
    clerk.force_login(user)
    for client, shown in ((operator, "4711"), (clerk, "&lt;text of 4&gt;")):
        html = text_of(client.get(REQUESTS))
        assert column(html, "subject_") == [f"{kept}… (hashed)", shown]
    assert "<dt>Subject</dt><dd>&lt;text of 4&gt;</dd>" in page(operator, plain)
    operator.post(f"{REQUESTS}{plain.pk}/personal_data/")
    assert "<dt>Subject</dt><dd>4711</dd>" in page(operator, plain)


# Work ----------------------------------------------------------------------------------------------------------------
def test_a_column_to_sort_by_is_not_obeyed(operator):
    for number in range(3):
        make_request(number)
    assert tokens(text_of(operator.get(REQUESTS, {"o": "1"}))) == ["token-2", "token-1", "token-0"]


def test_the_list_takes_as_many_statements_for_many_rows_as_for_few(operator):
    make_request(0)
    few = statements(operator, REQUESTS)
    for number in range(1, 80):
        make_request(number)
    assert len(statements(operator, REQUESTS)) == len(few) <= 5 + PROLONGS


def test_the_filter_by_deadline_takes_one_statement_more(operator):
    make_request(99)
    few = statements(operator, REQUESTS)
    for number in range(80):
        late(number, 1)
    assert len(statements(operator, f"{REQUESTS}?deadline=overdue")) == len(few) + 1


def statements(client: Client, path: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code in {200, 302}  # a search that finds one leads to it
    return [query["sql"] for query in captured]


def test_counting_stops_at_its_bound_and_the_page_says_more_than(operator, monkeypatch):
    monkeypatch.setattr(read_only, "_MOST_ROWS", 60)
    for number in range(70):
        make_request(number)
    html = text_of(operator.get(REQUESTS))
    assert "more than 60 requests" in " ".join(html.split())
    assert len(tokens(text_of(operator.get(REQUESTS, {"p": "2"})))) == 10
    counts = [sql for sql in statements(operator, REQUESTS) if "COUNT(" in sql]
    assert len(counts) == 1
    assert "LIMIT 61" in counts[0]


def test_up_to_the_bound_the_count_is_plain(operator):
    make_request()
    assert "more than" not in text_of(operator.get(REQUESTS))


def test_the_large_columns_stay_in_the_database(operator):
    make_request()
    rows = [sql for sql in statements(operator, REQUESTS) if "requests" in sql and "COUNT(" not in sql]
    assert len(rows) == 1
    for column in ("params", "extras", "steps", "error"):
        assert not re.search(rf"[`\"]{column}[`\"]", rows[0])


@pytest.mark.django_db(transaction=True)  # ANALYZE commits
def test_no_list_is_sorted_or_read_as_a_whole(operator):
    # Up to some thousand rows MySQL would rather read and sort them all, which does no harm.
    rows = [
        {
            "action": "often" if n % 50 else "rare",
            "token": f"token-{n}",
            "subject": f"{n % 4000}",
            "status": "Completed" if n % 50 else "Failed",
            "shortfall": n % 100 == 7,
            "placed_by": "shop@%" if n % 50 else "rare@%",
            "created_at": MOMENT + timedelta(seconds=60 * n),
            "completed_at": MOMENT,
            "deadline_at": MOMENT,
        }
        for n in range(8000)
    ]
    factories.insert_many("requests", rows)
    analyze()
    for query in (*QUERIES, "", "?p=2", "?q=token-7", "?q=7", "?q=7&status__exact=Failed"):
        for sql in statements(operator, REQUESTS + query):
            if re.search(r"[ `\"]requests[ `\"]", sql) and "UNION" not in sql:  # which test_explain.py looks at
                assert_served_by_an_index(sql)


QUERIES = (
    "?status__exact=Completed",
    "?status__exact=Failed",
    "?action=often",
    "?action=rare",
    "?action=nobody",
    "?day=2026-01-02",
    "?day=2030-01-02",
    "?day=2026-01-02&p=2",
    "?short=yes",
    "?placed_by=shop@%25",
    "?placed_by=rare@%25",
    "?placed_by=nobody@%25&p=2",
    "?placed_by=shop@%25&status__exact=Completed",
    "?waiting=answer",
    "?action=often&day=2026-01-02",
    "?action=often&status__exact=Completed",
    "?action=rare&short=yes",
    "?day=2026-01-02&status__exact=Failed",
)


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE requests" if connection.vendor == "mysql" else "ANALYZE")


def assert_served_by_an_index(sql: str, name: str = "") -> None:
    """`name`: by this one."""
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {sql}")
            names = [column[0] for column in cursor.description]
            plan = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            assert all("filesort" not in (row["Extra"] or "") for row in plan), sql
            assert all(row["key"] for row in plan if row["table"] == "requests"), sql
            assert any(name in (row["key"] or "") for row in plan), (sql, plan)
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            details = [row[3] for row in cursor.fetchall()]
            assert not any("TEMP B-TREE" in detail for detail in details), (sql, details)
            assert any(name in detail for detail in details), (sql, details)


# What waits for an answer --------------------------------------------------------------------------------------------
def test_what_waits_for_an_answer_is_marked_and_found(operator):
    made = {
        name: factories.make_request("Inprogress", ["noop"], token=name) for name in ("waits", "past", "looks", "due")
    }
    factories.make_job(made["waits"], due_in=60, answer_in=3600)
    factories.make_job(made["past"], due_in=-60, answer_in=-60)
    factories.make_job(made["looks"], status="inprogress", answer_in=3600)
    factories.make_job(made["due"])
    factories.make_job(made["due"], step=1, answer_in=3600)
    marked = re.findall(
        r'field-token"><a[^>]*>(\w+)<(?:(?!field-token).)*tasker-waiting', text_of(operator.get(REQUESTS))
    )
    assert marked == ["past", "waits"]
    assert tokens(text_of(operator.get(REQUESTS, {"waiting": "answer"}))) == ["due", "past", "waits"]
    assert tokens(text_of(operator.get(REQUESTS, {"waiting": "past"}))) == ["past"]
    assert tokens(text_of(operator.get(REQUESTS, {"waiting": "past", "status__exact": "Failed"}))) == []
    assert len(tokens(text_of(operator.get(REQUESTS, {"waiting": "nonsense"})))) == 4


def test_the_filter_costs_one_statement_more_however_many_wait(operator):
    for _ in range(60):
        factories.make_job(factories.make_request("Inprogress"), due_in=60, answer_in=3600)
    assert len(statements(operator, f"{REQUESTS}?waiting=answer")) <= 6 + PROLONGS


@pytest.mark.django_db(transaction=True)  # ANALYZE commits
def test_requests_that_wait_are_found_by_their_ids_among_many(operator):
    fill("Inprogress", "new")
    Job.objects.update(answer_by=MOMENT)
    analyze()
    for query in ("?waiting=answer", "?waiting=answer&status__exact=Inprogress"):
        for sql in statements(operator, REQUESTS + query):
            if " requests" in sql or "`requests`" in sql or '"requests"' in sql:
                assert_served_by_an_index(sql)


# A request -----------------------------------------------------------------------------------------------------------
def page(client: Client, request: Request) -> str:
    return text_of(client.get(f"{REQUESTS}{request.pk}/change/"))


def test_the_page_shows_every_attempt_in_the_order_of_step_name_and_attempt(operator):
    request = make_request()
    made = [("c", 1, 1), ("b", 0, 2), ("a", 0, 1), ("b", 0, 1)]
    for name, step, attempt in made:
        make_job(request, name, step, attempt)
    rows = re.findall(r"<td[^>]*>(\d \w+)</td>\s*<td>(\w)</td>\s*<td[^>]*>(\d)</td>", page(operator, request))
    assert rows == [("0 first", "a", "1"), ("0 first", "b", "1"), ("0 first", "b", "2"), ("1 second", "c", "1")]


def test_the_page_begins_with_the_sentence_of_what_it_waits_for(operator):
    request = make_request(status="Failed", error="b failed: answered 409\nTraceback...")
    assert "It failed: b failed: answered 409" in page(operator, request)


def test_times_and_errors_of_attempts_are_shown(operator):
    request = make_request(status="Inprogress")
    make_job(request, "a", status="retry", error="answered 503\nTraceback <here>")
    html = page(operator, request)
    assert "<summary>answered 503</summary>" in html
    assert "Traceback &lt;here&gt;" in html
    assert "2026-01-02 03:04:05" in html
    assert "1.5 s" in html


def test_of_what_needs_a_permit_the_page_tells_no_due_time(operator, settings):
    settings.WRK_LIMITS = parse_limits("service2 rate=10/s")
    job = factories.make_in_lane(settings.WRK_LIMITS["service2"], "service2_delete_user")
    html = page(operator, job.request)
    assert "service2_delete_user waits for a permit of the limit service2 (rate=10/s); none waits before it." in html
    assert html.count("waits for a permit") == 3  # in the sentence, the timeline and the history
    assert not re.search(r"9[34]\d\d-\d\d-\d\d", html)


def test_what_an_attempt_waits_for_and_what_came_are_shown_masked_until_asked(operator):
    request = factories.make_request("Inprogress", ["noop"])
    factories.make_job(request, due_in=60, answer_in=3600, checks=3)
    factories.make_answer(request, attempt=1, outcome="failure", reason="Ann owes us", extras={"id": "4711"})
    taken: dict[str, Any] = {"effect": "taken", "taken_at": MOMENT}
    factories.make_answer(request, "noop_1", **taken)
    factories.make_answer(factories.make_request(), reason="of another")
    html = page(operator, request)
    assert re.search(r"waits for the vendor&#x27;s answer, until [\d: -]+; said so 3 times", html)
    assert '<span class="tasker-status tasker-waiting">waiting</span>' in html
    answers = html[html.index('id="tasker-answers"') :]
    assert re.findall(r"<td>(noop\w*)</td>", answers) == ["noop", "noop_1"]
    assert "not taken yet" in answers
    assert "taken 2026-01-02 03:04:05" in answers
    assert "&lt;text of 11&gt;" in answers
    assert not re.search("Ann owes us|4711|of another", html)
    operator.post(f"{REQUESTS}{request.pk}/personal_data/")
    assert re.search("Ann owes us.*4711", page(operator, request), re.DOTALL)


def test_what_stands_in_an_answer_may_be_anything(operator):
    request = factories.make_request("Inprogress", ["noop"])
    factories.make_answer(request, "x" * 100, reason="y" * 100_000, extras=["z" * 100_000])
    html = page(operator, request)
    assert len(html) < 60_000
    assert "more than 4,000 characters: too large to be shown" in html


@pytest.mark.parametrize("steps", [None, "nonsense", [], [{"name": 1}]])
def test_steps_of_any_shape_are_shown(steps, operator):
    request = make_request(status="Queuing", steps=steps)
    assert request.token in page(operator, request)


def test_of_very_many_attempts_some_are_shown(operator, monkeypatch):
    monkeypatch.setattr(request_page, "_MOST_ATTEMPTS", 3)
    request = make_request()
    for attempt in range(1, 6):
        make_job(request, "a", attempt=attempt, status="retry")
    assert "more attempts than the 3 shown" in page(operator, request)


def test_the_page_takes_as_many_statements_for_many_attempts_as_for_few(operator):
    request = make_request()
    make_job(request, "a")
    path = f"{REQUESTS}{request.pk}/change/"
    few = statements(operator, path)
    for attempt in range(2, 40):
        make_job(request, "a", attempt=attempt, error="x", extras={"a": 1})
        factories.make_answer(request, extras={"a": 1}, reason="x")
    assert len(statements(operator, path)) == len(few) <= 8 + PROLONGS


def test_nothing_can_be_edited_added_or_deleted(operator):
    request = make_request()
    html = page(operator, request)
    form = html[html.index('id="request_form"') :]
    assert not re.findall(r'<(?:input|select|textarea)(?![^>]*type="hidden")', form)
    assert operator.post(f"{REQUESTS}{request.pk}/change/", {"status": "Queuing"}).status_code == 403
    assert operator.post(f"{REQUESTS}{request.pk}/delete/", {"post": "yes"}).status_code == 403
    assert operator.get(f"{REQUESTS}add/").status_code == 403
    assert operator.post(REQUESTS, {"action": "delete_selected", "_selected_action": request.pk}).status_code == 302
    assert Request.objects.get(pk=request.pk).status == "Completed"


def test_only_those_who_may_see_requests_do(operator):
    client = Client()
    client.force_login(User.objects.create_user("visitor", is_staff=True))
    request = make_request()
    assert client.get(REQUESTS).status_code == 403
    assert client.get(f"{REQUESTS}{request.pk}/change/").status_code == 403


def test_a_request_that_is_not_there_leads_back_to_the_start(operator):
    assert operator.get(f"{REQUESTS}12345/change/").status_code == 302


# Passes --------------------------------------------------------------------------------------------------------------
def test_passes_are_listed_newest_first_with_what_they_did(operator):
    PassRun.objects.create(name="run_jobs", process="h:1", counts={"claimed": 3}, started_at=MOMENT, ended_at=MOMENT)
    PassRun.objects.create(name="run_worker", process="h:2", error="database away\nmore", started_at=MOMENT)
    html = text_of(operator.get(PASSES))
    assert re.findall(r'/change/">(\w+)</a>', html) == ["run_worker", "run_jobs"]
    assert "claimed=3" in html
    assert "runs, or was killed" in html
    assert "database away" in html


def test_passes_are_filtered_by_name(operator):
    for name in ("run_jobs", "run_worker"):
        PassRun.objects.create(name=name, process="h:1")
    html = text_of(operator.get(PASSES, {"name": "run_jobs"}))
    assert "run_jobs</a></th>" in html
    assert "run_worker</a></th>" not in html


def test_a_pass_is_shown_and_cannot_be_changed(operator):
    run = PassRun.objects.create(name="run_jobs", process="h:1", error="<oops>")
    assert "&lt;oops&gt;" in text_of(operator.get(f"{PASSES}{run.pk}/change/"))
    assert operator.post(f"{PASSES}{run.pk}/change/", {"name": "x"}).status_code == 403


def test_the_list_of_passes_takes_as_many_statements_for_many_as_for_few(operator):
    PassRun.objects.create(name="run_jobs", process="h:1")
    few = statements(operator, PASSES)
    for _ in range(60):
        PassRun.objects.create(name="run_jobs", process="h:1")
    assert len(statements(operator, PASSES)) == len(few) <= 4 + PROLONGS
