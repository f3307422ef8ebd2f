"""The real supercronic, through the worker container's entrypoint: the crontab moves requests, and a stop is in order.

Seconds stand in for minutes: in front of the real one, `supercronic` is a script that makes every minute two seconds
(a field more on either side). That it reads the line as it stands as every minute is a test of its own.
"""

import re
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from jobs_app.models import Job
from requests_app.models import Request, RequestStatus
from tests.deploy.conftest import Entrypoint
from tests.deploy.test_worker_entrypoint import stop

pytestmark = pytest.mark.integration

DONE_SECONDS = 60.0
EVERY_MINUTE = {f"WRK_{name}_CRON": "* * * * *" for name in ("JOB", "REQUEST_NEW", "REQUEST_INPROGRESS")}


@pytest.fixture
def every_two_seconds(entrypoint: Entrypoint, supercronic: Path, tmp_path: Path) -> Entrypoint:
    script = tmp_path / "bin" / "supercronic"
    script.write_text(
        "#!/bin/sh\nfor last; do :; done\n"
        f"""sed -i 's/^\\* \\* \\* \\* \\* /*\\/2 * * * * * * /' "$last"\nexec {supercronic} "$@"\n"""
    )
    return entrypoint


def wait_until(holds, what: str) -> None:
    deadline = time.monotonic() + DONE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"after {DONE_SECONDS:.0f} s not: {what}"
        time.sleep(0.1)


def test_it_reads_every_minute_as_every_minute(supercronic, manage, tmp_path):
    crontab = tmp_path / "crontab"
    crontab.write_text(manage("render_crontab", **EVERY_MINUTE).stdout)
    begun = time.time()
    process = subprocess.Popen([supercronic, "-debug", crontab], stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    process.terminate()
    _, log = process.communicate(timeout=10)
    nexts = [datetime.fromisoformat(moment) for moment in re.findall(r"job will run next at (\S+ \S+)", log)]
    assert len(nexts) >= 3, log  # each line of the crontab once, and once more when the test ran over a full minute
    assert all(at.second == 0 for at in nexts), log
    waits = [at.timestamp() - begun for at in nexts]
    assert min(waits) >= 0, log
    assert max(waits) <= 60 * len(nexts) / 3 + 1, log


def test_a_request_is_completed_by_the_cron_and_the_passes_lines_are_its_log(
    every_two_seconds, transactional_db, services
):
    request = Request.objects.create(action="delete_user", params={"id": 7})
    process = every_two_seconds.start(**EVERY_MINUTE, **services.environment())
    wait_until(lambda: Request.objects.filter(status=RequestStatus.COMPLETED).exists(), "completed")
    stdout, stderr = stop(process)
    assert process.returncode == 0
    assert {job.attempt for job in request.jobs.all()} == {1}
    for name in ("run_new_requests", "run_jobs", "run_inprogress_requests"):
        assert re.search(rf"^{name} \w+=\d", stdout, re.MULTILINE), stdout + stderr


def test_a_stop_lets_running_jobs_finish_and_begins_no_other(every_two_seconds, transactional_db):
    for _ in range(6):
        steps = [{"name": "only", "jobs": ["sleeps"]}]
        Request.objects.create(action="sample", params={"seconds": 3}, steps=steps)
    process = every_two_seconds.start(**EVERY_MINUTE, WRK_JOB_CONCURRENCY="2")
    wait_until(lambda: Job.objects.filter(status="inprogress").count() >= 2, "two jobs run")
    begun = time.monotonic()
    stop(process)
    took = time.monotonic() - begun
    assert took < 6, "it ran the backlog"
    states = sorted(Job.objects.values_list("status", "attempt"))
    assert set(states) <= {("completed", 1), ("new", 1)}, states
    assert ("completed", 1) in states
    assert ("new", 1) in states
