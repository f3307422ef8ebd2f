"""One row that is wrong never stops the others: passes beside a good request that must move on."""

import contextlib
import json

import pytest
from django.db import DatabaseError, connection

from jobs_app.models import Job
from requests_app.models import Request
from tests.conftest import Manage, called_here
from tests.factories import let_leases_run_out

pytestmark = pytest.mark.django_db(transaction=True)
ONE_STEP = json.dumps([{"name": "only", "jobs": ["noop"]}])


def insert(action: str, **columns: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO requests (action, {', '.join(columns)}) VALUES (%s{', %s' * len(columns)})",
            [action, *columns.values()],
        )


def good_status() -> str:
    return str(Request.objects.get(action="good").status)


def test_a_lost_job_whose_request_is_gone_does_not_stop_the_others(manage: Manage):
    off, on = (
        ("SET foreign_key_checks = 0", "SET foreign_key_checks = 1")
        if connection.vendor == "mysql"
        else ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON")
    )
    with connection.cursor() as cursor:
        cursor.execute(off)
        cursor.execute("INSERT INTO jobs (request_id, step, name) VALUES (4711, 0, 'noop')")
        cursor.execute(on)
    try:
        called_here("run_jobs")
        assert Job.objects.get(request_id=4711).status == "inprogress"
        let_leases_run_out()
        insert("good", steps=ONE_STEP)
        called_here("run_new_requests")
        ended = manage("run_jobs")

        assert (ended.returncode, ended.stderr) == (0, "")
        assert list(Job.objects.filter(request__action="good").values_list("status", flat=True)) == ["completed"]
    finally:
        Job.objects.filter(request_id=4711).delete()  # or the flush of the next test finds it


def test_a_request_set_back_to_queuing_by_hand_does_not_stop_the_others():
    insert("failed", steps=json.dumps([{"name": "only", "jobs": ["fails"]}]))
    for command in ("run_new_requests", "run_jobs", "run_inprogress_requests"):
        called_here(command)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE requests SET status = 'Queuing', completed_at = NULL")
    insert("good", steps=ONE_STEP)

    ended = called_here("run_new_requests")

    assert (ended.returncode, good_status()) == (0, "Inprogress")


@pytest.mark.sqlite  # MariaDB and MySQL refuse such JSON
@pytest.mark.parametrize(
    "steps", ['[{"name": "a", "jobs": ["\\ud800"]}]', '[{"name": "a", "jobs": ["noop"], "\\ud800": 1}]']
)
def test_lone_surrogates_in_steps_do_not_stop_the_others(steps: str):
    insert("odd", steps=steps)
    insert("good", steps=ONE_STEP)

    ended = called_here("run_new_requests")

    assert (ended.returncode, good_status()) == (0, "Inprogress")
    assert Request.objects.get(action="odd").status == "Failed"


@pytest.mark.sqlite
def test_lone_surrogates_in_extras_do_not_stop_the_others():
    insert("odd", steps=json.dumps([{"name": "a", "jobs": ["returns_extras"]}]), extras='{"a": "\\ud800"}')
    insert("good", steps=ONE_STEP)
    called_here("run_new_requests")

    ended = called_here("run_jobs")

    assert ended.returncode == 0
    assert not Job.objects.filter(status="inprogress").exists()


def test_a_later_step_with_a_job_of_a_newer_release_waits_for_that_release():
    insert("good", steps=ONE_STEP)
    called_here("run_new_requests")
    newer = [{"name": "only", "jobs": ["noop"]}, {"name": "next", "jobs": ["of_a_newer_release"]}]
    Request.objects.update(steps=newer)
    for _ in range(2):
        called_here("run_jobs")
        called_here("run_inprogress_requests")

    assert good_status() == "Inprogress"


@pytest.mark.parametrize("extras", ["[1]", '{"a": 1e999}', '{"a": "\\u0000"}', f'{{"a": {"1" * 5000}}}'])
def test_odd_extras_of_one_request_do_not_stop_the_others(extras: str):
    with contextlib.suppress(DatabaseError):  # MySQL takes some of them for no JSON
        insert("odd", steps=json.dumps([{"name": "a", "jobs": ["returns_extras"]}]), extras=extras)
    insert("good", steps=ONE_STEP)
    called_here("run_new_requests")

    ended = called_here("run_jobs")

    assert ended.returncode == 0
    assert not Job.objects.exclude(status__in=["completed", "failure"]).exists()
