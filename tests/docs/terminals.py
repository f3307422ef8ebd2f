"""What a reader of a document has before them: a folder, terminals in it, and what they print."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

SECONDS = 60
OURS = ("DB_", "WRK_", "URL_", "DJANGO_", "PYTEST_", "TASKER_", "ENV", "PORT")
# Moments and durations differ from run to run.
VARYING = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?|\d+\.\d+( s)?$")


class Terminals:
    """Runs the document's commands; what a second terminal runs goes on beside the others."""

    def __init__(self, clone: Path) -> None:
        self._clone = clone
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self._others: list[subprocess.Popen[bytes]] = []

    def run(self, commands: str) -> str:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self._clone,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ended.returncode == 0, f"{commands}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def start(self, commands: str) -> None:
        log = (self._clone.parent / f"terminal{len(self._others)}").open("wb")
        with log:
            self._others.append(
                subprocess.Popen(
                    ["bash", "-c", commands],
                    cwd=self._clone,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def close(self) -> None:
        """Ctrl-C in the other terminals."""
        while self._others:
            process = self._others.pop()
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(SECONDS)


def steady(printed: str) -> list[str]:
    """The lines that say something, without what differs from run to run."""
    return [VARYING.sub("*", line) for line in printed.splitlines() if line.strip()]


def wait_for(port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing answers on port {port}")
