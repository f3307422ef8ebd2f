"""Requests that wait for days, in real processes: rows' times are moved, a worker is killed, others answer."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from jobs_app.models import Answer, Job
from requests_app.models import Request
from tests.conftest import Manage
from tests.factories import insert_raw, let_leases_run_out, shaped
from tests.security.conftest import serving

KEY = "a-key-0123456789-abcdefghij-klmnop"
HOURS = 5 * 24
SECONDS = 60.0
BATCH = '{"outcome": "completed", "extras": {"batch": 13}}'
# Without a driver of ours: what any program on the same machine can do.
SQLITE = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], 20); db.execute(sys.stdin.read()); db.commit()"


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, list(Job.objects.values_list("request_id", "attempt", "status", "checks"))
        time.sleep(0.005)


def until_both_wait(checks: int) -> None:
    """After so many runs of their callback."""
    waiting = Job.objects.filter(status="new", answer_by__isnull=False, checks=checks)
    until(lambda: waiting.count() == 2)


def let_an_hour_pass() -> None:
    """For the jobs that wait, whose check is due then."""
    hour = timedelta(hours=1)
    for job in Job.objects.filter(status="new"):
        assert job.answer_by
        moved = {"created_at": job.created_at - hour, "due_at": job.due_at - hour, "answer_by": job.answer_by - hour}
        Job.objects.filter(id=job.id).update(**moved)


def run_sql(sql: str) -> None:
    """By the database's own client."""
    at = connection.settings_dict
    command, environment = [sys.executable, "-c", SQLITE, str(at["NAME"])], dict(os.environ)
    if connection.vendor == "mysql":
        client = shutil.which("mariadb") or shutil.which("mysql")
        if client is None:
            pytest.skip("neither mariadb nor mysql is on this machine")
        host = str(at["HOST"])
        server = [f"--socket={host}"] if host.startswith("/") else [f"--host={host}", f"--port={at['PORT']}"]
        command = [client, "--no-defaults", *server, f"--user={at['USER']}", str(at["NAME"])]
        environment["MYSQL_PWD"] = str(at["PASSWORD"])
    subprocess.run(command, env=environment, input=sql, text=True, check=True, timeout=SECONDS)


def first_url(record: Path, token: str) -> str:
    return next(url for name, url in map(str.split, record.read_text().splitlines()) if name == token)


def test_five_days_use_one_attempt_a_kill_in_a_check_is_survived_and_one_answer_completes(
    manage: Manage, record_file: Path
) -> None:
    """One is answered by an INSERT, the other by curl to the URL that its first run was given."""
    keys = {"WRK_ANSWER_KEYS": KEY, "WRK_JOB_BACKOFF_BASE_SECONDS": "0"}
    with serving(manage.environment | keys | {"WRK_PUBLIC_URL": "http://tasker.example"}) as web:
        worker = manage.start("run_worker", WRK_PUBLIC_URL=web, **keys)
        for token in ("by-sql", "by-url"):
            insert_raw(token=token, params={"slow_check": HOURS}, steps=shaped(["asks_later"]))
        for hour in range(1, HOURS + 1):
            until_both_wait(checks=hour)
            let_an_hour_pass()
        until(lambda: Job.objects.filter(status="inprogress", checks=HOURS).count() == 2)
        assert list(Job.objects.values_list("attempt", flat=True)) == [1, 1]

        worker.kill()
        worker.wait()
        let_leases_run_out()
        manage.start("run_worker", WRK_PUBLIC_URL=web, **keys)
        until_both_wait(checks=1)
        assert sorted(Job.objects.values_list("attempt", "status")) == [
            (1, "retry"),
            (1, "retry"),
            (2, "new"),
            (2, "new"),
        ]

        run_sql(
            "INSERT INTO answers (token, step, job, outcome, extras) "
            "VALUES ('by-sql', 0, 'asks_later', 'completed', '{\"batch\": 12}')"
        )
        curl = ["curl", "--fail", "--silent", "-d", BATCH, first_url(record_file, "by-url")]
        posted = subprocess.run(curl, capture_output=True, text=True, check=True, timeout=SECONDS)
        assert json.loads(posted.stdout) == {"kept": True}
        until(lambda: Request.objects.filter(status="Completed").count() == 2)
    assert dict(Request.objects.values_list("token", "extras")) == {"by-sql": {"batch": 12}, "by-url": {"batch": 13}}
    assert set(Answer.objects.values_list("effect", flat=True)) == {"taken"}
