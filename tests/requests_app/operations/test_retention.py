"""Retention takes what is over for long and nothing else, whoever is at work beside it; what it leaves is sound."""

import argparse
from datetime import timedelta
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from jobs_app.db.dialect import database_now
from jobs_app.db.transactions import run_transaction
from jobs_app.models import Answer, Job
from jobs_app.models.attempts import OPEN
from jobs_app.models.pass_run import PassRun
from requests_app.management.flags import duration_flag
from requests_app.models import Intervention, Purge, Request, RequestStatus
from requests_app.operations.interventions import Refused, retry_request
from requests_app.operations.retention import CLOSED, Retention
from requests_app.operations.verify import ReadCount, findings
from tests.concurrency.interleaving import Actor
from tests.conftest import called_here
from tests.factories import changes_by, make_answer_to, make_job, make_request
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db(transaction=True)
DAY = 24 * 3600
ALL = (*CLOSED, RequestStatus.FAILED)
SECRET = "ann@example.org"
JOB_STATUS = {"Completed": "completed", "Failed": "failure", "Cancelled": "cancelled", "Inprogress": "new"}


def aged(status: str, days: float, **columns: Any) -> Request:
    """A request with a job and a note, all of whose moments are that long ago, and with personal data everywhere."""
    at = database_now() - timedelta(days=days)
    moments = {"due_at": at, "created_at": at, "started_at": None if status == "Queuing" else at}
    over = {"completed_at": at} if status in ALL else {}
    secret = {"params": {"email": SECRET}, "extras": {"email": SECRET}}
    request = make_request(status, ["noop"], **(moments | over | secret | columns))
    if status in ALL:
        Request.objects.filter(pk=request.pk).update(error=f"{SECRET} is unknown" if status == "Failed" else "")
    if status in JOB_STATUS:
        job = make_job(request, "noop", JOB_STATUS[status], extras={"email": SECRET}, error=SECRET)
        ended = {"completed_at": at} if over else {}
        began = {"started_at": at} if over and status != "Cancelled" else {}
        Job.objects.filter(pk=job.pk).update(due_at=at, created_at=at, **began, **ended)
    answer = make_answer_to(request.token, extras={"email": SECRET}, reason=f"{SECRET} is gone", effect="late")
    Answer.objects.filter(pk=answer.pk).update(created_at=at, taken_at=at)
    Intervention.objects.create(request=request, verb="retry_now", by="ada", reason=f"{SECRET} asked", at=at)
    return request


def left() -> set[int]:
    return set(Request.objects.values_list("id", flat=True))


@pytest.fixture(autouse=True)
def _nothing_is_wrong_at_the_end(transactional_db: None) -> Any:
    yield
    assert [str(finding) for finding in findings(ReadCount())] == []


@pytest.mark.parametrize("statuses", [CLOSED, ALL])
def test_what_is_over_for_long_is_purged_with_all_that_belongs_to_it(statuses: tuple[RequestStatus, ...]) -> None:
    old = {status: aged(status, 91).id for status in RequestStatus.values}
    young = {aged(status, 89).id for status in RequestStatus.values}
    retention = Retention(statuses)
    retention.purge(90 * DAY)
    assert left() == young | {id_ for status, id_ in old.items() if status not in statuses}
    number = len(statuses)
    assert retention.counts == {"requests": number, "jobs": number, "interventions": number, "answers": number}
    assert set(Job.objects.values_list("request_id", flat=True)) <= left()
    tokens = Request.objects.values_list("token", flat=True)
    assert sorted(Answer.objects.values_list("token", flat=True)) == sorted(tokens)


def test_a_cancelled_request_that_was_due_much_later_is_old_as_well() -> None:
    request = aged("Cancelled", 91, started_at=None)
    Job.objects.all().delete()
    Request.objects.update(due_at="2999-01-01T00:00:00Z")
    Retention().purge(90 * DAY)
    assert request.id not in left()


def test_a_cancelled_request_whose_job_still_runs_is_left_alone() -> None:
    request = aged("Cancelled", 91)
    Job.objects.all().delete()
    make_job(request, "noop", "inprogress", due_in=-DAY, created_at=database_now() - timedelta(hours=1))
    assert changes_by(lambda: Retention().purge(DAY)) == {}
    assert changes_by(lambda: Retention().scrub(DAY)) == {}


def test_many_are_purged_in_batches_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests_app.operations.retention.BATCH", 3)
    for status in ("Completed", "Cancelled") * 5:
        aged(status, 91)
    with listening() as heard:
        Retention(limit=7).purge(90 * DAY)
    assert len(left()) == 3
    most = 3 + len(OPEN)  # ids, and of jobs the statuses that are left alone
    assert max(len(statement.params) for statement in heard if statement.sql.startswith("DELETE")) == most
    Retention().purge(90 * DAY)
    assert left() == set()


def test_a_scrubbed_request_keeps_its_history_and_no_personal_data() -> None:
    requests = [aged(status, 31) for status in ALL]
    young = aged("Completed", 29)
    before = {job.id: (job.status, job.attempt, job.completed_at) for job in Job.objects.all()}
    retention = Retention(ALL)
    retention.scrub(30 * DAY)
    assert retention.counts == {"scrubbed": 3}
    with connection.cursor() as cursor:
        for table, column, value in [
            ("requests", "id", young.id),
            ("jobs", "request_id", young.id),
            ("interventions", "request_id", young.id),
            ("answers", "token", young.token),
        ]:
            cursor.execute(f"SELECT * FROM {table} WHERE {column} <> %s", [value])
            assert SECRET not in str(cursor.fetchall())
    assert Answer.objects.get(token=young.token).extras == {"email": SECRET}
    assert {job.id: (job.status, job.attempt, job.completed_at) for job in Job.objects.all()} == before
    failed = Request.objects.get(pk=requests[2].pk)
    assert (failed.params, failed.extras, failed.error) == ({}, {}, "scrubbed")
    assert Request.objects.get(pk=young.pk).params == {"email": SECRET}
    again = Retention(ALL)
    again.scrub(30 * DAY)
    assert again.counts == {}


def test_a_scrubbed_request_is_not_taken_up_again_without_its_params() -> None:
    request = aged("Failed", 31)
    Retention(ALL).scrub(30 * DAY)
    with pytest.raises(Refused, match="It failed: scrubbed"):
        retry_request(request.token, by="ada", reason="")


@pytest.mark.parametrize("kind", ["purge", "scrub"])
def test_a_dry_run_counts_and_changes_nothing(kind: str) -> None:
    aged("Completed", 91)
    PassRun.objects.create(name="run_jobs", process="host:1")
    retention = Retention(dry_run=True)
    assert changes_by(lambda: getattr(retention, kind)(90 * DAY)) == {}
    assert retention.counts["requests"] + retention.counts["scrubbed"] == 1


def came(token: str, days: float, **columns: Any) -> Answer:
    """An answer that came so long ago."""
    answer = make_answer_to(token, **columns)
    Answer.objects.filter(pk=answer.pk).update(created_at=database_now() - timedelta(days=days))
    return answer


def test_what_a_job_waited_for_is_scrubbed_and_that_it_waited_is_kept() -> None:
    request = aged("Cancelled", 31)
    until = database_now() - timedelta(days=3)
    request.jobs.update(waits_for=f"{SECRET} has to approve", answer_by=until, checks=1)
    aged("Cancelled", 31)
    Retention().scrub(30 * DAY)
    assert list(Job.objects.order_by("id").values_list("waits_for", "answer_by", "checks")) == [
        ("scrubbed", until, 1),
        (None, None, 0),
    ]


def test_a_scrub_leaves_what_was_not_said_as_it_was() -> None:
    request = aged("Completed", 31)
    make_answer_to(request.token, reason="", effect="late")
    make_answer_to(request.token, reason=None, effect="late")
    Retention().scrub(30 * DAY)
    assert list(Answer.objects.order_by("id").values_list("reason", flat=True)) == ["scrubbed", "", None]


def test_old_answers_without_a_request_are_purged_and_no_others() -> None:
    old, young = came("gone", 91), came("gone", 89, effect="late")
    kept = {young.id, came(aged("Inprogress", 400).token, 300).id}
    kept |= set(Answer.objects.exclude(token="gone").values_list("id", flat=True))
    dry = Retention(dry_run=True)
    dry.purge_answers(90 * DAY)
    assert dry.counts == {"answers": 1}
    retention = Retention()
    retention.purge_answers(90 * DAY)
    assert retention.counts == {"answers": 1}
    assert set(Answer.objects.values_list("id", flat=True)) == kept
    assert old.id not in kept


def test_an_answer_that_came_after_the_scrub_of_its_request_is_emptied_by_a_later_one() -> None:
    scrubbed, kept = aged("Completed", 31), aged("Failed", 400)
    Retention().scrub(30 * DAY)
    said = {"extras": {"email": SECRET}, "reason": SECRET, "effect": "late"}
    late, gone = came(scrubbed.token, 31, **said), came("gone", 31, **said)
    young = came(scrubbed.token, 29, **said)
    retention = Retention()
    retention.scrub_answers(30 * DAY)
    assert retention.counts == {"answers_emptied": 2}
    for answer in (late, gone):
        answer.refresh_from_db()
        assert (answer.extras, answer.reason) == (None, "scrubbed")
    for answer in (young, Answer.objects.get(token=kept.token)):
        answer.refresh_from_db()
        assert SECRET in str(answer.reason)
    again = Retention()
    again.scrub_answers(30 * DAY)
    assert again.counts == {}


def test_what_a_run_does_with_answers_is_printed_and_kept() -> None:
    aged("Completed", 91)
    came("gone", 91)
    came("gone", 31, reason=SECRET, effect="late")
    done = called_here("purge_requests", "--older-than", "90d", "--scrub-after", "30d")
    assert " answers=2 answers_emptied=1 " in done.stdout
    counts = Purge.objects.get().counts
    assert (counts["answers"], counts["answers_emptied"]) == (2, 1)


def make_run(name: str, days: float, *, error: str = "", killed: bool = False) -> int:
    at = database_now() - timedelta(days=days)
    run = PassRun.objects.create(
        name=name, process="host:1", started_at=at, seen_at=at, ended_at=None if killed else at, error=error
    )
    return run.id


def test_old_runs_are_purged_but_for_the_newest_and_the_last_success_of_each_pass() -> None:
    for _ in range(3):
        make_run("run_jobs", 200)
        make_run("run_jobs", 150, killed=True)
    last_success, newest = make_run("run_jobs", 120), make_run("run_jobs", 110, error="no database")
    make_run("run_new_requests", 95)
    only_one, young = make_run("run_worker", 300), make_run("run_new_requests", 5)
    retention = Retention()
    retention.purge_passes(90 * DAY)
    assert set(PassRun.objects.values_list("id", flat=True)) == {last_success, newest, only_one, young}
    assert retention.counts == {"passes": 7}


# Two at once ----------------------------------------------------------------------------------------------------------
@pytest.mark.integration
@pytest.mark.parametrize("kind", ["purge", "scrub"])
def test_a_request_retried_by_hand_between_look_and_lock_is_left_alone(kind: str) -> None:
    begun, refused, other = (aged("Failed", 91) for _ in range(3))
    Job.objects.filter(request=refused).delete()
    Request.objects.filter(pk=refused.pk).update(started_at=None)
    retention = Retention((RequestStatus.FAILED,))
    with Actor(lambda: getattr(retention, kind)(90 * DAY), stop_before=r"FOR UPDATE") as old:
        assert old.stands
        for request in (begun, refused):
            retry_request(request.token, by="ada", reason="the service is back")
        old.go_on()
    for request, status, jobs in [(begun, "Inprogress", 2), (refused, "Queuing", 0)]:
        row = Request.objects.get(pk=request.pk)
        assert (row.status, row.params, row.jobs.count()) == (status, {"email": SECRET}, jobs)
        assert row.interventions.filter(reason=f"{SECRET} asked").exists()
    assert not Request.objects.filter(pk=other.pk, scrubbed_at=None).exists()


@pytest.mark.integration
def test_a_retry_by_hand_waits_for_a_purge_that_was_first_and_finds_nothing() -> None:
    request = aged("Failed", 91)
    retention = Retention((RequestStatus.FAILED,))
    with Actor(lambda: retention.purge(90 * DAY), stop_before=r"DELETE FROM `jobs`") as old:
        assert old.stands
        # The verb finds the row by its token's index, the purge leaves that last: one of the two is run again.
        retry = partial(Request.objects.retry_failed, request.token)
        with Actor(lambda: run_transaction(retry)) as verb:
            assert not verb.done
            old.go_on()
            assert verb.go_on() is False
    assert left() == set()


# The command ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 90 * DAY), ("12h", 12 * 3600), ("5m", 300), ("2w", 14 * DAY), ("9s", 9)]
)
def test_spans_are_read(text: str, seconds: float) -> None:
    assert duration_flag(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["90", "d", "0d", "-1d", "1.5d", "90D", "1y", "", "36501d", "9999999d", "٣d", "9d\n"])
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 90d"):
        duration_flag(text)


def test_the_command_says_what_it_did_and_what_it_would_do() -> None:
    aged("Completed", 91)
    aged("Failed", 91)
    aged("Cancelled", 31)
    both = ("--older-than", "90d", "--scrub-after", "30d")
    tried = called_here("purge_requests", *both, "--failed", "--dry-run")
    assert tried.stdout.startswith(
        "purge_requests dry run, nothing is changed: requests=2 jobs=2 interventions=2 passes=0 scrubbed=1 "
        "answers=2 seconds="
    )
    done = called_here("purge_requests", *both)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "purge_requests requests=1 jobs=1 interventions=1 passes=0 scrubbed=1 answers=1 seconds="
    )
    assert Request.objects.filter(status="Failed", scrubbed_at=None).count() == 1


def test_the_command_refuses_spans_that_make_no_sense() -> None:
    for arguments, said in [
        ((), "--older-than SPAN, --scrub-after SPAN, or both"),
        (("--older-than", "30d", "--scrub-after", "30d"), "must be shorter"),
        (("--older-than", "90"), "argument --older-than: '90' is no span of time"),
    ]:
        refused = called_here("purge_requests", *arguments)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_what_takes_long_says_how_far_it_is_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests_app.management.commands.purge_requests._PROGRESS_SECONDS", 0)
    monkeypatch.setattr("requests_app.operations.retention.BATCH", 1)
    for _ in range(2):
        aged("Completed", 91)
    out, err = StringIO(), StringIO()
    call_command("purge_requests", "--older-than", "90d", stdout=out, stderr=err)
    assert [line.split()[3] for line in err.getvalue().splitlines()] == ["requests=1", "requests=2"]
    assert out.getvalue().count("\n") == 1
