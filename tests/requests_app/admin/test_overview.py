"""The admin's first page: what it says is so, and it costs the same for a million rows as for ten."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from jobs_app.db.dialect import database_now
from jobs_app.limit_rules import parse_limits
from jobs_app.models import Job, Limit, PassRun, PausedJob
from requests_app.admin import overview
from requests_app.admin.overview_charts import charts
from requests_app.models import RequestStatus
from requests_app.models.fingerprints import fingerprint
from requests_app.monitoring import backlog, ended_attempts
from requests_app.monitoring.backlog import Backlog, read_backlog, read_waiting
from requests_app.monitoring.cron_lines import CRON_SETTINGS
from requests_app.monitoring.ended_attempts import read_ended_attempts
from requests_app.monitoring.frequent_errors import FailedRow, frequent_errors, most_frequent
from tests.factories import make_in_lane, make_job, make_request, open_limit, pass_inprogress
from tests.requests_app.admin.test_requests import assert_served_by_an_index, operator, statements, text_of

pytestmark = pytest.mark.django_db
__all__ = ["operator"]

PROLONGS = 3  # statements: a session's age counts from the last request
START = "/admin/"


def run(name: str, minutes_ago: float = 0, *, ended: bool = True, error: str = "") -> None:
    at = database_now() - timedelta(minutes=minutes_ago)
    PassRun.objects.create(
        name=name, process="h:1", started_at=at, seen_at=at, ended_at=at if ended else None, error=error
    )


def counted() -> Backlog:
    return read_backlog(connection, list(RequestStatus))


def states(operator: Client) -> dict[str, str]:
    """As the table of passes shows them."""
    rows = re.findall(r'\?name=(\w+)">\w+</a></td><td><span[^>]*>([^<]*)</span>', text_of(operator.get(START)))
    return dict(rows)


# Counts and what waits -----------------------------------------------------------------------------------------------
def test_requests_and_jobs_are_counted_by_what_they_wait_for() -> None:
    request = make_request("Inprogress", ["noop"])
    for status in ("Queuing", "Failed", "Failed"):
        make_request(status)
    make_job(request, due_in=-5)
    make_job(request, "noop_1", due_in=60)
    make_job(request, "fails", "inprogress")
    make_job(request, "raises", "inprogress", lease=-5)
    make_job(request, "noop_2")
    PausedJob.objects.pause("noop_2", by="ann", reason="its service is away\nsince noon")
    Job.objects.park(["noop_2"])
    counts = counted()
    assert [*counts.requests.values()] == [1, 1, 0, 2, 0]
    assert (counts.due, counts.later, counts.paused, counts.running, counts.lost) == (1, 1, 1, 2, 1)


def test_jobs_that_wait_for_an_answer_are_counted_apart_and_lead_to_their_requests(operator: Client) -> None:
    request = make_request("Inprogress", ["noop"], due_in=-100)
    made = database_now() - timedelta(days=3, hours=2)
    make_job(request, due_in=60, answer_in=3600, created_at=made)
    make_job(request, "noop_1", due_in=-60, answer_in=-60)
    make_job(request, "noop_2", due_in=60)
    counts = counted()
    assert (counts.due, counts.later, counts.awaited.count, counts.awaited.past) == (1, 1, 2, 1)
    html = text_of(operator.get(START))
    figures = re.findall(r'href="[^"]*\?waiting=(\w+)">([^<]*)<b>([^<]*)<', html)
    assert figures == [
        ("answer", "Jobs waiting for an answer", "2"),
        ("past", "Past their time for it", "1"),
    ]
    assert "The oldest waits for<b>3 d 2 h</b>" in html
    assert [row.what for row in read_waiting()] == ["answer", "due"]
    assert "<td>an answer</td>" in html


def test_paused_jobs_are_named_with_who_and_why(operator: Client) -> None:
    PausedJob.objects.pause("noop_2", by="ann", reason="its service is away\nsince noon")
    html = text_of(operator.get(START))
    assert re.search(r"noop_2 is paused since [\d: -]+ UTC by ann: its service is away<", html)


def limit_rows(html: str) -> list[list[str]]:
    table = re.search(r"<h2>Limits</h2>.*?<tbody>(.*?)</tbody>", html, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", table[1]) if table else []
    return [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row)] for row in rows]


def test_each_limit_has_a_line_with_its_state_and_its_rule(operator: Client, settings: Any) -> None:
    settings.WRK_LIMITS = parse_limits("service2 rate=600/m concurrency=8 breaker=5; service3 rate=7/m")
    one, other = settings.WRK_LIMITS.values()
    Limit.objects.ensure([one, other])
    made = database_now() - timedelta(hours=2)
    make_in_lane(one, "service2_delete_user", created_at=made)
    for status in ("new", "inprogress"):
        make_in_lane(one, "service2_delete_user", status)
    html = text_of(operator.get(START))
    rule = "rate=10/s concurrency=8 breaker=5"
    assert limit_rows(html) == [
        ["service2", "closed", "", "2", "2 h 0 min", "1 of 8", rule],
        ["service3", "closed", "", "0", "", "0", "rate=7/m"],
    ]
    assert "Jobs waiting for a permit<b>2</b>" in html
    assert "2 jobs wait for a permit of a limit." in html
    assert "<td>a permit of its limit</td>" in html
    assert "Open limits" not in html


def test_an_open_limit_is_what_needs_somebody_with_since_when_why_and_until_when(
    operator: Client, settings: Any
) -> None:
    settings.WRK_LIMITS = parse_limits("service2 breaker=5; service3 breaker=5")
    one, other = settings.WRK_LIMITS.values()
    limit = open_limit(one)
    html = text_of(operator.get(START))
    assert "1 limit is open." in html
    assert "tasker-bad" in html
    since, until = (f"{at:%Y-%m-%d %H:%M:%S} UTC" for at in (limit.opened_at, limit.open_until))
    why = "5 ends in a row without an answer, the last: service2 DELETE /user/{id}: answered 503"
    assert f"<li>The limit service2 is open since {since}: {why}; it is tried again at {until}.</li>" in html
    assert limit_rows(html)[0][:3] == ["service2", "open", until.removesuffix(" UTC")]
    open_limit(other, open_in=-1)
    html = text_of(operator.get(START))
    assert "2 limits are open." in html
    assert limit_rows(html)[1][:3] == ["service3", "half-open", ""]


def test_without_limits_the_page_says_nothing_of_them(operator: Client) -> None:
    html = text_of(operator.get(START))
    assert not re.search("limit|permit", html)


def test_counting_stops_at_its_bound_and_says_so(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backlog, overview):
        monkeypatch.setattr(module, "MOST_COUNTED", 2)
    for _ in range(4):
        make_request("Failed")
    assert [*counted().requests.values()] == [0, 0, 0, 2, 0]
    assert re.findall(r'tasker-figure" href="[^"]*"><b>([^<]*)<', text_of(operator.get(START))) == [
        "0",
        "0",
        "0",
        "2+",
        "0",
        "0",  # overdue
        "0",  # due soon
    ]


def test_who_is_past_the_deadline_is_counted_said_and_one_click_away(operator: Client) -> None:
    now = database_now()
    assert "past the deadline" not in text_of(operator.get(START))
    requests = [make_request("Failed", deadline_at=now - timedelta(days=days)) for days in (1, 2)]
    make_request("Queuing", deadline_at=now + timedelta(days=1), created_at=now - timedelta(days=20))
    html = text_of(operator.get(START))
    assert "2 requests are past the deadline." in html
    assert "tasker-bad" in html
    found = re.search(r'tasker-figure tasker-alarming" href="([^"]+)"><b>2</b>Overdue<', html)
    assert found
    listed = text_of(operator.get(found[1]))
    assert all(request.token in listed for request in requests)
    assert re.search(r'tasker-figure" href="[^"]+deadline=due_soon"><b>1</b>Due soon<', html)
    requests[0].delete()
    assert "1 request is past the deadline." in text_of(operator.get(START))


def test_the_longest_waiting_of_each_kind_come_first(operator: Client) -> None:
    queued = make_request(due_in=-50)
    make_request(due_in=60)
    request = make_request("Inprogress", ["noop"], due_in=-100)
    make_job(request, due_in=-30)
    make_job(request, "noop_1", due_in=60)
    make_job(request, "fails", "inprogress", lease=-10)
    for _ in range(9):
        make_request(due_in=-1)
    rows = read_waiting()
    assert [(row.what, row.job) for row in rows[:4]] == [
        ("progress", ""),
        ("queued", ""),
        ("due", "noop"),
        ("lost", "fails"),
    ]
    assert len(rows) == 3 + 5
    html = text_of(operator.get(START))
    assert f'/admin/requests_app/request/{queued.pk}/change/">{queued.token}' in html


# Ends ----------------------------------------------------------------------------------------------------------------
def test_what_ended_is_counted_in_five_minutes_and_in_hours() -> None:
    request = make_request("Inprogress")
    for number_, (status, minutes) in enumerate(
        [("completed", 0), ("completed", 0), ("retry", 0), ("failure", 130), ("completed", 60 * 30), ("cancelled", 0)]
    ):
        make_job(request, f"job_{number_}", status, due_in=-60 * minutes)
    hour, day = charts(read_ended_attempts(), database_now())
    assert hour.totals == {"completed": 2, "retry": 1, "failure": 0}
    assert day.totals == {"completed": 2, "retry": 1, "failure": 1}
    assert hour.text == "The last hour: 2 completed, 1 retry, 0 failure."
    assert [piece.kind for piece in hour.pieces] == ["completed", "retry"]


def test_where_too_much_ended_only_the_newest_are_read_and_the_page_says_since_when(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_attempts, "_MOST_READ", 3)
    request = make_request("Inprogress")
    for attempt, minutes in enumerate((1, 20, 40, 60, 80), start=1):
        make_job(request, "noop", "completed", attempt=attempt, due_in=-60 * minutes)
    ended = read_ended_attempts()
    assert sum(slot["completed"] for slot in ended.slots.values()) == 3
    assert ended.since is not None
    assert timedelta(minutes=39) < database_now() - ended.since < timedelta(minutes=46)
    assert "Only the newest are counted" in text_of(operator.get(START))


# Passes --------------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("old_tables")
def test_each_pass_has_a_line_with_its_state_and_its_newest_run(operator: Client) -> None:
    run("run_jobs", minutes_ago=100)
    run("run_jobs", minutes_ago=1, error="database away")
    run("run_new_requests", minutes_ago=2)
    assert states(operator) == {
        "run_new_requests": "on time",
        "run_jobs": "late",
        "run_inprogress_requests": "late",
    }
    assert re.search(r">run_jobs<.*?1 min 0 s ago", text_of(operator.get(START)), re.DOTALL)


@pytest.mark.usefixtures("old_tables")
def test_run_worker_is_shown_as_running_or_silent_and_does_the_work_of_all_three(operator: Client) -> None:
    run("run_jobs", minutes_ago=600)
    run("run_worker", ended=False)
    assert states(operator) == dict.fromkeys(CRON_SETTINGS, "done by run_worker") | {"run_worker": "runs"}
    PassRun.objects.filter(name="run_worker").update(seen_at=database_now() - timedelta(hours=2))
    assert states(operator) == dict.fromkeys(CRON_SETTINGS, "late") | {"run_worker": "silent"}


@pytest.mark.usefixtures("old_tables")
def test_the_page_begins_with_what_needs_somebody(operator: Client) -> None:
    for name in ("run_new_requests", "run_jobs"):
        run(name)
    run("run_inprogress_requests", minutes_ago=30)
    html = text_of(operator.get(START))
    assert "run_inprogress_requests is late: it last succeeded 30 min 0 s ago, its cron line is */1 * * * *." in html
    assert "tasker-bad" in html
    run("run_inprogress_requests")
    html = text_of(operator.get(START))
    assert "Every pass is on time. Nothing is due." in html
    assert "tasker-good" in html


# Errors --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            'service2 DELETE /user/{id}: answered 503: {"error": "Ann owes us"}',
            "service2 DELETE /user/{id}: answered 503",
        ),
        (
            "service1 GET /user/{id}: the answer is not a JSON object: Expecting value: line 1 column 1: Ann owes us",
            "service1 GET /user/{id}: the answer is not a JSON object",
        ),
        (
            "gave up after 10 attempts: service2 DELETE /user/{id}: answered 503: Ann owes us",
            "gave up after # attempts: service2 DELETE /user/{id}: answered 503",
        ),
        ("user 4711 is not known\nTraceback: Ann", "user # is not known"),
        ("ann.lee+x@mail.example.org isn't 'Ann Lee', nor \"Bob", '<e-mail> isn\'t "…", nor "…"'),
        ("order 0b9d7a5e-1f6e-4f0b-9a43-2f5d7c1e8a61 of DE89370400440532013000", "order # of #"),
        ("no answer: refused by 10.0.0.1:8080", "no answer: refused by #"),
        ("", "no reason given"),
    ],
)
def test_errors_are_made_into_fingerprints_and_lose_what_may_be_personal(error: str, text: str) -> None:
    assert fingerprint(error) == text


def test_a_place_that_is_no_job_of_ours_is_a_callers_text() -> None:
    now = database_now()
    (error,) = most_frequent([FailedRow("refused", "delete_ann@x.org", "unknown action", 1, now)])
    assert error.where == "<e-mail>"


def test_the_ten_most_frequent_come_first_with_their_latest_request() -> None:
    request = make_request("Inprogress")
    for attempt in range(1, 4):
        make_job(request, "noop", "retry", attempt=attempt, error=f"took {attempt} s", due_in=-attempt)
    later = make_request("Inprogress")
    make_job(later, "noop", "retry", error="took 9 s")
    make_job(later, "fails", "failure", error="no")
    make_request("Failed", error='unknown action "a"; known: b', started_at=None)
    for letter in "abcdefghijklmn":
        make_job(request, letter, "retry", error=letter, due_in=-100)
    errors = frequent_errors()
    assert len(errors) == 10
    assert (errors[0].count, errors[0].where, errors[0].text, errors[0].request_id) == (4, "noop", "took # s", later.pk)
    assert {(error.kind, error.text) for error in errors} >= {
        ("failure", "no"),
        ("refused", 'unknown action "…"; known: b'),
    }


def test_an_error_leads_to_the_requests_that_are_failed_by_it_not_to_what_failed_otherwise_since() -> None:
    retried, alone, both = (make_request("Inprogress", ["noop", "fails"]) for _ in range(3))
    make_job(retried, "noop", "failure", error="no user")
    make_job(retried, "noop", "retry", attempt=2, error="answered 503")
    make_job(retried, "noop", "failure", attempt=3, error="gave up after 3 attempts: answered 503")
    make_job(alone, "fails", "failure", error="refused")
    make_job(both, "noop", "failure", error="no user at all", due_in=-9)
    make_job(both, "fails", "failure", error="refused", due_in=-9)
    pass_inprogress()
    for request in (retried, alone, both):
        request.refresh_from_db()
        assert request.error_kind
    assert {(error.where, error.text): error.error_kind for error in frequent_errors()} == {
        ("noop", "no user"): "",
        ("noop", "answered 503"): retried.error_kind,
        ("noop", "gave up after # attempts: answered 503"): retried.error_kind,
        ("noop", "no user at all"): both.error_kind,
        ("fails", "refused"): alone.error_kind,
    }


# Cost, and who may -----------------------------------------------------------------------------------------------
def test_the_page_takes_as_many_statements_for_many_rows_as_for_few(operator: Client, settings: Any) -> None:
    few = statements(operator, START)
    for index in range(30):
        request = make_request("Failed" if index % 2 else "Inprogress", started_at=None)
        make_job(request, "noop", ("failure", "retry", "completed")[index % 3], error=f"{index}")
        make_job(request, "fails", "new")
        run("run_jobs")
    pass_inprogress(limit=1)
    assert len(statements(operator, START)) == len(few) <= 10 + PROLONGS
    settings.WRK_LIMITS = parse_limits("service2 rate=1/s; service3 rate=1/s; service1 breaker=5")
    assert len(statements(operator, START)) == len(few) + 1


@pytest.mark.django_db(transaction=True)
def test_no_statement_of_the_page_reads_or_sorts_a_whole_table(operator: Client) -> None:
    for sql in statements(operator, START):
        if re.search(r"FROM (jobs|requests|passes)", sql) and connection.vendor == "mysql":
            assert "FORCE INDEX" in sql
            assert sql.count("ORDER BY") <= sql.count("LIMIT")
        if "longest" in sql:
            assert_served_by_an_index(sql)


def test_only_those_who_may_see_requests_see_it() -> None:
    client = Client()
    client.force_login(User.objects.create_user("visitor", is_staff=True))
    assert "Passes</h2>" not in text_of(client.get(START))
