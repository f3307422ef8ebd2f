"""A copy of this tree, and a reader's terminals in it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

SECONDS = 60
OURS = ("DB_", "WRK_", "URL_", "DJANGO_", "PYTEST_", "TASKER_", "ENV", "PORT")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".env", "var", "__pycache__", "*_cache", ".hypothesis")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The tree as a fresh clone has it, after `make setup`."""
    clone = tmp_path / "clone"
    shutil.copytree(settings.BASE_DIR, clone, ignore=NOT_COPIED)
    (clone / ".venv").symlink_to(sys.prefix)
    return clone


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


@pytest.fixture
def terminals(clone: Path) -> Iterator[Terminals]:
    terminals = Terminals(clone)
    yield terminals
    terminals.close()
