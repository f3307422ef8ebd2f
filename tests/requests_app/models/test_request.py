"""The moves of a request: each against every status; and what the database fills in for a foreign program's INSERT.

The rules are those of docs/moves.md. Two transactions that meet: tests/concurrency/test_moves.py.
"""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction

from jobs_app.db.dialect import database_now
from jobs_app.models import Job
from jobs_app.models.locks import lock_requests
from requests_app.models import Request, RequestStatus, RetryPace
from requests_app.models.bulk_retry import Selection
from requests_app.models.fingerprints import error_kind
from requests_app.passes.inprogress_requests import progress_locked
from tests.factories import (
    Row,
    changed,
    changes_by,
    insert_raw,
    make_job,
    make_request,
    pass_inprogress,
    pass_jobs,
    rows,
    seconds_from_now,
    statuses,
    update_raw,
)

pytestmark = pytest.mark.django_db


# The table: (status, move) --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Move:
    """`act` on a request; allowed in `old` only: then its row changes by `new`."""

    act: Callable[[Request], object]
    old: set[str]
    new: Row
    won: object = 1
    lost: object = 0
    job: Row = field(default_factory=dict)  # what changes of its `new` job


OVER = {"completed_at": ANY}


def retried_alike(request: Request) -> int:
    RetryPace.objects.open(request.error_kind)
    selection = Selection(request.error_kind, database_now())
    return len(Request.objects.bulk_retry([request.id], selection, 60).requests)


MOVES = {
    "start": Move(
        lambda r: Request.objects.start([r.id], {}), {"Queuing"}, {"status": "Inprogress", "started_at": ANY}
    ),
    "refuse": Move(
        lambda r: Request.objects.refuse({r.id: "because"}),
        {"Queuing"},
        {"status": "Failed", "error": "because", "error_kind": error_kind("because")} | OVER,
    ),
    "advance": Move(lambda r: Request.objects.advance([r.id], {}), {"Inprogress"}, {"step": 1}),
    "complete": Move(lambda r: Request.objects.complete([r.id], {}), {"Inprogress"}, {"status": "Completed"} | OVER),
    "fail": Move(
        lambda r: Request.objects.fail({r.id: "because"}),
        {"Inprogress"},
        {"status": "Failed", "error": "because", "error_kind": error_kind("because")} | OVER,
    ),
    "cancel": Move(
        lambda r: Request.objects.cancel(r.token),
        {"Queuing", "Inprogress"},
        {"status": "Cancelled"} | OVER,
        won=True,
        lost=False,
        job={"status": "cancelled", "completed_at": ANY},
    ),
    "retry by hand": Move(
        lambda r: Request.objects.retry_failed(r.token),
        {"Failed"},
        {"status": "Inprogress", "error": "", "completed_at": None},
        won=True,
        lost=False,
    ),
    "retry alike": Move(
        retried_alike,
        {"Failed"},
        {"status": "Inprogress", "error": "", "completed_at": None},
    ),
    "retry now": Move(lambda r: Request.objects.retry_now(r.token), {"Inprogress"}, {}, job={"due_at": ANY}),
}


@pytest.mark.parametrize("status", RequestStatus.values)
@pytest.mark.parametrize("name", MOVES)
def test_a_move_changes_its_rows_in_its_own_statuses_and_nothing_in_any_other(name: str, status: str) -> None:
    move = MOVES[name]
    request = make_request(status)
    job = make_job(request, status="new", due_in=60)
    make_job(make_request(status), status="new", due_in=60)  # a neighbour
    before = rows()
    answer = move.act(request)
    if status not in move.old:
        assert (answer, changed(before)) == (move.lost, {})
        return
    wanted = {("requests", request.id): move.new, ("jobs", job.id): move.job}
    assert (answer, changed(before)) == (move.won, {key: row for key, row in wanted.items() if row})


def test_one_statement_moves_many_each_with_its_own_reason() -> None:
    requests = [make_request("Inprogress") for _ in range(3)]
    gone = make_request("Cancelled")
    errors = {request.id: f"reason {index}" for index, request in enumerate([*requests, gone])}
    assert Request.objects.fail(errors) == 3
    assert [Request.objects.get(pk=request.pk).error for request in requests] == ["reason 0", "reason 1", "reason 2"]
    gone.refresh_from_db()
    assert (gone.status, gone.error) == ("Cancelled", "")


def test_moving_nobody_asks_the_database_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        moved = [
            Request.objects.start([], {}),
            Request.objects.refuse({}),
            Request.objects.advance([], {}),
            Request.objects.complete([], {}),
            Request.objects.fail({}),
        ]
    assert moved == [0] * 5


def test_a_recipe_is_written_where_steps_are_null_and_nowhere_else() -> None:
    own = make_request("Queuing", ["noop_4"], action="delete_user")
    by_recipe = make_request("Queuing", action="delete_user", recipe=True)
    recipe = '[{"name": "only", "jobs": ["noop"]}]'
    Request.objects.start([own.id, by_recipe.id], {"delete_user": recipe, "other": "[]"})
    own.refresh_from_db()
    by_recipe.refresh_from_db()
    assert own.steps == [{"name": "step 0", "jobs": ["noop_4"]}]
    assert by_recipe.steps == [{"name": "only", "jobs": ["noop"]}]


# Advance, complete, fail: by the latest attempts ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("attempts", "moved"),
    [
        ({"noop": ["completed"], "noop_1": ["completed"]}, "advanced"),
        ({"noop": ["retry", "completed"], "noop_1": ["failure", "completed"]}, "advanced"),
        ({"noop": ["cancelled", "completed"], "noop_1": ["completed"]}, "advanced"),
        ({"noop": ["failure"], "noop_1": ["cancelled"]}, "requests_failed"),
        ({"noop": ["retry", "failure"], "noop_1": ["completed"]}, "requests_failed"),
        ({"noop": ["failure"]}, "requests_failed"),
        ({"noop": ["failure"], "noop_1": ["inprogress"]}, None),
        ({"noop": ["failure"], "noop_1": ["new"]}, None),
        ({"noop": ["completed"], "noop_1": ["retry", "new"]}, None),
        ({"noop": ["completed"], "noop_1": ["retry"]}, None),
        ({"noop": ["completed"], "noop_1": ["cancelled"]}, None),
        ({"noop": ["completed"], "noop_1": ["completed", "retry"]}, None),
        ({"noop": ["completed"]}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_request_moves_by_the_latest_attempt_of_every_job_that_its_step_names(
    attempts: dict[str, list[str]], moved: str | None
) -> None:
    request = make_request("Inprogress", ["noop", "noop_1"], ["noop_2"])
    for name, all_statuses in attempts.items():
        for number, status in enumerate(all_statuses, start=1):
            make_job(request, name, status, attempt=number)
    before = rows()
    with transaction.atomic():
        counts = progress_locked(lock_requests([request.id]).values())
    assert counts.counts == ({moved: 1} if moved else {})
    changes = changed(before)
    if moved is None:
        assert changes == {}
    elif moved == "advanced":
        assert changes.pop(("requests", request.id)) == {"step": 1}
        [inserted] = changes.values()
        assert (inserted["name"], inserted["step"], inserted["attempt"], inserted["status"]) == ("noop_2", 1, 1, "new")
    else:
        error = "noop failed: why it ended so"
        failed = {"status": "Failed", "completed_at": ANY, "error": error, "error_kind": error_kind(error)}
        assert changes == {("requests", request.id): failed}


def test_after_its_last_step_a_request_is_completed() -> None:
    request = make_request("Inprogress", ["noop"], ["noop_1"], step=1)
    make_job(request, "noop", "completed", step=0)
    make_job(request, "noop_1", "completed")
    assert pass_inprogress() == {"requests_completed": 1}
    request.refresh_from_db()
    assert (request.status, request.step, request.completed_at is not None) == ("Completed", 1, True)


@pytest.mark.parametrize("status", ["Queuing", "Completed", "Failed", "Cancelled"])
def test_only_a_request_in_progress_is_moved_on(status: str) -> None:
    request = make_request(status, ["noop"], ["noop_1"])
    make_job(request, "noop", "completed")
    assert changes_by(lambda: progress_locked(lock_requests([request.id]).values()).counts) == {}


# By hand --------------------------------------------------------------------------------------------------------------
def test_a_request_that_was_refused_is_queued_again_by_retry() -> None:
    request = make_request("Failed")
    Request.objects.retry_failed(request.token)
    request.refresh_from_db()
    assert (request.status, request.error, request.completed_at) == ("Queuing", "", None)


def test_cancelling_leaves_what_runs_to_its_end_and_nothing_follows() -> None:
    request = make_request("Inprogress", ["noop", "noop_1", "noop_2"])
    make_job(request, "noop", "inprogress")
    make_job(request, "noop_1", "new")
    make_job(request, "noop_2", "completed")
    Request.objects.cancel(request.token)
    assert statuses(request) == {("noop", 1): "inprogress", ("noop_1", 1): "cancelled", ("noop_2", 1): "completed"}


@pytest.mark.django_db(transaction=True)
def test_a_job_done_by_hand_while_a_sibling_runs_leaves_no_sibling_without_a_successor() -> None:
    # As the retry by hand: every other job whose latest attempt is failure, retry or cancelled is tried again.
    request = make_request("Inprogress", ["noop", "noop_1", "noop_2"])
    running = make_job(request, "noop", "inprogress")
    make_job(request, "noop_1", "failure")
    make_job(request, "noop_2", "cancelled")  # by that failure
    assert Request.objects.complete_job(request.token, "noop_1", None)
    update_raw("jobs", running.id, lease_until="2000-01-01 00:00:00")
    for _ in range(3):
        Job.objects.filter(status="new").update(due_at="2000-01-01T00:00:00Z")
        pass_jobs()
        pass_inprogress()
    request.refresh_from_db()
    assert request.status == "Completed", statuses(request)


# The table itself -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "queuing"},
        {"status": "Done"},
        {"step": -1},
        {"status": "Completed"},
        {"completed_at": "2026-01-01 00:00:00"},
        {"params": "not json"},
        {"extras": "{"},
        {"steps": "[1"},
    ],
    ids=str,
)
def test_the_database_refuses_a_row_that_no_state_allows(wrong: Row) -> None:
    request = make_request()
    with pytest.raises((IntegrityError, OperationalError, DataError)):
        update_raw("requests", request.id, **wrong)


def test_a_second_insert_with_the_same_token_is_refused() -> None:
    insert_raw(token="order 4711")
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_raw(token="order 4711")


@pytest.mark.parametrize("other", ["Order", "ORDER", "ordér", "örder", "order1"])
def test_tokens_are_compared_byte_for_byte(other: str) -> None:
    insert_raw(token="order")
    insert_raw(token=other)
    assert Request.objects.get(token="order").token == "order"
    assert Request.objects.get(token=other).token == other


# What a foreign program's INSERT finds --------------------------------------------------------------------------------
TWO_COLUMNS = "INSERT INTO requests (action, params) VALUES ('delete_user', '{\"id\": 7}')"


@pytest.fixture
def bare_client(transactional_db: None) -> Iterator[Callable[..., None]]:
    """Runs one statement and commits it, through the database's own driver; the session's time zone is +09:00."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        client: Any = sqlite3.connect(database["NAME"])
    else:
        import MySQLdb

        host = str(database["HOST"])
        address = {"unix_socket": host} if host.startswith("/") else {"host": host, "port": int(database["PORT"])}
        client = MySQLdb.connect(
            user=database["USER"], password=database["PASSWORD"], database=database["NAME"], **address
        )

    def execute(statement: str) -> None:
        cursor = client.cursor()
        cursor.execute(statement)
        client.commit()

    if connection.vendor != "sqlite":
        execute("SET time_zone = '+09:00'")
    with contextlib.closing(client):
        yield execute


def test_an_insert_of_two_columns_has_all_its_defaults_from_the_database(bare_client: Callable[..., None]) -> None:
    bare_client(TWO_COLUMNS)
    bare_client(TWO_COLUMNS)
    request, other = Request.objects.order_by("id")
    assert (request.action, request.params, request.extras, request.steps) == ("delete_user", {"id": 7}, {}, None)
    assert (request.status, request.step, request.error) == ("Queuing", 0, "")
    assert (request.started_at, request.completed_at) == (None, None)
    assert request.token != other.token


def test_the_default_token_is_a_uuid_in_its_usual_form(bare_client: Callable[..., None]) -> None:
    for _ in range(50):
        bare_client(TWO_COLUMNS)
    tokens = set(Request.objects.values_list("token", flat=True))
    assert len(tokens) == 50
    for token in tokens:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", token)
        assert UUID(token).variant == "specified in RFC 4122"


def test_default_moments_are_utc_whatever_the_inserters_time_zone(bare_client: Callable[..., None]) -> None:
    bare_client(TWO_COLUMNS)
    request = Request.objects.get()
    for moment in (request.due_at, request.created_at):
        assert abs(seconds_from_now(moment)) < 30
        assert abs((datetime.now(UTC) - moment).total_seconds()) < 30
    with connection.cursor() as cursor:  # and so as it is stored, whoever reads it
        cursor.execute("SELECT due_at FROM requests")
        stored = str(cursor.fetchone()[0])
    assert abs((datetime.fromisoformat(stored).replace(tzinfo=UTC) - request.due_at).total_seconds()) < 0.001


def test_moments_have_microseconds(bare_client: Callable[..., None]) -> None:
    for _ in range(20):
        bare_client(TWO_COLUMNS)
    assert any(moment.microsecond for moment in Request.objects.values_list("due_at", flat=True))


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("action", "'x'"),
        ("action, token", "'x', 'mine'"),
        ("action, steps", '\'x\', \'[{"name": "only", "jobs": ["noop"]}]\''),
        ("action, params, due_at", "'x', '{}', '2020-01-01 00:00:00.000000'"),
        ("action, params, steps, token", "'x', '{}', '[{\"name\": \"a\", \"jobs\": [\"noop\"]}]', 'mine'"),
    ],
)
def test_any_of_the_callers_columns_may_be_given(bare_client: Callable[..., None], columns: str, values: str) -> None:
    bare_client(f"INSERT INTO requests ({columns}) VALUES ({values})")
    request = Request.objects.get()
    assert (request.action, request.status, request.params) == ("x", "Queuing", {})
    assert request.token == "mine" if "token" in columns else UUID(request.token)
    assert (request.steps is None) == ("steps" not in columns)
    if "due_at" in columns:
        assert request.due_at == datetime(2020, 1, 1, tzinfo=UTC)


def test_a_job_rows_defaults_are_in_the_database_too(bare_client: Callable[..., None]) -> None:
    request = make_request("Inprogress")
    bare_client(f"INSERT INTO jobs (request_id, step, name) VALUES ({request.id}, 0, 'noop')")
    job = Job.objects.get()
    assert (job.attempt, job.last_attempt, job.status, job.error, job.extras) == (1, 10, "new", "", None)
    assert abs(seconds_from_now(job.due_at)) < 30
