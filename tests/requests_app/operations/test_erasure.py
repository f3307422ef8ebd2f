"""What retention forgets, it forgets everywhere; what it did is kept; what is scrubbed already costs nothing."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client

from jobs_app.db.dialect import database_now
from jobs_app.models import Answer, Job, JobIntervention, PausedJob
from jobs_app.worker.pausing import pause_job, resume_job
from requests_app.admin.personal_data import LOGGED
from requests_app.models import Purge, Request
from requests_app.operations.find_requests import find
from requests_app.operations.retention import Retention
from requests_app.operations.verify import ReadCount, findings
from tests.conftest import called_here
from tests.factories import insert_raw, make_answer_to, make_job, make_request, pass_inprogress, pass_jobs, pass_new

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 24 * 3600
PERSON = "planted3c1d"
EMAIL = f"{PERSON}.ann@example.org"
BOTH = ("--older-than", "90d", "--scrub-after", "30d")


@pytest.fixture
def sound(transactional_db: None) -> Iterator[None]:
    """What is left is as sound as it was."""
    yield
    assert [str(finding) for finding in findings(ReadCount())] == []


def found() -> set[tuple[str, str]]:
    """Every table and column of the database that holds the person.

    But for who did what to whose data, which is kept by an age of its own (WRK_AUDIT_DAYS).
    """
    places = set()
    with connection.cursor() as cursor:
        for table in {*connection.introspection.table_names()} - {"audit_events"}:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                places |= {(table, name) for name, value in zip(names, row, strict=True) if PERSON in str(value)}
    return places


def age(days: float) -> None:
    """All requests and jobs ended so long ago; the moments' order stays."""
    at = timedelta(days=days)
    for request in Request.objects.all():
        for row in (request, *request.jobs.all()):
            moments = {
                name: moment - at
                for name in ("created_at", "due_at", "started_at", "completed_at")
                if (moment := getattr(row, name))
            }
            type(row).objects.filter(pk=row.pk).update(**moments)


@pytest.fixture
def browser() -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    wanted = ("view_request", "operate_request", "view_personal_data", "view_answer", "view_pausedjob", "operate_job")
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    client = Client()
    client.force_login(user)
    return client


def made_up(*jobs: str, **columns: Any) -> Request:
    """A caller that writes a person into everything that it may write."""
    steps = json.dumps([{"name": f"of {EMAIL}", "jobs": jobs}])
    params = json.dumps({EMAIL: EMAIL})
    values = {"params": params, "steps": steps, "subject": EMAIL}
    return Request.objects.get(id=insert_raw(f"forget {EMAIL}", **(values | columns)))


@pytest.fixture
def everywhere(browser: Client, sound: None) -> list[Request]:
    """Ended requests, and what operators said of them, with a person in every place that there is."""
    completed, failed, cancelled = made_up("returns_extras"), made_up("fails"), made_up("noop")
    refused = made_up(EMAIL)
    odd = made_up(steps=json.dumps({EMAIL: [EMAIL]}))
    never = made_up("noop", due_at="2999-01-01 00:00:00")
    reason = {"reason": f"{EMAIL} asked"}
    browser.post(f"/admin/requests_app/request/{cancelled.pk}/verb/cancel_request/", reason)
    browser.post("/admin/requests_app/request/verb/cancel_request/", reason | {"ids": str(never.pk)})
    for one_pass in (pass_new, pass_jobs, pass_inprogress):
        one_pass()
    browser.post(f"/admin/requests_app/request/{completed.pk}/personal_data/")
    done = reason | {"job": "fails", "step": "0", "extras": json.dumps({"email": EMAIL})}
    browser.post(f"/admin/requests_app/request/{failed.pk}/verb/complete_job/", done)
    pass_inprogress()
    Job.objects.filter(request=completed).update(answer=EMAIL, waits_for=EMAIL, answer_by=database_now(), checks=1)
    answer = make_answer_to(completed.token, extras={EMAIL: EMAIL}, reason=EMAIL, effect="late")
    browser.post(f"/admin/jobs_app/answer/{answer.pk}/personal_data/")
    make_answer_to("of nobody", extras={EMAIL: EMAIL}, reason=EMAIL, effect="late")
    for verb in ("pause_job", "resume_job", "pause_job"):
        browser.post(f"/admin/jobs_app/pausedjob/verb/{verb}/noop_4/", reason)
    rows = [completed, failed, cancelled, refused, odd, never]
    assert {row.status for row in Request.objects.all()} == {"Completed", "Failed", "Cancelled"}
    return rows


PLACES = {
    *((("requests", column)) for column in ("action", "subject", "params", "extras", "steps", "error")),
    *((("jobs", column)) for column in ("answer", "extras", "waits_for")),
    *((("answers", column)) for column in ("extras", "reason")),
    *((table, "reason") for table in ("interventions", "job_interventions", "paused_jobs")),
    *((("django_admin_log", column)) for column in ("object_repr", "change_message")),
}


def of_names_long_ago(days: float) -> None:
    at = database_now() - timedelta(days=days)
    JobIntervention.objects.update(at=at)
    Answer.objects.update(created_at=at)
    PausedJob.objects.update(at=at)
    LogEntry.objects.filter(content_type__app_label="jobs_app").update(action_time=at)


def test_a_scrub_forgets_a_person_in_every_place(everywhere: list[Request]) -> None:
    assert found() == PLACES
    age(31)
    of_names_long_ago(31)
    done = called_here("purge_requests", *BOTH, "--failed")
    assert "scrubbed=6 reasons=" in done.stdout
    assert found() == set()
    assert Request.objects.filter(scrubbed_at=None).count() == 0
    assert LogEntry.objects.filter(user__username="ada").count() == 8, "who did what, and when, is kept"
    assert LogEntry.objects.filter(change_message=LOGGED).count() == 2, "and that somebody looked"
    assert PausedJob.objects.get().reason == "scrubbed"


def test_a_scrub_keeps_a_subject_that_is_hashed(settings: Any) -> None:
    settings.WRK_SUBJECT_KEYS = ["a-key-0123456789-abcdefghij-0123456789"]
    request = made_up("noop")
    for one_pass in (pass_new, pass_jobs, pass_inprogress):
        one_pass()
    age(31)
    assert "scrubbed=1" in called_here("purge_requests", *BOTH).stdout
    assert found() == set()
    assert find(EMAIL) == [request.pk]


def test_a_purge_forgets_it_as_well(everywhere: list[Request]) -> None:
    age(91)
    of_names_long_ago(91)
    done = called_here("purge_requests", "--older-than", "90d", "--failed")
    assert "requests=6 " in done.stdout
    assert found() == set()
    assert LogEntry.objects.filter(change_message=LOGGED).count() == 1, "a look is kept for as long as any"


def test_what_is_young_keeps_its_reasons(everywhere: list[Request]) -> None:
    age(29)
    of_names_long_ago(29)
    called_here("purge_requests", *BOTH, "--failed")
    assert found() == PLACES


def test_names_that_are_ours_stay_and_so_does_the_shape_of_the_steps(services: Any, sound: None) -> None:
    ours, refused = Request.objects.get(id=insert_raw("delete_user", params='{"id": 1}')), made_up("noop")
    steps = [{"name": "retrieve_user", "jobs": ["noop"]}, {"name": EMAIL, "jobs": ["noop_1"]}]
    mixed = made_up(steps=json.dumps(steps))
    Request.objects.filter(pk=refused.pk).update(params=[])
    for _ in range(3):
        pass_new()
        pass_jobs()
        pass_inprogress()
    recipe = Request.objects.get(pk=ours.pk).steps
    age(31)
    Retention((*Request.objects.values_list("status", flat=True).distinct(),)).scrub(30 * DAY)  # type: ignore[arg-type]
    kept = {row.pk: (row.action, row.steps) for row in Request.objects.all()}
    assert kept[ours.pk] == ("delete_user", recipe)
    assert kept[refused.pk] == ("scrubbed", None)
    assert kept[mixed.pk] == ("scrubbed", [steps[0], steps[1] | {"name": "scrubbed"}])


def test_a_retention_for_the_admins_log_for_pauses_and_for_sessions(browser: Client) -> None:
    of = ContentType.objects.get(app_label="auth", model="user")
    ada = User.objects.get()
    old = LogEntry.objects.create(user=ada, content_type=of, object_id="1", object_repr="x", action_flag=CHANGE)
    LogEntry.objects.create(user=ada, content_type=of, object_id="1", object_repr="x", action_flag=CHANGE)
    LogEntry.objects.filter(pk=old.pk).update(action_time=database_now() - timedelta(days=91))
    pause_job("noop", by="ada", reason="x")
    resume_job("noop", by="ada", reason="x")
    JobIntervention.objects.filter(verb="pause_job").update(at=database_now() - timedelta(days=91))
    Session.objects.create(session_key="over", session_data="", expire_date=database_now() - timedelta(seconds=1))
    tried = called_here("purge_requests", "--older-than", "90d", "--dry-run").stdout
    done = called_here("purge_requests", "--older-than", "90d").stdout
    assert "passes=0 scrubbed=0 job_interventions=1 admin_log=1 sessions=1 seconds=" in done
    assert (
        done.partition(" seconds")[0].partition("requests=")[2]
        == tried.partition(" seconds")[0].partition("requests=")[2]
    )
    assert list(LogEntry.objects.exclude(pk=old.pk)) == list(LogEntry.objects.all())
    assert browser.get("/admin/").status_code == 200, "a session that lasts is left alone"
    assert JobIntervention.objects.get().verb == "resume_job"


def ended(days: float) -> None:
    at = database_now() - timedelta(days=days)
    moments: dict[str, Any] = {"created_at": at, "due_at": at, "started_at": at, "completed_at": at}
    make_job(make_request("Completed", ["noop"], **moments), "noop", "completed", **moments)


# What it leaves -------------------------------------------------------------------------------------------------------
def test_a_run_leaves_a_row_that_says_when_who_how_many_and_until_when() -> None:
    for days in (91, 92, 40):
        ended(days)
    before = database_now()
    called_here("purge_requests", *BOTH)
    row = Purge.objects.get()
    assert (row.counts, row.failed_too, bool(row.by)) == ({"requests": 2, "jobs": 2, "scrubbed": 1}, False, True)
    assert before <= row.at <= (row.ended_at or before) <= database_now()
    for until, days in ((row.deleted_until, 90), (row.scrubbed_until, 30)):
        assert until is not None
        assert abs((row.at - until).total_seconds() - days * DAY) < 2
    called_here("purge_requests", "--scrub-after", "30d", "--failed")
    last = Purge.objects.latest("id")
    assert (last.counts, last.failed_too, last.deleted_until) == ({}, True, None)


def test_a_dry_run_leaves_no_row() -> None:
    called_here("purge_requests", *BOTH, "--dry-run")
    assert not Purge.objects.exists()


def test_a_run_that_is_killed_leaves_a_row_of_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests_app.operations.retention.BATCH", 1)
    for _ in range(3):
        ended(91)
    batches = 0

    def killed() -> None:
        nonlocal batches
        batches += 1
        if batches == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Retention(on_batch=killed).run(timedelta(days=90), None, by="ada")
    row = Purge.objects.get()
    assert (row.counts, row.by, row.ended_at) == ({"requests": 2, "jobs": 2}, "ada", None)
    assert Request.objects.count() == 1


# What it costs --------------------------------------------------------------------------------------------------------
@pytest.mark.integration
def test_a_scrub_reads_nothing_of_what_is_scrubbed_already() -> None:
    def read_by_a_night() -> int:
        cursor = connection.cursor()
        cursor.execute("FLUSH STATUS")
        for status in ("Completed", "Cancelled"):
            Request.objects.old(status, 30 * DAY, 200, unscrubbed=True)
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _, count in cursor.fetchall())

    few = read_by_a_night()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO requests (action, status, due_at, completed_at, scrubbed_at) WITH RECURSIVE n (i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT 'scrubbed', "
            "'Cancelled', '2026-01-01', '2026-01-01', '2026-02-01' FROM n"
        )
    assert read_by_a_night() <= few + 2
