"""Retrying all requests that failed alike: which are meant, when each is due, what is left, and what it costs."""

import json
import re
import signal
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection, transaction

from jobs_app.db.dialect import database_now
from jobs_app.models import Answer, Job
from requests_app.models import Intervention, Request, RetryPace
from requests_app.models.bulk_retry import Selection
from requests_app.models.fingerprints import error_kind
from requests_app.operations import bulk_retry as operation
from requests_app.operations.bulk_retry import Taken, bulk_retry
from requests_app.operations.interventions import complete_job, retry_request
from tests.conftest import Manage, called_here
from tests.factories import (
    changes_by,
    insert_many,
    make_answer,
    make_job,
    make_request,
    pass_inprogress,
    pass_new,
    seconds_from_now,
    shaped,
    statuses,
)
from tests.lifecycle.statements import counting_commits, listening

pytestmark = pytest.mark.django_db(transaction=True)

ERROR = "noop failed: answered 503"
KIND = error_kind(ERROR)
BY: dict[str, Any] = {"by": "ada", "reason": "service 2 is back"}


def failed(error: str = ERROR, job: str = "noop", **columns: Any) -> Request:
    request = make_request("Failed", [job], error=error, error_kind=error_kind(error), **columns)
    make_job(request, job, "failure")
    return request


def many_failed(number: int) -> None:
    now = database_now()
    ended = {"status": "Failed", "started_at": now, "completed_at": now, "error": ERROR, "error_kind": KIND}
    with transaction.atomic():
        insert_many("requests", [{"action": "made_up", "steps": json.dumps(shaped(["noop"]))} | ended] * number)
        ids = Request.objects.order_by("id").values_list("id", flat=True)
        job = {"step": 0, "name": "noop", "status": "failure", "completed_at": now}
        insert_many("jobs", [{"request_id": id_} | job for id_ in ids])


def now_alike(kind: str = KIND) -> Selection:
    return Selection(kind, database_now() + timedelta(seconds=1))


def take_up(seconds_between: float = 0.1, **options: Any) -> Taken:
    taken = Taken()
    for batch in bulk_retry(now_alike(), seconds_between, **BY | options):
        taken.add(batch)
    return taken


def due_times() -> list[datetime]:
    """Of the new attempts, in the order of their requests."""
    return list(Job.objects.filter(status="new").order_by("request_id").values_list("due_at", flat=True))


def gaps() -> list[float]:
    return [round((later - sooner).total_seconds(), 1) for sooner, later in pairwise(due_times())]


# The kind of a request ------------------------------------------------------------------------------------------------
def test_both_moves_to_failed_set_the_kind_in_the_same_statement() -> None:
    ran = make_request("Inprogress", ["noop"])
    make_job(ran, "noop", "failure", error="answered 503")
    refused = make_request("Queuing", ["no_such_job"])
    with listening() as heard:
        pass_new()
        pass_inprogress()
    assert sum("error_kind" in statement.sql for statement in heard) == 2
    for request in (ran, refused):
        request.refresh_from_db()
        assert request.status == "Failed"
        assert request.error_kind == error_kind(request.error)
    assert ran.error_kind == KIND


@pytest.mark.parametrize(
    "verb", [retry_request, lambda token, **by: complete_job(token, "noop", None, **by)], ids=["retry", "complete"]
)
def test_a_request_that_is_taken_up_again_has_no_kind(verb: Any) -> None:
    request = failed()
    verb(request.token, **BY)
    request.refresh_from_db()
    assert (request.status, request.error, request.error_kind) == ("Inprogress", "", "")


def test_a_request_that_is_scrubbed_is_not_found_by_its_kind() -> None:
    request = failed()
    Request.objects.filter(pk=request.pk).update(completed_at=database_now() - timedelta(days=2))
    assert Request.objects.scrub([request.pk], "Failed", 86_400) == 1
    request.refresh_from_db()
    assert request.error_kind == ""
    assert take_up().retried == 0


# The move -------------------------------------------------------------------------------------------------------------
def test_all_of_one_kind_are_taken_up_each_so_much_later_and_the_others_stay() -> None:
    selected, other = [failed() for _ in range(4)], failed("noop failed: answered 500")
    changed = changes_by(lambda: take_up(seconds_between=60))
    assert {key for key in changed if key[0] == "requests"} == {("requests", request.pk) for request in selected}
    assert gaps() == [60, 60, 60]
    assert -2 < seconds_from_now(due_times()[0]) <= 0
    for request in selected:
        request.refresh_from_db()
        assert (request.status, request.error, request.error_kind, request.completed_at) == ("Inprogress", "", "", None)
        assert statuses(request) == {("noop", 1): "failure", ("noop", 2): "new"}
        assert Job.objects.get(request=request, attempt=2).last_attempt == 1 + 10
        trace = Intervention.objects.get(request=request)
        assert (trace.verb, trace.by, trace.reason) == ("retry_request", "ada", "service 2 is back")
    other.refresh_from_db()
    assert other.status == "Failed"


def test_it_does_to_each_what_a_retry_by_hand_does() -> None:
    """Of a request with a job that is done, one that failed and one that was cancelled, and an answer."""

    def taken_up_by(work: Any) -> list[Any]:
        request = failed("fails failed: no", "fails")
        make_job(request, "noop", "completed")
        make_job(request, "noop_1", "cancelled", attempt=2)
        answer = make_answer(request, "fails")
        work(request.token)
        made = Job.objects.filter(request=request).order_by("name", "attempt")
        request.refresh_from_db()
        assert abs(seconds_from_now(made.get(name="fails", status="new").due_at)) < 2
        return [
            list(made.values_list("step", "name", "attempt", "last_attempt", "status", "if_fails")),
            (request.status, request.error, request.error_kind, request.completed_at),
            Answer.objects.get(pk=answer.pk).effect,
        ]

    def all_alike(token: str) -> None:
        assert len(list(bulk_retry(now_alike(error_kind("fails failed: no")), 60, **BY))) == 1

    assert taken_up_by(all_alike) == taken_up_by(lambda token: retry_request(token, **BY))


def test_what_was_refused_is_queued_again_at_its_place() -> None:
    error = 'action: unknown action "x"; known: none'
    for _ in range(3):
        make_request("Failed", started_at=None, error=error, error_kind=error_kind(error), due_in=-1000)
    list(bulk_retry(now_alike(error_kind(error)), 60, **BY))
    queued = Request.objects.filter(status="Queuing").order_by("id").values_list("due_at", flat=True)
    assert [round(seconds_from_now(moment) / 60) for moment in queued] == [0, 1, 2]
    assert pass_new() == {"started": 1}


def test_what_fails_again_meanwhile_is_not_taken_up_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "BATCH", 1)
    requests = [failed() for _ in range(2)]
    selection = Selection(KIND, database_now())
    for _ in bulk_retry(selection, 1, **BY):
        Job.objects.filter(status="new").update(status="failure", completed_at=database_now(), error="answered 503")
        pass_inprogress()
    assert Request.objects.filter(status="Failed", error_kind=KIND).count() == 2
    assert [request.jobs.count() for request in requests] == [2, 2]


def test_those_that_failed_longer_ago_are_left() -> None:
    old, new = failed(), failed()
    Request.objects.filter(pk=old.pk).update(completed_at=database_now() - timedelta(hours=3))
    ended = called_here("retry_request", "--like", new.token, "--since", "2h", "--reason", "x")
    assert ended.stdout.startswith("retry_request retried=1 locked=0 ")
    assert set(Request.objects.filter(status="Failed")) == {old}


# One run after another ------------------------------------------------------------------------------------------------
def test_a_second_run_goes_on_where_a_killed_one_stopped_and_keeps_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "BATCH", 2)
    for _ in range(5):
        failed()
    assert len(next(bulk_retry(now_alike(), 60, **BY)).requests) == 2  # as after a kill: no more is done
    assert take_up(60).retried == 3
    assert len(gaps()) == 4
    assert all(60 <= gap < 70 for gap in gaps())  # never less; a run's own time may come in between


def test_a_run_that_comes_when_the_last_is_through_begins_now() -> None:
    failed()
    take_up(60)
    RetryPace.objects.update(next_at=database_now() - timedelta(hours=1))
    failed()
    take_up(60)
    assert seconds_from_now(due_times()[-1]) <= 0


def test_a_process_is_killed_and_the_same_command_goes_on(manage: Manage) -> None:
    many_failed(3000)
    named = Request.objects.order_by("id")[0].token  # it is taken up last, or the command could not name it again
    command = ("retry_request", "--like", named, "--pace", "10/s", "--reason", "mended")
    process = manage.start(*command)
    while not Request.objects.exclude(status="Failed").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = Request.objects.filter(status="Failed").count()
    assert 0 < left < 3000
    done = manage(*command)
    assert done.returncode == 0, done.stderr  # which says how far it is when it takes longer than two seconds
    assert done.stdout.startswith(f"retry_request retried={left} locked=0 due_from=")
    due = sorted(due_times())
    assert len(due) == 3000
    assert min(later - sooner for sooner, later in pairwise(due)) > timedelta(seconds=0.095)
    assert Intervention.objects.count() == 3000


# The command ----------------------------------------------------------------------------------------------------------
def test_the_default_pace_is_ten_a_second_and_one_line_says_what_was_done() -> None:
    requests = [failed() for _ in range(3)]
    ended = called_here("retry_request", "--like", requests[-1].token, "--reason", "mended", "--by", "Ann")
    assert (ended.returncode, ended.stderr) == (0, "")
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    line = rf"retry_request retried=3 locked=0 due_from={moment} due_until={moment} seconds=\d\.\d\n"
    assert re.fullmatch(line, ended.stdout), ended.stdout
    assert gaps() == [0.1, 0.1]
    assert {trace.by.endswith(" for Ann") for trace in Intervention.objects.all()} == {True}


def test_a_dry_run_changes_nothing_and_says_how_many_of_which_actions_from_when_to_when() -> None:
    actions = ("delete_user", "delete_user", "update_user", "made up by a caller")
    requests = [failed(action=action) for action in actions]
    command = ("retry_request", "--like", requests[0].token, "--pace", "60/h", "--reason", "x", "--dry-run")
    said: list[str] = []
    assert changes_by(lambda: said.append(called_here(*command).stdout)) == {}
    assert "nothing is changed: requests=4 delete_user=2 other=1 update_user=1 failed_from=2" in said[0]
    due = [datetime.fromisoformat(moment) for moment in re.findall(r" due_\w+=(\S+)", said[0])]
    assert due[1] - due[0] == timedelta(minutes=3)
    assert "requests=2 " in called_here(*command, "--limit", "2").stdout
    assert not Intervention.objects.exists()


def test_a_limit_takes_the_oldest() -> None:
    requests = [failed() for _ in range(4)]
    called_here("retry_request", "--like", requests[0].token, "--limit", "2", "--reason", "x")
    assert list(Request.objects.filter(status="Inprogress").order_by("id")) == requests[1:3]
    called_here("retry_request", "--like", requests[0].token, "--limit", "2", "--reason", "x")
    assert not Request.objects.filter(status="Failed").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--like", "nobody"], 1, "there is no request with token nobody"),
        (["--like", "done"], 1, "only what failed like a Failed request can be retried; this one is Completed"),
        (["--like", "of-before"], 1, "retry it, and each like it, by its token (retry_request -"),
        (["--like", "bad", "--pace", "10"], 2, "is no pace: so many a second, minute or hour are needed"),
        (["--like", "bad", "--pace", "0/s"], 2, "is no pace"),
        (["--like", "bad", "--since", "soon"], 2, "is no span of time"),
        (["--like", "bad", "bad"], 2, "say TOKEN, or --like TOKEN"),
        ([], 2, "say TOKEN, or --like TOKEN"),
        (["bad", "--dry-run"], 2, "--dry-run goes with --like"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(arguments: list[str], code: int, sentence: str) -> None:
    failed(token="bad")
    make_request("Completed", token="done")
    make_request("Failed", token="of-before")
    ended: list[Any] = []
    assert changes_by(lambda: ended.append(called_here("retry_request", *arguments, "--reason", "x"))) == {}
    assert ended[0].returncode == code
    assert sentence in ended[0].stderr


# Cost -----------------------------------------------------------------------------------------------------------------
def test_statements_and_commits_grow_with_batches_not_with_requests() -> None:
    costs = []
    for number in (500, 400, 1500):
        many_failed(number)
        with listening() as heard, counting_commits() as commits:
            assert take_up().retried == number
        costs.append((len(heard), len(commits)))
        Intervention.objects.all().delete()
        Job.objects.all().delete()
        Request.objects.all().delete()
    (full, _), (part, _), (three, commits_of_three) = costs
    assert part <= full <= 25
    assert three <= 3 * full
    assert commits_of_three <= 7  # one for each batch, one for its audit events, one for the pace


def test_those_of_a_kind_are_found_by_its_index() -> None:
    many_failed(300)
    other = {"action": "made_up", "status": "Failed", "completed_at": database_now(), "error": "x"}
    insert_many("requests", [other | {"error_kind": f"{number:08x}"} for number in range(3000)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE requests" if connection.vendor == "mysql" else "ANALYZE")
    selection = now_alike()
    with listening() as heard:
        Request.objects.ids_of_kind(selection, 100, after=5)
        Request.objects.summarize_kind(selection, 100)
    for statement in heard:
        with connection.cursor() as cursor:
            how = "EXPLAIN FORMAT=TRADITIONAL" if connection.vendor == "mysql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{how} {statement.sql}", statement.params)
            plan = str(cursor.fetchall())
        assert "requests_error_kind" in plan
        assert "SCAN requests" not in plan
