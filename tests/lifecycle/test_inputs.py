"""Rows of every malformed kind, inserted by raw SQL: each ends with its reason in one pass, and the others go on."""

import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.outcomes import JobContext, Retry, storable_error
from jobs_app.registry import job, unregister
from requests_app.models import Request
from requests_app.recipes.steps import StepsError, read_steps
from tests.conftest import Manage, _environment_of_commands
from tests.depth import LONG
from tests.factories import held, make_job, make_request
from tests.lifecycle.malformed import GOOD_STEPS, IN_PROGRESS, LONG_AGO, NEVER, QUEUED, REFUSED, Columns, Row

EXAMPLES = 25_000 if LONG else 200  # on each engine
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
# What a refusal names; MySQL names no column for one that is nested too deep.
COLUMNS = {
    "JSON document",
    "token",
    "action",
    "params",
    "extras",
    "steps",
    "step",
    "status",
    "due_at",
    "name",
    "completed_at",
}
CONSTRAINTS = {constraint.name for model in (Request, Job) for constraint in model._meta.constraints}

every_input = settings(
    max_examples=EXAMPLES,
    deadline=None,  # a machine is busy at times
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # explaining takes longer than finding
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


@pytest.mark.long
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


@pytest.mark.parametrize("name", ["\x7f", "\x9b2J", "\0", "\r", "\ud800"], ids=ascii)
def test_a_fault_of_the_steps_quotes_no_control_characters(name: str) -> None:
    with pytest.raises(StepsError) as refused:
        read_steps(json.dumps([{"name": "only", "jobs": [name]}]), known_jobs=frozenset({"noop"}))
    assert says_first(str(refused.value))
    assert str(refused.value).encode()


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


@pytest.mark.parametrize(
    "names", [["next", "next "], ["next", "\ud800"]], ids=["equal to a unique key", "a lone surrogate"]
)
def test_a_next_step_of_names_that_no_key_can_hold_stops_nobody(tables: None, names: list[str]) -> None:
    """Only somebody who writes a request in progress can bring this about: at its pick-up each name must be known."""
    steps = json.dumps([{"name": "only", "jobs": ["noop"]}, {"name": "next", "jobs": names}])
    good = insert("requests", {"action": "good", "steps": GOOD_STEPS})
    bad = place(
        Row(
            "",
            "Failed",
            {"action": "bad", "steps": steps, "status": "Inprogress"},
            ({"name": "noop", "step": 0, "status": "completed", "completed_at": LONG_AGO},),
        )
    )
    run_passes()
    assert Request.objects.get(id=good).status == "Completed"
    assert bad is None or Request.objects.get(id=bad).status == "Failed"


def test_the_first_line_names_the_remedy_whatever_the_action(tables: None) -> None:
    id_ = insert("requests", {"action": "delete_user\n"})
    run_passes()
    assert "known: " in Request.objects.get(id=id_).error.partition("\n")[0]


# What only one of the engines lets in ---------------------------------------------------------------------------------
@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("action", b"Zo\xeb"),
        ("token", b"Zo\xeb"),
        ("params", b'{"name": "Zo\xeb"}'),
        ("extras", b'{"name": "Zo\xeb"}'),
        ("steps", b'[{"name": "Zo\xeb", "jobs": ["noop"]}]'),
    ],
)
def test_text_that_is_no_utf8_stops_nobody(tables: None, column: str, text: bytes) -> None:
    good = insert("requests", {"action": "good", "steps": GOOD_STEPS})
    columns = {"action": "'bad'", "steps": f"'{GOOD_STEPS}'"} | {column: f"CAST(x'{text.hex()}' AS TEXT)"}
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO requests ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")
    run_passes()
    assert Request.objects.get(id=good).status == "Completed"


@pytest.mark.integration
def test_a_caller_without_strict_mode_stops_nobody(tables: None) -> None:
    """Its session takes what ours would refuse: texts that are cut. Of dates that are none it makes zeros: refused."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@sql_mode")
        strict = cursor.fetchone()[0]
        cursor.execute("SET sql_mode = ''")
        try:
            insert("requests", {"action": "a" * 300, "token": "t" * 300, "steps": GOOD_STEPS})
            insert("requests", {"action": "no number", "steps": GOOD_STEPS, "step": "one"})
            for no_date in ("0000-00-00 00:00:00", "soon"):
                with pytest.raises(IntegrityError, match="requests_moments"):
                    insert("requests", {"action": "no date", "steps": GOOD_STEPS, "due_at": no_date})
        finally:
            cursor.execute("SET sql_mode = %s", [strict])
    run_passes()
    assert set(Request.objects.values_list("status", flat=True)) == {"Completed"}


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        *(
            ("requests", "due_at", moment)
            for moment in (
                *("soon", "2026-02-31 10:00:00", "2026-02-31 10:00:00.123456", "2026-01-01T10:00:00", "17", ""),
                *("2026-01-01T10:00:00.123456", "2026-01-01 10:00:00.5+02:00", "2026-01-01 10:00:00.123456Z"),
                *("2026-01-01 10:00:00 .123456", "2026-01-01 10:00:00+00:00", "2026-01-01 10:00:00.123456 "),
                *("10:00:00.123456", "2026-01-01 24:00:00.000000", "2026-01-01 10:00.123456"),
            )
        ),
        ("requests", "created_at", "2026-01-01"),
        *(("requests", "step", step) for step in ("one", "0.5", "1e30", "")),
        ("jobs", "started_at", "2026-01-01 25:00:00"),
        ("jobs", "attempt", "1.5"),
    ],
)
def test_sqlite_refuses_what_is_no_date_and_no_integer(tables: None, table: str, column: str, value: str) -> None:
    request = insert("requests", {"action": "good", "steps": GOOD_STEPS})
    columns = {"action": "a"} if table == "requests" else {"request_id": request, "step": 0, "name": "noop"}
    with pytest.raises(IntegrityError, match=f"{table}_(types|moments)"):
        insert(table, columns | {column: value})


@pytest.mark.parametrize(
    "moment",
    [
        *("2000-02-29 23:59:59", "2000-01-01 00:00:59.5", "2000-02-29 00:00:59.123456", "2000-01-01 00:00:59.999999"),
        *(LONG_AGO, NEVER),
    ],
)
def test_any_moment_since_1970_may_be_given_as_due(tables: None, moment: str) -> None:
    insert("requests", {"action": "good", "steps": GOOD_STEPS, "due_at": moment})
    assert f"{Request.objects.get().due_at:%H:%M:%S}" == moment[11:19]


# As processes ---------------------------------------------------------------------------------------------------------
@settings(every_input, max_examples=1, phases=[Phase.generate])
@given(rows=st.tuples(*QUEUED, *IN_PROGRESS))
def test_every_kind_of_malformed_row_at_once_leaves_no_trace_on_standard_error(
    tables: None, manage: Manage, rows: Sequence[Row]
) -> None:
    empty_tables()
    for row in rows:
        place(row)
    ended = [manage(command) for command in PASSES]
    assert [(process.returncode, process.stderr) for process in ended] == [(0, "")] * 3
    assert all(process.stdout.count("\n") == 1 for process in ended)


MEASURED = """
import pathlib, re, sys
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", sys.argv[1]])
print(re.search("VmHWM:\\\\s*(\\\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def peak_mebibytes(command: str) -> float:
    """Runs the command as a process of its own; returns the most memory that it held."""
    process = subprocess.run(
        [sys.executable, "-c", MEASURED, command],
        cwd=django_settings.BASE_DIR,
        env=_environment_of_commands(),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(process.stdout.split()[-1]) / 1024


def insert_large(copies: int, characters: int, **columns: str) -> None:
    """`columns`: SQL, in which LARGE stands for a text of so many characters."""
    text = f"REPEAT('x', {characters})" if connection.vendor == "mysql" else f"HEX(ZEROBLOB({characters // 2}))"
    columns = {"action": "'large'"} | columns
    values = ", ".join(columns.values()).replace("LARGE", text)
    with connection.cursor() as cursor:
        for _ in range(copies):
            cursor.execute(f"INSERT INTO requests ({', '.join(columns)}) VALUES ({values})")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("command", "columns"),
    [
        ("run_new_requests", {"params": "JSON_OBJECT('a', LARGE)", "steps": "JSON_ARRAY(LARGE)"}),
        ("run_jobs", {"params": "JSON_OBJECT('a', LARGE)", "steps": f"'{GOOD_STEPS}'"}),
        ("run_inprogress_requests", {"status": "'Inprogress'", "steps": "JSON_ARRAY(LARGE, LARGE, LARGE)"}),
    ],
)
def test_megabytes_in_every_row_take_less_than_120_of_memory(
    tables: None, command: str, columns: dict[str, str]
) -> None:
    peak_before = peak_mebibytes(command)
    insert_large(60, 2**20, **columns)
    if command == "run_jobs":
        call_command("run_new_requests", stdout=StringIO())
    assert peak_mebibytes(command) - peak_before < 120
    assert not Request.objects.filter(status="Queuing").exists()


@pytest.mark.integration
def test_many_large_extras_are_recorded_however_many_jobs_end_at_once(tables: None) -> None:
    """Forty jobs may give a request 2.5 MiB; MariaDB takes 16 in one statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        tenth = cursor.fetchone()[0] // 10
    ends = []
    for _ in range(12):
        request = make_request("Inprogress", ["noop"], extras={"large": "x" * tenth})
        ends.append(Result(held(make_job(request, status="inprogress")), JobStatus.COMPLETED, extras='{"one": "more"}'))
    assert len(Job.objects.record(ends)) == len(ends)
