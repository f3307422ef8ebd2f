"""What tests of real processes stand on: a command sees what the test committed, and knows the sample jobs."""

import json
from pathlib import Path

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
