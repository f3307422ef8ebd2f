"""Passes as real processes at once, stopped and ended by signals: each attempt runs once and nothing stays held."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.recording import Progressed
from jobs_app.worker.shutdown import Stop
from requests_app import worker
from requests_app.models import Request
from requests_app.models.status import FINAL
from requests_app.passes.inprogress_requests import progress_locked
from tests.conftest import Manage, called_here
from tests.depth import LONG
from tests.factories import pass_jobs, pass_new, seconds_from_now
from tests.sample.jobs import RECORD_VARIABLE

pytestmark = pytest.mark.integration

OVERLAPPING = 4
MANY = 1000 if LONG else 300


def insert_requests(count: int, *steps: list[str], params: str = "{}") -> None:
    shapes = json.dumps([{"name": f"step {n}", "jobs": jobs} for n, jobs in enumerate(steps)])
    with connection.cursor() as cursor:
        for _ in range(count):
            cursor.execute("INSERT INTO requests (action, steps, params) VALUES ('x', %s, %s)", [shapes, params])


def wait_until(holds: Callable[[], object], seconds: float = 20) -> None:
    gives_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < gives_up, f"not within {seconds:g} s"
        time.sleep(0.02)


def run_at_once(manage: Manage, *commands: str) -> None:
    """OVERLAPPING processes of each of these commands."""
    processes = [manage.start(command) for command in commands for _ in range(OVERLAPPING)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")


@pytest.mark.long
def test_many_requests_pass_overlapping_processes_with_every_job_done_once(manage: Manage, record_file: Path):
    insert_requests(MANY, ["records", "records_1"], ["records_2", "records_3"])

    run_at_once(manage, "run_new_requests")
    for _ in range(10):
        run_at_once(manage, "run_jobs", "run_inprogress_requests")
        if not Request.objects.exclude(status__in=FINAL).exists():
            break

    assert Counter(Request.objects.values_list("status", flat=True)) == {"Completed": MANY}
    assert Counter(Job.objects.values_list("status", "attempt")) == {("completed", 1): 4 * MANY}
    calls = Counter(line.rpartition(" ")[0] for line in record_file.read_text().splitlines())
    assert len(calls) == 4 * MANY
    assert set(calls.values()) == {1}
    assert len({line.split()[-1] for line in record_file.read_text().splitlines()}) > 1  # several processes had a share
    assert called_here("verify").returncode == 0


def test_a_process_frozen_past_its_lease_changes_nothing_when_it_goes_on(
    manage: Manage, record_file: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    monkeypatch.setenv(RECORD_VARIABLE, str(record_file))
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = 0
    insert_requests(1, ["records"], params='{"seconds": 0.5}')
    pass_new()
    frozen = manage.start(
        "run_jobs", WRK_JOB_LEASE_SECONDS="1.5", WRK_JOB_TIMEOUT_SECONDS="1", WRK_JOB_BACKOFF_BASE_SECONDS="0"
    )
    wait_until(record_file.read_text)
    frozen.send_signal(signal.SIGSTOP)
    wait_until(lambda: seconds_from_now(Job.objects.get().lease_until) < 0)

    pass_jobs()  # ends the lost attempt
    wait_until(lambda: seconds_from_now(Job.objects.get(status="new").due_at) < 0)
    pass_jobs()  # makes the next one
    taken_over = list(Job.objects.order_by("attempt").values())
    frozen.send_signal(signal.SIGCONT)
    _, said = frozen.communicate(timeout=20)

    assert [job["status"] for job in taken_over] == ["retry", "completed"]
    assert list(Job.objects.order_by("attempt").values()) == taken_over
    assert frozen.returncode == 0
    assert "job_result_too_late" in said
    assert "Traceback" not in said
    calls = [line.split()[:4] for line in record_file.read_text().splitlines()]
    assert [call[3] for call in calls] == ["1", "2"]
    assert calls[0][:3] == calls[1][:3]  # the idempotency key is made of these


def test_a_stop_in_the_midst_of_a_follow_up_leaves_no_job_held(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, record_file: Path
):
    """The follow-up has claimed the next step's job and its transaction is not committed when the stop comes."""
    monkeypatch.setenv(RECORD_VARIABLE, str(record_file))
    insert_requests(1, ["records"], ["records_1"])
    stop = Stop()

    def move_on_and_stop(*arguments: Any, **options: Any) -> Progressed:
        moved = progress_locked(*arguments, **options)
        stop.signalled = True
        time.sleep(0.3)  # meanwhile the main thread finds nothing held and winds down
        return moved

    monkeypatch.setattr(worker, "progress_locked", move_on_and_stop)
    worker.run_worker(stop, RunRecord("run_worker"))
    time.sleep(0.2)

    assert list(Job.objects.order_by("id").values_list("name", "status")) in (
        [("records", "completed"), ("records_1", "new")],
        [("records", "completed"), ("records_1", "completed")],  # begun, so it was let finish
    )


@pytest.mark.parametrize("after", [0.2, 0.3, 0.4, 0.5])
def test_a_worker_that_is_told_to_stop_leaves_no_job_held(manage: Manage, after: float):
    insert_requests(400, *[["noop", "noop_1"]] * 60)  # 48,000 jobs: more than any machine ends meanwhile
    process = manage.start("run_worker")
    wait_until(lambda: Job.objects.filter(status="completed").count() > 20)
    time.sleep(after)
    process.terminate()
    _, said = process.communicate(timeout=20)

    assert process.returncode == 0, said
    assert Request.objects.exclude(status__in=FINAL).exists()  # it was in the midst of them
    assert list(Job.objects.filter(status="inprogress").values_list("request_id", "step", "name")) == []
