"""`make demo` ends as it says it does, for somebody who has nothing but the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.sqlite


def test_the_demo_shows_completed_retried_failed_and_waiting_requests(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "demo.run", "--folder", str(tmp_path)],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert sum(" Completed " in line for line in lines) == 8
    assert sum(" Failed " in line for line in lines) == 2
    for part in ("retried:", "503", "answered 409", "show_request", "answers_taken=1"):
        assert part in ended.stdout
    for waits in (
        "service2_erase_user waits for service 2's next batch, until",
        "approve_closing waits for a colleague",
    ):
        assert sum(waits in line for line in lines) == 1
    assert sum(line.startswith("    waited: ") for line in lines) == 2
    assert "    without:   newsletter_unsubscribe: the newsletter does not know this user" in lines
