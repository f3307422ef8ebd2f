"""`manage.py run_jobs` as a process: its line, its exit codes, and what its signals leave behind."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from jobs_app.management.commands.run_jobs import Command
from jobs_app.models import Job
from jobs_app.models.pass_run import PassRun
from tests.conftest import Manage
from tests.factories import make_job, make_request, seconds_from_now, statuses

PATIENCE = 20.0


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stdout, stderr


def running() -> int:
    return Job.objects.filter(status="inprogress").count()


def test_one_line_says_what_was_done_and_the_exit_code_is_0_whatever_the_jobs_did(manage: Manage) -> None:
    request = make_request("Inprogress", ["noop", "async_noop", "raises", "retries"])
    for name in ("noop", "async_noop", "raises", "retries"):
        make_job(request, name)
    make_job(make_request("Inprogress", ["fails"]), "fails")
    done = manage("run_jobs")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"run_jobs claimed=5 completed=2 retry=2 failure=1 seconds=\d+\.\d\n", done.stdout)
    again = manage("run_jobs")  # the retries wait for their backoff, mostly; the failure is over
    assert again.returncode == 0
    assert re.fullmatch(r"run_jobs claimed=\d completed=0 retry=\d failure=0 seconds=\d+\.\d\n", again.stdout)


def test_the_garbage_collector_leaves_alone_what_was_loaded(manage: Manage) -> None:
    request = make_request("Inprogress", ["tells_collected"])
    make_job(request, "tells_collected")
    # Not forked, since no setting has this name: a fork server has left alone what it had loaded.
    assert manage("run_jobs", STARTED_ALONE="1").returncode == 0
    request.refresh_from_db()
    assert request.extras["collected"] < request.extras["left_alone"] / 5


def test_limit_and_concurrency_are_obeyed(manage: Manage, record_file: Path) -> None:
    for _ in range(3):
        request = make_request("Inprogress", ["records"], params={"seconds": 0.1})
        make_job(request, "records")
    done = manage("run_jobs", "--limit", "2", "--concurrency", "1")
    assert done.stdout.startswith("run_jobs claimed=2 completed=2 retry=0 failure=0 seconds=")
    assert len(record_file.read_text().splitlines()) == 2
    assert float(done.stdout.rpartition("=")[2]) >= 0.2  # one after the other


@pytest.mark.parametrize(
    "arguments",
    [
        ["--limit", "0"],
        ["--limit", "-1"],
        ["--limit", "many"],
        ["--concurrency", "0"],
        ["--limit", "9" * 30],
        ["--concurrency", "10001"],
        ["--max-seconds", "long"],
        ["--max-seconds", "nan"],
        ["--max-seconds", "inf"],
        ["--max-seconds", "-1"],
        ["--max-seconds", "1e300"],
        ["--nonsense"],
        ["noop"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2_with_one_reason(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        Command().run_from_argv(["manage.py", "run_jobs", *arguments])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("manage.py run_jobs: error: ")


def test_a_lease_that_is_not_longer_than_the_timeout_stops_the_pass_with_a_remedy(manage: Manage) -> None:
    done = manage("run_jobs", WRK_JOB_LEASE_SECONDS="30", WRK_JOB_TIMEOUT_SECONDS="60")
    assert done.returncode == 1
    assert "tasker.E001" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_dies_leaves_its_job_to_the_next_pass_once_the_lease_is_over(manage: Manage) -> None:
    request = make_request("Inprogress", ["kills_worker"])
    make_job(request, "kills_worker", last_attempt=2)
    short: dict[str, Any] = {
        "WRK_JOB_LEASE_SECONDS": "0.6",
        "WRK_JOB_TIMEOUT_SECONDS": "0.5",
        "WRK_JOB_BACKOFF_BASE_SECONDS": "0",
    }
    assert manage("run_jobs", **short).returncode == 137
    assert statuses(request) == {("kills_worker", 1): "inprogress"}
    wait_until(lambda: seconds_from_now(Job.objects.get().lease_until) < 0)
    assert "retry=1" in manage("run_jobs", **short).stdout
    assert manage("run_jobs", **short).returncode == 137
    wait_until(lambda: seconds_from_now(Job.objects.get(status="inprogress").lease_until) < 0)
    assert "failure=1" in manage("run_jobs", **short).stdout
    assert statuses(request) == {("kills_worker", 1): "retry", ("kills_worker", 2): "failure"}
    assert Job.objects.get(attempt=2).error.startswith("gave up after 2 attempts: the lease ran out")


def test_sigterm_lets_what_runs_finish_and_hands_the_rest_back_as_the_same_rows(
    manage: Manage, record_file: Path
) -> None:
    with transaction.atomic():
        for _ in range(150):  # fast ones first: then more is claimed than runs
            make_job(make_request("Inprogress"), "noop", due_in=-100)
        slow = [
            make_job(make_request("Inprogress", ["records"], params={"seconds": 1}), "records", due_in=-50)
            for _ in range(40)
        ]
    process = manage.start("run_jobs", "--concurrency", "2")
    wait_until(lambda: len(record_file.read_text().splitlines()) == 2)
    process.send_signal(signal.SIGTERM)
    code, stdout, stderr = ended(process)
    assert code == 0, stderr
    assert len(record_file.read_text().splitlines()) == 2
    done = Job.objects.filter(name="records", status="completed")
    assert done.count() == 2
    others = Job.objects.filter(name="records").exclude(status="completed")
    assert set(others.values_list("status", "attempt", "claimed_by", "lease_until", "started_at")) == {
        ("new", 1, None, None, None)
    }
    assert {job.id for job in others} | {job.id for job in done} == {job.id for job in slow}
    counted = dict(re.findall(r"(\w+)=(\d+)", stdout))
    assert int(counted["claimed"]) == int(counted["completed"]) + int(counted.get("handed_back", 0))
    run = PassRun.objects.get()
    assert (run.error, run.ended_at is not None) == ("", True)


def test_sigterm_ends_what_outlives_the_grace_period_as_a_retry_that_costs_no_attempt(manage: Manage) -> None:
    request = make_request("Inprogress", ["sleeps", "async_sleeps"], params={"seconds": 60})
    for name in ("sleeps", "async_sleeps"):
        make_job(request, name, attempt=10)
    process = manage.start("run_jobs", WRK_STOP_GRACE_SECONDS="0.3")
    wait_until(lambda: running() == 2)
    time.sleep(0.2)  # claimed is not begun yet
    process.send_signal(signal.SIGTERM)
    code, stdout, stderr = ended(process)
    assert code == 0, stderr
    assert stdout.startswith("run_jobs claimed=2 completed=0 retry=2 failure=0 seconds=")
    for name in ("sleeps", "async_sleeps"):
        old, new = Job.objects.filter(name=name).order_by("attempt")
        assert (old.status, old.error) == ("retry", "worker stopped")
        assert (new.status, new.attempt, new.last_attempt) == ("new", 11, 11)
        assert seconds_from_now(new.due_at) < 0


def test_a_second_sigterm_ends_at_once_and_the_lease_stays(manage: Manage) -> None:
    request = make_request("Inprogress", ["sleeps"], params={"seconds": 60})
    make_job(request, "sleeps")
    process = manage.start("run_jobs")
    wait_until(lambda: running() == 1)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    code, stdout, _ = ended(process)
    assert (code, stdout) == (128 + signal.SIGTERM, "")
    assert statuses(request) == {("sleeps", 1): "inprogress"}
