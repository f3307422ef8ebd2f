"""Rows of every malformed kind, inserted by raw SQL: each ends with its reason in one pass, and the others go on.

TASKER_TEST_EXAMPLES=50000 runs as many examples; the default is for every day.
"""

import json
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs_app.models import Job
from jobs_app.outcomes import JobContext, Retry, storable_error
from jobs_app.registry import job, unregister
from requests_app.models import Request
from tests.lifecycle.malformed import GOOD_STEPS, IN_PROGRESS, LONG_AGO, QUEUED, REFUSED, Columns, Row

EXAMPLES = int(os.environ.get("TASKER_TEST_EXAMPLES", "500"))
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
COLUMNS = {"token", "action", "params", "extras", "steps", "step", "status", "due_at", "name", "completed_at"}
CONSTRAINTS = {constraint.name for model in (Request, Job) for constraint in model._meta.constraints}

every_input = settings(
    max_examples=EXAMPLES,
    deadline=None,  # a machine is busy at times
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def insert(table: str, columns: Columns) -> int:
    with connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(columns))
        cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", [*columns.values()])
        return int(cursor.lastrowid)


def place(row: Row) -> int | None:
    """The request's id; None when the database refused it and named what it minds."""
    try:
        with transaction.atomic():
            id_ = insert("requests", row.request)
            for job in row.jobs:
                insert("jobs", job | {"request_id": id_})
            return id_
    except DatabaseError as error:
        refusal = str(error)
    assert any(name in refusal for name in COLUMNS | CONSTRAINTS), refusal
    return None


def says_first(error: str) -> bool:
    """Whether the first line says something, in characters that steer no terminal."""
    line = error.partition("\n")[0]
    return bool(line.strip()) and not any(
        unicodedata.category(character) == "Cc" for character in error if character not in "\n\t"
    )


def empty_tables() -> None:
    with connection.cursor() as cursor:
        for table in ("jobs", "requests", "passes"):
            cursor.execute(f"DELETE FROM {table}")


@pytest.fixture
def tables(transactional_db: None) -> None:
    """Committed rows: the passes' threads have connections of their own."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA synchronous = OFF")  # nobody pulls the plug here


@contextmanager
def registered(name: str, callback: Callable[[JobContext], None]) -> Iterator[None]:
    job(name)(callback)
    try:
        yield
    finally:
        unregister(name)


def run_passes() -> None:
    for command in PASSES:
        call_command(command, stdout=StringIO())


@every_input
@given(rows=st.lists(st.one_of(*QUEUED, *IN_PROGRESS, *REFUSED), min_size=1, max_size=4))
def test_a_malformed_row_ends_with_its_reason_in_one_pass_and_its_neighbours_complete(
    tables: None, rows: Sequence[Row]
) -> None:
    empty_tables()
    neighbours = [insert("requests", {"action": "good", "steps": GOOD_STEPS})]
    placed = {id_: row for row in rows if (id_ := place(row)) is not None}
    neighbours += [insert("requests", {"action": "good", "steps": GOOD_STEPS, "due_at": LONG_AGO})]

    run_passes()

    ended = {id_: (status, error) for id_, status, error in Request.objects.values_list("id", "status", "error")}
    assert [ended[id_] for id_ in neighbours] == [("Completed", "")] * 2
    for id_, row in placed.items():
        status, error = ended[id_]
        assert (row.kind, status) == (row.kind, row.ends), error
        assert says_first(error) == (status == "Failed"), error


def test_an_error_holds_no_control_characters_but_tab_and_newline() -> None:
    """A service's answer is quoted in it, and a terminal shows it."""
    shown = storable_error("answered 500: \x1b[2J\x07\x9b31m\r\n\tline 2\x7f\0")
    assert shown == "answered 500: \ufffd[2J\ufffd\ufffd31m\n\tline 2\ufffd\ufffd"


@pytest.mark.parametrize("after", ["soon", [], object(), 10**400], ids=["text", "list", "object", "huge number"])
def test_a_retry_after_what_is_no_number_is_the_callbacks_bug_and_stops_no_pass(tables: None, after: Any) -> None:
    def callback(context: JobContext) -> None:
        raise Retry("later", after=after)

    with registered("callback_with_a_bug", callback):
        bad = insert(
            "requests", {"action": "bad", "steps": json.dumps([{"name": "a", "jobs": ["callback_with_a_bug"]}])}
        )
        good = insert("requests", {"action": "good", "steps": GOOD_STEPS})
        run_passes()

    assert Request.objects.get(id=good).status == "Completed"
    attempt = Job.objects.filter(request_id=bad).earliest("attempt")
    assert (attempt.status, "Traceback" in attempt.error) == ("retry", True)


def test_a_retry_of_a_class_of_its_own_is_a_retry(tables: None) -> None:
    class Busy(Retry):
        def __init__(self, queue: int) -> None:
            self.queue = queue

    def callback(context: JobContext) -> None:
        raise Busy(7)

    with registered("callback_that_is_busy", callback):
        id_ = insert(
            "requests", {"action": "bad", "steps": json.dumps([{"name": "a", "jobs": ["callback_that_is_busy"]}])}
        )
        run_passes()

    assert Job.objects.filter(request_id=id_).earliest("attempt").status == "retry"
