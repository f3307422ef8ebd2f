"""`make run` serves the web pages and works on requests, on one SQLite file, and ends in order at Ctrl-C."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from django.conf import settings

from demo.services import Services

pytestmark = pytest.mark.sqlite


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(services: Services, port: int, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.serve"],
        cwd=settings.BASE_DIR,
        env=os.environ
        | services.environment()
        | {
            "PORT": str(port),
            "WRK_SQLITE_FILE": str(tmp_path / "tasker.sqlite3"),
            "DJANGO_SECRET_KEY": "of a test, and no shorter than 32 characters",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def _read_until(process: subprocess.Popen[str], end: str) -> str:
    read = ""
    assert process.stdout is not None
    for line in process.stdout:
        read += line
        if end in line:
            return read
    pytest.fail(f"it ended with {process.wait()} and never said {end!r}:\n{read}")


def test_a_request_is_completed_and_ctrl_c_ends_everything(served: subprocess.Popen[str], port: int, tmp_path: Path):
    welcome = _read_until(served, "Ctrl-C ends everything")
    assert "user admin, password" in welcome
    assert requests.get(f"http://127.0.0.1:{port}/heartbeat", timeout=5).status_code == 200

    database = sqlite3.connect(tmp_path / "tasker.sqlite3", timeout=20)
    with database:
        database.execute("""INSERT INTO requests (action, params) VALUES ('delete_user', '{"id": 7}')""")
    deadline = time.monotonic() + 20
    while (status := database.execute("SELECT status FROM requests").fetchone()[0]) != "Completed":
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    database.close()

    served.send_signal(signal.SIGINT)
    rest, _ = served.communicate(timeout=60)
    assert served.returncode == 0, rest
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = subprocess.run(
            [sys.executable, "-m", "demo.serve"],
            cwd=settings.BASE_DIR,
            env=os.environ | {"PORT": str(taken.getsockname()[1]), "WRK_SQLITE_FILE": str(tmp_path / "tasker.sqlite3")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert "Address already in use" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
