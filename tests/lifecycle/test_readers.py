"""What anybody may have written into requests, before every reader: none ends in a traceback, none stops early.

Readers are the pages, the commands, the metrics and the passes. The values are the worst that a table keeps; moments
that it refuses today are written as into a table of an older release.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, migrations
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from prometheus_client import CollectorRegistry, generate_latest

from jobs_app.db.dialect import EARLIEST
from jobs_app.models import Job
from requests_app.admin import request_page
from requests_app.management.commands import show_request
from requests_app.models import Request
from requests_app.monitoring.gauges import DatabaseCollector
from requests_app.operations import retention
from requests_app.passes import inprogress_requests
from tests.conftest import called_here
from tests.depth import combined
from tests.factories import (
    insert_answer,
    insert_raw,
    make_job,
    make_request,
    make_waiting,
    pass_inprogress,
    update_raw,
)
from tests.lifecycle.malformed import GOOD_STEPS

pytestmark = pytest.mark.django_db(transaction=True)

WITHOUT_CHECK = migrations.RemoveConstraint("request", "requests_moments")
mend = import_module("requests_app.migrations.0010_moments").mend
LIST = "/admin/requests_app/request/"
LONG_NUMBER = f'{{"a": {"1" * 5000}}}'
DEEP = '{"a": ' * 990 + "1" + "}" * 990
JSONS = {
    "a number of 5,000 digits": LONG_NUMBER,
    "990 levels": DEEP,
    "90 levels": '{"a": ' * 90 + "1" + "}" * 90,
    "a key twice": '{"id": 7, "id": 8}',
    "a list": "[1]",
    "null": "null",
    "a lone surrogate": '{"a": "\\ud800"}',
    "infinity": '{"a": 1e999}',
    "megabytes": f'{{"a": "{"x" * 2**21}"}}',
}
MOMENTS = ("0000-01-01 00:00:00", "0000-00-00 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999")
# What stands there -> its job. Each row has the odd value, and this as its token.
STATES = {"Queuing": None, "Inprogress": "new", "settled": "completed", "Failed": "failure", "Completed": "completed"}
BECAUSE = ("--reason", "a test")


@contextmanager
def table_of_an_older_release() -> Iterator[None]:
    """All columns, but not the CHECK of moments; then the rows are mended, as by the migration that adds it."""
    today = MigrationLoader(connection).project_state()
    before = today.clone()
    WITHOUT_CHECK.state_forwards("requests_app", before)
    with connection.schema_editor() as editor:
        WITHOUT_CHECK.database_forwards("requests_app", editor, today, before)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            mend(None, editor)
            WITHOUT_CHECK.database_backwards("requests_app", editor, before, today)


@contextmanager
def session_without_checks() -> Iterator[None]:
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SELECT @@sql_mode")
            before, after = "SET sql_mode = ''", f"SET sql_mode = '{cursor.fetchone()[0]}'"
        else:
            before, after = (f"PRAGMA ignore_check_constraints = {onoff}" for onoff in ("ON", "OFF"))
        cursor.execute(before)
        try:
            yield
        finally:
            cursor.execute(after)


def place(state: str, columns: dict[str, str]) -> Request | None:
    """None: the database refuses it even so, and no reader will ever see it."""
    made = make_request("Inprogress" if state == "settled" else state, token=state, due_in=-10 * 86_400)
    if job := STATES[state]:
        make_job(made, status=job, due_in=60)
    try:
        with session_without_checks():
            update_raw("requests", made.pk, **columns)
    except DatabaseError:
        Job.objects.filter(request=made).delete()
        Request.objects.filter(pk=made.pk).delete()
        return None
    return made


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


# The readers ---------------------------------------------------------------------------------------------------------
def look_at_all(operator: Client, requests: list[Request]) -> None:
    shown = operator.get(LIST)
    assert shown.status_code == 200
    assert [r.token for r in requests if f">{r.token}</a>" not in shown.content.decode()] == []
    for chosen in ("status__exact=Inprogress", "deadline=overdue", "deadline=due_soon"):
        assert operator.get(f"{LIST}?{chosen}").status_code == 200
    assert operator.get("/admin/").status_code == 200
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    assert "tasker_database_up 1.0" in generate_latest(registry).decode()
    for command in (["verify"], ["healthcheck"]):
        said(*command)


def look_at(operator: Client, request: Request) -> None:
    page = f"{LIST}{request.pk}/change/"
    for _ in ("masked", "unmasked"):
        shown = operator.get(page)
        assert shown.status_code == 200
        assert len(shown.content) < 500_000
        operator.post(f"{LIST}{request.pk}/personal_data/")
    for verb in ("retry_request", "retry_now", "complete_job", "fail_job", "cancel_request"):
        asked = operator.get(f"{LIST}{request.pk}/verb/{verb}/")
        assert asked.status_code == 200 or asked.headers["Location"] == page
    for arguments in ([], ["--json"]):
        assert said("show_request", request.token, *arguments)[0] == 0


def said(*arguments: str) -> tuple[int, str]:
    ended = called_here(*arguments)
    assert "Traceback" not in ended.stderr + ended.stdout, arguments
    assert ended.returncode == 0 or ended.stderr.count("\n") == 1, arguments
    return ended.returncode, ended.stderr


def act(token: str) -> None:
    """All verbs; of each at most one is possible, the others are refused with a sentence."""
    said("retry_now", token, *BECAUSE)
    said("complete_job", token, "noop", "--extras", '{"by": "hand"}', *BECAUSE)
    said("fail_job", token, "noop", *BECAUSE)
    said("retry_request", token, *BECAUSE)
    said("cancel_request", token, *BECAUSE)


def run_all() -> None:
    good = insert_raw("good", token="good", steps=GOOD_STEPS)
    for command in ("run_new_requests", "run_jobs", "run_inprogress_requests") * 2:
        assert said(command) == (0, "")
    assert Request.objects.filter(pk=good, status="Completed").exists()


@pytest.mark.long
@pytest.mark.parametrize(("kind", "column"), combined(JSONS, ["params", "extras", "steps"]))
def test_no_reader_minds_what_json_stands_there(operator: Client, kind: str, column: str) -> None:
    read_all(operator, {column: JSONS[kind]})


@pytest.mark.long
@pytest.mark.parametrize(
    ("moment", "columns"),
    combined(MOMENTS, [["due_at"], ["created_at"], ["due_at", "created_at", "started_at"]]),
    ids=str,
)
def test_no_reader_minds_what_moment_stands_there(operator: Client, moment: str, columns: list[str]) -> None:
    with table_of_an_older_release():
        read_all(operator, dict.fromkeys(columns, moment))


ANSWERS: dict[str, dict[str, Any]] = {
    **{f"extras of {kind}": {"extras": text} for kind, text in JSONS.items()},
    **{f"created at {moment}": {"created_at": moment} for moment in MOMENTS},
    "a job and a space": {"job": "noop "},
    "a token and a space": {"token": "waits for a token and a space "},
    "an outcome and a space": {"outcome": "failure "},
    "no outcome of ours": {"outcome": "DONE"},
    "taken, says its caller": {"effect": "taken", "taken_at": "2026-01-01 00:00:00"},
    "a step below 0": {"step": -1},
    "the largest step and attempt": {"step": 2**31 - 1, "attempt": 2**31 - 1, "outcome": "retry"},
    "attempt 0": {"attempt": 0, "outcome": "retry"},
    "a reason of megabytes": {"outcome": "failure", "reason": "x" * 2**21},
    "a reason that steers terminals": {"outcome": "failure", "reason": "\x1b[2J\0"},
    "bytes in place of a text": {"outcome": "failure", "reason": b"\xff\xfe"},
}


def test_no_reader_and_no_pass_minds_what_answer_stands_there(operator: Client) -> None:
    """Each to a request of its own, all before the same passes."""
    requests = [make_request("Inprogress", ["noop"], ["noop_1"], token=f"waits for {kind}") for kind in ANSWERS]
    for request, answer in zip(requests, ANSWERS.values(), strict=True):
        make_waiting(request)
        with suppress(DatabaseError), session_without_checks():  # refused even so: nobody will ever see it
            insert_answer(request, **answer)
    look_at_all(operator, requests)
    for request in requests:
        look_at(operator, request)
    run_all()
    look_at_all(operator, requests)
    for request in requests:
        look_at(operator, request)
        act(request.token)


SUBJECTS: dict[str, Any] = {"bytes": b"\xff\xfe", "control characters": "\x1b[2J\0<b>", "long": "x" * 100}


@pytest.mark.long
@pytest.mark.parametrize(
    ("subject", "keys"), combined(SUBJECTS, [[], ["a-key-0123456789-abcdefghij-0123456789"]]), ids=str
)
def test_no_reader_minds_what_subject_stands_there(
    operator: Client, settings: Any, keys: list[str], subject: str
) -> None:
    settings.WRK_SUBJECT_KEYS = keys
    read_all(operator, {"subject": SUBJECTS[subject]})


@pytest.mark.parametrize("moment", ["1970-01-01 00:00:00", "9999-12-31 23:59:59.999999"])
def test_no_reader_minds_what_deadline_stands_there(operator: Client, moment: str) -> None:
    read_all(operator, {"deadline_at": moment})


@pytest.mark.parametrize("moment", ["1970-01-01 00:00:00", "9999-12-31 23:59:59.999999"])
def test_no_reader_minds_a_deadline_of_a_request_that_was_placed_at_an_odd_moment(
    operator: Client, moment: str
) -> None:
    read_all(operator, {"created_at": moment, "deadline_at": "2026-01-01 00:00:00"})


def read_all(operator: Client, columns: dict[str, str]) -> None:
    requests = [request for state in STATES if (request := place(state, columns))]
    look_at_all(operator, requests)
    for request in requests:
        look_at(operator, request)
    run_all()
    for request in requests:
        act(request.token)
    look_at_all(operator, requests)
    purge_all()


def purge_all() -> None:
    """Completed ones were due before they ended, so no purge looks at those that are due in the year 9999."""
    Request.objects.filter(completed_at__isnull=False).exclude(token="good").update(completed_at="2020-01-01 00:00Z")
    assert said("purge_requests", "--older-than", "1d", "--failed") == (0, "")
    left = Request.objects.filter(completed_at__isnull=False, due_at__lt="9999-01-01 00:00Z")
    assert set(left.values_list("token", flat=True)) == {"good"}


@pytest.mark.integration
@pytest.mark.parametrize(
    "columns",
    [
        {"due_at": "0001-01-01"},
        {"due_at": "0000-00-00"},
        {"deadline_at": "0001-01-01"},
        {"deadline_at": "0000-00-00"},
        {"params": '{"id": 7'},
        {"steps": "[{"},
    ],
    ids=str,
)
def test_a_caller_that_switches_the_checks_off_stops_nobody(columns: dict[str, str]) -> None:
    """Any session of MariaDB may; each UPDATE of such a row is refused, and a pick-up takes many rows in one."""
    if not connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        pytest.skip("MySQL has no such switch")
    with connection.cursor() as cursor:
        cursor.execute("SET check_constraint_checks = 0, sql_mode = ''")
        odd = insert_raw("odd", **{"steps": GOOD_STEPS} | columns)
    connection.close()
    run_all()
    status, error = Request.objects.values_list("status", "error").get(pk=odd)
    assert (status, error.partition(":")[0]) == ("Failed", "written without the table's CHECKs")


# Each case of its own ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("moment", MOMENTS[:3])
@pytest.mark.parametrize("column", ["due_at", "created_at", "deadline_at"])
def test_a_moment_before_1970_is_refused_with_strict_mode_and_without(column: str, moment: str) -> None:
    for without in (False, True):
        with pytest.raises(
            DatabaseError,
            match=r"requests_moments|requests_deadline_moment|requests_types|Incorrect datetime|Data truncat",
        ):
            insert_without_strict_mode(column, moment) if without else insert_raw(**{column: moment})
    assert not Request.objects.exists()


def insert_without_strict_mode(column: str, moment: str) -> None:
    with session_without_checks() if connection.vendor == "mysql" else nullcontext():
        insert_raw(**{column: moment})


@pytest.mark.parametrize("moment", MOMENTS[:3])
def test_migrating_makes_1970_of_it_and_leaves_its_neighbours(moment: str) -> None:
    with table_of_an_older_release():
        good = make_request()
        odd = place("Queuing", {"due_at": moment, "created_at": moment})
    assert odd
    assert set(Request.objects.filter(pk=odd.pk).values_list("due_at", "created_at")) == {(EARLIEST, EARLIEST)}
    assert Request.objects.get(pk=good.pk).due_at == good.due_at


def test_the_age_of_the_oldest_due_request_is_told_whatever_its_moment() -> None:
    with table_of_an_older_release():
        assert place("Queuing", {"due_at": "0000-01-01 00:00:00"})
        registry = CollectorRegistry()
        registry.register(DatabaseCollector())
        assert (registry.get_sample_value("tasker_oldest_due_request_age_seconds") or 0) > 3600


def test_a_purge_goes_on_behind_a_page_of_such_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    with table_of_an_older_release():
        for number in range(8):
            made = make_request("Completed", token=str(number), due_in=-99, completed_at="2020-01-01 00:00Z")
            with session_without_checks():
                update_raw("requests", made.pk, due_at="0000-01-01 00:00:00" if number < 5 else "2020-01-01 00:00:00")
        assert said("purge_requests", "--older-than", "1d", "--dry-run") == (0, "")
        assert said("purge_requests", "--older-than", "1d") == (0, "")
        assert not Request.objects.filter(token__in="567").exists()
        assert said("purge_requests", "--older-than", "1d") == (0, "")
        assert not Request.objects.exists()


def test_many_that_are_due_at_the_same_whole_second_are_paged_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """As our docs have callers write it: on SQLite that moment has several texts."""
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(inprogress_requests, "SCANNED", 3)
    for _ in range(7):
        make_request("Completed", completed_at="2020-01-01 00:00Z")
        make_job(make_request("Inprogress"), status="completed")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE requests SET due_at = '2020-01-01 00:00:00.000000'")
    assert pass_inprogress() == {"requests_completed": 7}
    assert called_here("purge_requests", "--older-than", "1d", "--dry-run").stdout.startswith(
        "purge_requests dry run, nothing is changed: requests=7 "
    )


@pytest.mark.parametrize("text", ['{"id": 7, "id": 8}', '{"user": {"id": 7, "mail": "a", "id": 8}}'])
def test_a_key_that_stands_twice_in_params_is_refused_before_any_callback(text: str) -> None:
    """MySQL keeps the last of them at the INSERT: there SQL and Python read the same."""
    id_ = insert_raw(params=text, steps=GOOD_STEPS)
    for command in ("run_new_requests", "run_jobs", "run_inprogress_requests"):
        assert said(command) == (0, "")
    request = Request.objects.get(pk=id_)
    if connection.vendor == "mysql" and not connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        assert (request.status, "7" in str(request.params)) == ("Completed", False)
    else:
        assert (request.status, "a key stands twice" in request.error) == ("Failed", True)


def test_a_key_that_stands_twice_in_steps_is_refused() -> None:
    id_ = insert_raw(steps='[{"name": "only", "jobs": ["fails"], "jobs": ["noop"]}]')
    run_all()
    status, error = Request.objects.values_list("status", "error").get(pk=id_)
    if connection.vendor == "mysql" and not connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        assert status == "Completed"  # it keeps the last at the INSERT
    else:
        assert (status, error) == ("Failed", "steps: not readable as JSON: a key stands twice in the same object")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LONG_NUMBER, "cannot be read: Exceeds the limit"),
        pytest.param(DEEP, "cannot be read: nested too deep", marks=pytest.mark.sqlite),  # the servers refuse it
    ],
)
def test_what_cannot_be_read_is_said_where_it_is_shown(operator: Client, text: str, why: str) -> None:
    if connection.vendor == "mysql" and not connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        pytest.skip("MySQL makes a float of it")
    request = make_request("Failed", token="odd")
    make_job(request, status="failure")
    update_raw("requests", request.pk, params=text)
    assert why in operator.get(f"{LIST}{request.pk}/change/").content.decode()
    assert json.loads(called_here("show_request", "odd", "--json").stdout)["params"].startswith(why)


def test_a_row_of_14_mebibytes_is_shown_at_once(operator: Client) -> None:
    large = f'{{"a": [{"1," * 7_000_000}1]}}'
    request = make_request("Failed", token="large")
    make_job(request, status="failure")
    update_raw("requests", request.pk, params=large)
    began = time.monotonic()
    page = operator.get(f"{LIST}{request.pk}/change/").content.decode()
    assert said("retry_request", "large", *BECAUSE) == (0, "")
    assert said("show_request", "large") == (0, "")
    assert time.monotonic() - began < 3
    assert "more than 262,144 characters: too large to be shown" in page


def test_show_request_says_that_there_are_more_attempts_than_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_request, "_MOST_ATTEMPTS", 3)
    request = make_request("Inprogress", token="many")
    for attempt in range(1, 6):
        make_job(request, status="retry", attempt=attempt)
    shown = called_here("show_request", "many").stdout
    assert (shown.count("  retry "), "there are more attempts than these 3" in shown) == (3, True)


def test_who_looks_is_told_that_there_are_more_answers(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may answer as often as it likes, and is late each time."""
    for reader in (show_request, request_page):
        monkeypatch.setattr(reader, "_MOST_ANSWERS", 3)
    request = make_request("Inprogress", token="many")
    for _ in range(3):
        insert_answer(request)
    assert "more answers" not in called_here("show_request", "many").stdout
    insert_answer(request)
    assert "there are more answers than these 3" in called_here("show_request", "many").stdout
    page = operator.get(f"{LIST}{request.pk}/change/").content.decode()
    assert "There are more answers than the 3 shown." in page


def test_a_job_completed_by_hand_leaves_extras_alone_that_cannot_be_read() -> None:
    if connection.vendor == "mysql" and not connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        pytest.skip("MySQL makes a float of it")
    request = make_request("Failed", token="odd")
    make_job(request, status="failure")
    update_raw("requests", request.pk, extras=LONG_NUMBER)
    code, refusal = said("complete_job", "odd", "noop", "--extras", '{"by": "hand"}', *BECAUSE)
    assert (code, "the request's extras cannot be read" in refusal) == (1, True)
    assert Job.objects.filter(request=request).count() == 1
    assert said("complete_job", "odd", "noop", *BECAUSE)[0] == 0
