"""What tests of real processes stand on: a command sees what the test committed, and knows the sample jobs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from requests_app.models import Request
from tests.conftest import Manage


def test_commands_work_on_the_test_database_with_the_sample_jobs(manage: Manage, record_file: Path):
    steps = [{"name": "only", "jobs": ["records_1", "records_2"]}]
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO requests (action, steps) VALUES ('sample', %s)", [json.dumps(steps)])
    for name in ("run_new_requests", "run_jobs", "run_inprogress_requests"):
        ended = manage(name)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(f"{name} ")
    request = Request.objects.get()
    assert request.status == "Completed"
    recorded = [line.split()[:4] for line in record_file.read_text().splitlines()]
    assert sorted(recorded) == [[request.token, "0", name, "1"] for name in ("records_1", "records_2")]


@pytest.mark.parametrize("command", ["migrate", "createsuperuser --noinput", "check --database default"])
def test_a_command_of_djangos_own_says_in_one_line_what_the_database_says(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database at all, but a text")
    others = {name: value for name, value in os.environ.items() if not name.startswith("DB_")}
    ended = subprocess.run(
        [sys.executable, "manage.py", *command.split()],
        cwd=settings.BASE_DIR,
        env=others | {"ENV": "test", "WRK_SQLITE_FILE": str(tmp_path / "file")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "the database: file is not a database (--traceback shows where)\n"
