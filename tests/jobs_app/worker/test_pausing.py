"""A paused job name: its jobs wait and use up nothing, everything else goes on, and nothing stays behind."""

import importlib
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from jobs_app.db.dialect import database_now
from jobs_app.models import Job, JobIntervention, PausedJob, pause
from jobs_app.models.attempts import ClaimOnInsert, NewJob
from jobs_app.models.inserts import insert_jobs
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.pause import PARKED_AT
from jobs_app.models.tally import Tally
from jobs_app.worker.pausing import UnknownJob, apply_pauses, pause_job, resume_job
from jobs_app.worker.runner import Runner
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.monitoring.gauges import DatabaseCollector
from requests_app.operations.explain import explain
from requests_app.operations.verify import ReadCount, findings
from requests_app.worker import run_worker
from tests.conftest import called_here
from tests.factories import make_job, make_request, make_waiting, pass_jobs
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db(transaction=True)
BY = {"by": "ada", "reason": "service 2 is being moved"}


def waiting(*names: str, **columns: object) -> list[Job]:
    return [make_job(make_request("Inprogress", [name]), name, **columns) for name in names]  # type: ignore[arg-type]


def statuses() -> dict[str, str]:
    return dict(Job.objects.values_list("name", "status"))


def astray() -> list[str]:
    return [str(finding) for finding in findings(ReadCount()) if "parked" in finding.what]


def test_jobs_of_a_paused_name_wait_and_the_others_run() -> None:
    waiting("noop", "noop_1")
    assert pause_job("noop", **BY)
    assert pass_jobs() == {"claimed": 1, "completed": 1}
    assert statuses() == {"noop": "new", "noop_1": "completed"}
    assert pass_jobs() == {}
    assert astray() == []


def test_a_resumed_job_is_due_since_the_resume_with_the_attempts_that_it_had() -> None:
    waiting("noop", attempt=3, due_in=-100)
    pause_job("noop", **BY)
    parked = Job.objects.get()
    assert parked.is_parked
    assert parked.due_at > database_now() + timedelta(days=365 * 1000)
    resumed_at = database_now()
    assert resume_job("noop", **BY)
    assert not PausedJob.objects.exists()
    back = Job.objects.get()
    assert (back.attempt, back.status, back.is_parked) == (3, "new", False)
    assert resumed_at <= back.due_at <= database_now()
    assert pass_jobs() == {"claimed": 1, "completed": 1}


# The release before this one parked a job at its own due time plus 7200 years, and took them away to bring it back.
def later_by_7200_years(moment: datetime) -> datetime:
    return moment.replace(year=moment.year + 7200)


def test_jobs_parked_by_the_release_before_come_back_and_run() -> None:
    for due in (datetime(1, 1, 1, tzinfo=UTC), database_now() - timedelta(seconds=5)):
        waiting("noop", due_at=later_by_7200_years(due))
    PausedJob.objects.pause("noop", **BY)
    assert all(job.is_parked for job in Job.objects.all())
    assert pass_jobs() == {}
    resume_job("noop", **BY)
    assert not any(job.is_parked for job in Job.objects.all())
    assert pass_jobs() == {"claimed": 2, "completed": 2}


def test_a_parked_job_is_due_once_the_release_before_has_brought_it_back() -> None:
    waiting("noop")
    pause_job("noop", **BY)
    parked = Job.objects.get().due_at
    assert parked.year > 7200  # that release's own boundary
    Job.objects.update(due_at=parked.replace(year=parked.year - 7200))
    PausedJob.objects.all().delete()
    assert astray() == []
    assert pass_jobs() == {"claimed": 1, "completed": 1}
    waited = Tally.objects.get(metric="job_wait", subject="noop", label="sum").amount
    assert waited < 2**63 // 100_000  # so many such jobs may be added up


@pytest.mark.parametrize("moment", [PARKED_AT, later_by_7200_years(datetime(2026, 11, 24, 1, 2, 3, 4, tzinfo=UTC))])
def test_undoing_the_migration_brings_parked_jobs_back(moment: datetime) -> None:
    waiting("noop", due_at=moment)
    undo = importlib.import_module("jobs_app.migrations.0003_pause").bring_all_back
    with connection.schema_editor() as schema_editor:
        undo(None, schema_editor)
    assert Job.objects.get().due_at == moment.replace(year=moment.year - 7200)


def test_what_is_not_due_yet_is_parked_once_it_is() -> None:
    (job,) = waiting("noop", due_in=60)
    pause_job("noop", **BY)
    assert not Job.objects.get().is_parked
    Job.objects.update(due_at=job.created_at)
    assert pass_jobs() == {}
    assert Job.objects.get().is_parked
    resume_job("noop", **BY)
    assert pass_jobs() == {"claimed": 1, "completed": 1}


def test_a_job_that_waits_for_an_answer_is_parked_when_its_check_is_due_and_looks_again_after_the_resume() -> None:
    request = make_request("Inprogress", ["noop"])
    job = make_waiting(request)
    pause_job("noop", **BY)
    assert not Job.objects.get().is_parked  # it waits as before, and could be answered
    Job.objects.update(due_at=job.created_at)
    assert pass_jobs() == {}
    assert Job.objects.get().is_parked
    resume_job("noop", **BY)
    back = Job.objects.get()
    assert (back.answer_by, back.waits_for, back.attempt) == (job.answer_by, job.waits_for, 1)
    assert back.due_at <= database_now()
    assert Job.objects.claim("a claim", 5, 30).ids == [job.id]


def test_a_claim_does_not_read_past_parked_jobs_nor_take_what_is_not_parked_yet() -> None:
    first, other = waiting("noop", "noop_1", due_in=-100)
    assert Job.objects.claim("a claim", 5, 30, paused=["noop"]).ids == [other.id]
    assert not Job.objects.poll().paused
    PausedJob.objects.pause("noop", **BY)
    assert Job.objects.poll().paused == ("noop",)
    assert Job.objects.park(["noop"]) == 1
    assert not Job.objects.poll().has_due
    assert Job.objects.claim("a claim", 5, 30).ids == []
    assert Job.objects.get(pk=first.id).status == "new"


def test_a_parking_looks_at_the_oldest_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause, "_ROWS_PER_PARKING", 2)
    waiting("noop", due_in=-100)
    waiting("noop_1", "noop_1", due_in=-90)
    waiting("noop", due_in=-80)
    PausedJob.objects.pause("noop", **BY)
    assert Job.objects.park(["noop"]) == 1
    assert Job.objects.park(["noop"]) == 0  # what claims read next is free


def test_many_jobs_are_parked_and_brought_back_in_batches_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause, "BATCH", 2)
    with transaction.atomic():
        before = [job.id for job in waiting(*["noop"] * 5, due_in=-100)]
    pause_job("noop", **BY)
    assert all(job.is_parked for job in Job.objects.all())
    PausedJob.objects.resume("noop")
    assert [Job.objects.bring_back(["noop"]) for _ in range(4)] == [2, 2, 1, 0]
    assert list(Job.objects.order_by("due_at", "id").values_list("id", flat=True)) == before
    assert Job.objects.claim("a claim", 5, 30).ids == before


def test_a_process_inserts_jobs_of_a_paused_name_unclaimed() -> None:
    request = make_request("Inprogress", ["noop", "noop_1"])
    claim = ClaimOnInsert("a claim", limit=5, lease_seconds=30, sent_at=0, paused=("noop",))
    insert_jobs([NewJob(request.id, 0, name, 10) for name in ("noop", "noop_1")], claim)
    assert statuses() == {"noop": "new", "noop_1": "inprogress"}


def test_a_worker_notices_a_pause_in_the_midst_of_its_work_and_hands_back_what_has_not_begun() -> None:
    waiting("sleeps", due_in=-100)
    waiting("noop", due_in=-90)
    Request.objects.update(params={"seconds": 0.2})
    with Runner(Stop(), RunRecord("run_worker"), concurrency=1) as runner:
        ids = Job.objects.claim("a claim", 2, 300).ids  # the second waits in the process for the only thread
        runner.claimer._submit(Job.objects.with_requests("a claim", ids), time.monotonic())
        pause_job("noop", **BY)
        runner.claimer.poll()
    assert statuses() == {"sleeps": "completed", "noop": "new"}
    noop = Job.objects.get(name="noop")
    assert (noop.attempt, noop.last_attempt, noop.started_at) == (1, 10, None)


def test_a_worker_leaves_a_paused_name_alone_from_its_start_on() -> None:
    make_request("Queuing", ["noop", "noop_1"])
    PausedJob.objects.pause("noop", **BY)
    run_worker(Stop(max_seconds=0.3), RunRecord("run_worker"))
    assert statuses() == {"noop": "new", "noop_1": "completed"}
    assert Job.objects.get(name="noop").is_parked


def test_a_resume_that_was_killed_is_finished_by_the_next_pass() -> None:
    waiting("noop", "noop_1")
    pause_job("noop", **BY)
    pause_job("noop_1", **BY)
    PausedJob.objects.resume("noop")  # and no more
    assert astray() == []
    assert pass_jobs() == {"claimed": 1, "completed": 1}
    apply_pauses(Job.objects.poll(), RunRecord("run_jobs"))
    assert list(PausedJob.objects.values_list("name", "resumed_at")) == [("noop_1", None)]


def test_a_name_paused_again_before_all_came_back_is_paused() -> None:
    waiting("noop")
    pause_job("noop", **BY)
    PausedJob.objects.resume("noop")
    assert pause_job("noop", **BY)
    assert Job.objects.bring_back(["noop"]) == 0
    assert pass_jobs() == {}


def test_pausing_and_resuming_twice_changes_nothing_and_leaves_one_trace_each() -> None:
    waiting("noop")
    assert [pause_job("noop", by=who, reason="r") for who in ("ada", "bob")] == [True, False]
    assert PausedJob.objects.get().by == "ada"
    assert [resume_job("noop", by="eve", reason="done") for _ in range(2)] == [True, False]
    traces = JobIntervention.objects.order_by("id").values_list("job", "verb", "by", "reason")
    assert list(traces) == [("noop", "pause_job", "ada", "r"), ("noop", "resume_job", "eve", "done")]


@pytest.mark.parametrize("name", ["Noop", "noop ", ""])
def test_a_name_that_nobody_knows_is_refused_with_the_known_ones(name: str) -> None:
    waiting("noop")
    for verb in (pause_job, resume_job):
        with pytest.raises(UnknownJob, match=rf'no job is registered as "{name}" .*; known: .*noop'):
            verb(name, **BY)
    assert not JobIntervention.objects.exists()


def test_a_name_of_another_release_is_paused_while_it_has_open_jobs() -> None:
    waiting("of_tomorrow")
    assert pause_job("of_tomorrow", **BY)
    assert resume_job("of_tomorrow", **BY)


def test_a_pause_is_said_of_the_requests_that_wait_for_it_and_counted(django_user_model) -> None:
    (job,) = waiting("noop")
    pause_job("noop", **BY)
    sentence = explain(Request.objects.get(pk=job.request_id))
    assert sentence.startswith("noop is paused since 20")
    assert sentence.endswith(" UTC by ada: service 2 is being moved.")
    (family,) = [family for family in DatabaseCollector().collect() if family.name == "tasker_job_paused"]
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"job_name": "noop"}, 1)]
    PausedJob.objects.resume("noop")
    assert "noop is due and waits" in explain(Request.objects.get(pk=job.request_id))


def test_a_hurried_request_does_not_get_past_a_pause() -> None:
    (job,) = waiting("noop")
    pause_job("noop", **BY)
    assert Request.objects.retry_now(Request.objects.get(pk=job.request_id).token) == 0
    assert Job.objects.get().is_parked


def test_a_parked_job_without_a_pause_is_found_by_verify() -> None:
    waiting("noop")
    pause_job("noop", **BY)
    PausedJob.objects.all().delete()
    assert [found.endswith(": it is parked and its name is not paused") for found in astray()] == [True]


def test_a_pass_takes_no_statement_more_for_pauses_than_without_them() -> None:
    waiting("noop")
    with listening() as heard:
        pass_jobs()
    assert sum("paused_jobs" in statement.sql for statement in heard) == 1


def test_the_commands_say_what_they_did_and_why_they_refuse() -> None:
    because = ("--reason", "mended")
    for command, said in (
        ("pause_job", "noop is paused\n"),
        ("pause_job", "noop was paused already\n"),
        ("resume_job", "noop is resumed\n"),
        ("resume_job", "noop was not paused\n"),
    ):
        done = called_here(command, "noop", *because)
        assert (done.returncode, done.stdout) == (0, said)
    refused = called_here("pause_job", "nobody", *because)
    assert refused.returncode == 1
    assert 'no job is registered as "nobody"' in refused.stderr
    assert called_here("pause_job", "noop").returncode == 2
