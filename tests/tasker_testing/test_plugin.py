"""The plugin in a pytest run of its own, without this project's conftest: what it prints, and where it plays."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.sqlite

TEST = """
from django.db import connection

from requests_app.models import Request
from requests_app.recipes import Step

STEPS = (Step("greeting", ("returns_extras", "fails")),)


def test_it_completes(tasker):
    assert "{scratch}" not in str(connection.settings_dict["NAME"])
    assert tasker.run("made_up", steps=STEPS).status == "Completed"


def test_nothing_is_left_and_the_database_is_a_file_of_its_own(tasker):
    assert not Request.objects.exists()
    assert "tasker-test-" in str(connection.settings_dict["NAME"])


def test_of_something_else(db):
    assert not Request.objects.exists()


def test_kills(tasker):
    tasker.killed_at_each_commit().run("made_up", steps=(Step("one", ("returns_extras",)),))


def test_plans_too_late(tasker):
    tasker.fails("noop_1").answers("noop")
"""


def test_a_failed_test_prints_the_timelines_of_what_it_played(tmp_path: Path) -> None:
    (tmp_path / "test_made_up.py").write_text(TEST.replace("{scratch}", str(settings.BASE_DIR)))
    printed = _pytest(tmp_path)
    assert "2 failed, 3 passed, 1 error" in printed
    assert "tasker: noop, noop_1: fails and answers are for the next run, and none came" in printed
    [first, second] = re.split(r"_{5,} test_kills _{5,}", printed)
    assert re.search(r"-+ tasker played made_up [\w-]{36} -+\nmade_up  [\w-]{36}  Failed\nplaced ", first)
    assert "It failed: fails failed: refused, as asked" in first
    assert re.search(r"fails +attempt 1 +failure", first)
    assert re.search(r"\ntasker: killed right after commit 2 \(run_jobs: UPDATE jobs .*it ended otherwise", second)
    assert second.count("tasker played") == 2
    assert "the lease ran out" in second


def _pytest(folder: Path) -> str:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DB_", "WRK_"))}
    environment = ours | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(settings.BASE_DIR)}
    command = [sys.executable, "-m", "pytest", "-p", "tasker_testing.plugin", "-p", "no:cacheprovider", str(folder)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return ended.stdout + ended.stderr
