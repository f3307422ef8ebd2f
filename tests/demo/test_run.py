"""`make demo` ends as it says it does, for somebody who has nothing but the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.sqlite


def test_the_demo_shows_a_completed_a_retried_and_a_failed_request(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "demo.run", "--folder", str(tmp_path)],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert sum(" Completed " in line for line in lines) == 6
    assert sum(" Failed " in line for line in lines) == 2
    for part in ("retried:", "503", "answered 409", "show_request"):
        assert part in ended.stdout
