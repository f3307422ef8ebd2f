"""supercronic, real and played, and the worker container's entrypoint as a process."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

DEPLOY = settings.BASE_DIR / "deploy"
TOOLS = settings.BASE_DIR / "var" / "tools"
FETCH_SECONDS = 120.0
END_SECONDS = 60.0

# Never started by a schedule: what is tested is what the entrypoint does with it. Like supercronic it begins its job in
# a process group of its own, and at SIGTERM waits for it without telling it.
PLAYED_SUPERCRONIC = """#!{python}
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: waiting.append(1))
waiting = []
code = os.environ.get("PLAYED_CODE")
if code:
    sys.exit(int(code))
job = os.environ.get("PLAYED_JOB")
child = job and subprocess.Popen([sys.executable, "-c", job], process_group=0)
print("crontab:", open(sys.argv[-1]).read(), flush=True)
while not waiting:
    signal.pause()
if child:
    child.wait()
"""


class Entrypoint:
    """deploy/worker_entrypoint.py as the container runs it, on the test database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started: list[subprocess.Popen[str]] = []

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, DEPLOY / "worker_entrypoint.py"],
            cwd="/",
            env=os.environ | _test_database() | {"PATH": f"{self._path}:{os.environ['PATH']}"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end_all(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=END_SECONDS)


def _test_database() -> dict[str, str]:
    database = connection.settings_dict
    name = "DB_NAME" if connection.vendor == "mysql" else "WRK_SQLITE_FILE"
    return {"DJANGO_SETTINGS_MODULE": "tests.settings", name: str(database["NAME"])}


@pytest.fixture
def entrypoint(tmp_path: Path) -> Iterator[Entrypoint]:
    """With a played supercronic: PLAYED_JOB is the Python that it runs as a job, PLAYED_CODE how it ends at once."""
    played = tmp_path / "bin" / "supercronic"
    played.parent.mkdir()
    played.write_text(PLAYED_SUPERCRONIC.format(python=sys.executable))
    played.chmod(0o755)
    entrypoint = Entrypoint(played.parent)
    yield entrypoint
    entrypoint.end_all()


@pytest.fixture(scope="session")
def supercronic() -> Path:
    """The real one: what is on PATH, else Debian's, fetched as the image does it and kept in var/tools."""
    if found := shutil.which("supercronic"):
        return Path(found)
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # xdist's workers would all fetch it
        if not (TOOLS / "supercronic").exists():
            _fetch_supercronic()
    return TOOLS / "supercronic"


def _fetch_supercronic() -> None:
    if not shutil.which("apt-get"):
        pytest.skip("NOT TESTED: supercronic is not on PATH, and without apt-get Debian's cannot be fetched")
    command = [str(DEPLOY / "fetch-supercronic.sh"), str(TOOLS)]
    try:
        fetched = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"NOT TESTED: fetching supercronic took more than {FETCH_SECONDS:.0f} s")
    if fetched.returncode:
        pytest.skip(f"NOT TESTED: supercronic cannot be fetched: {' '.join(fetched.stderr.split())[-300:]}")
