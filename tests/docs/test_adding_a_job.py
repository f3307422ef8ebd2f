"""docs/adding-a-job.md and the README, done as they say in a copy of this tree, on SQLite: files, commands, output."""

import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.docs.blocks import Block, blocks_of, document

pytestmark = pytest.mark.sqlite

SECONDS = 60
PORTS = ("8104", "8105", "8000")
OURS = ("DB_", "WRK_", "URL_", "DJANGO_", "PYTEST_", "TASKER_", "ENV", "PORT")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".env", "var", "__pycache__", "*_cache", ".hypothesis")
# Moments and durations differ from run to run.
VARYING = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?|\d+\.\d+( s)?$")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The tree as a fresh clone has it, after `make setup`."""
    clone = tmp_path / "clone"
    shutil.copytree(settings.BASE_DIR, clone, ignore=NOT_COPIED)
    (clone / ".venv").symlink_to(sys.prefix)
    return clone


@pytest.fixture
def text() -> str:
    """The document, with ports that are free on this machine."""
    with contextlib.ExitStack() as taken:
        free = {port: taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for port in PORTS}
    return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: str(free[match[0]]), document("adding-a-job.md"))


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


def _write(block: Block, clone: Path) -> None:
    path = re.findall(r"`([\w/]+\.py)`", block.before)[-1]
    if block.before.startswith("File "):
        (clone / path).write_text(block.text)
        return
    below = re.findall(r"below the line of `(\w+)`", block.before)[0]
    lines = (clone / path).read_text().splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if line.startswith(f"{below} = "))
    (clone / path).write_text("".join([*lines[: at + 1], block.text, *lines[at + 1 :]]))


def _execute(sql: str, clone: Path) -> None:
    """As any client does: the document leaves open which."""
    database = sqlite3.connect(clone / "var" / "tasker.sqlite3", timeout=SECONDS)
    with contextlib.closing(database), database:
        database.execute(sql)


def _steady(printed: str) -> list[str]:
    """The lines that say something, without what differs from run to run."""
    return [VARYING.sub("*", line) for line in printed.splitlines() if line.strip()]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing answers on port {port}")


def test_the_document_leads_to_a_job_a_recipe_and_a_service(clone: Path, terminals: Terminals, text: str):
    printed, written = "", []
    for block in blocks_of(text):
        if block.info == "python":
            _write(block, clone)
            written.append(block)
        elif block.info == "sh":
            printed = terminals.run(block.text)
        elif block.info == "sh second-terminal":
            if "by Ctrl-C" in block.before:
                terminals.close()
            terminals.start(block.text)
            for port in re.findall(r"\b\d{4,5}\b", block.text):
                _wait_for(int(port))
        elif block.info == "sql":
            _execute(block.text, clone)
        else:
            assert block.info == "text"
            assert [line for line in _steady(block.text) if line not in _steady(printed)] == []
    assert len(written) == 18
    assert "1 passed" in printed  # the document's own test


def test_the_job_and_the_recipe_of_the_readme_work(clone: Path, terminals: Terminals):
    readme = (clone / "README.md").read_text()
    files = re.findall(r"^One file, `([\w/]+\.py)`:\n\n((?: {4}.*\n|\n)+)", readme, re.MULTILINE)
    for path, indented in files:
        (clone / path).write_text(textwrap.dedent(indented))
    printed = terminals.run(
        """
        manage() { .venv/bin/python manage.py "$@"; }
        manage migrate --verbosity 0
        manage check
        manage submit_request greet --params '{"name": "Ada"}' --token hello
        manage run_new_requests
        manage run_jobs
        sleep 1
        manage run_jobs
        manage run_inprogress_requests
        manage show_request hello --json
        """
    )
    assert [path for path, _ in files] == ["jobs_app/callbacks/greet_user.py", "requests_app/actions/greet.py"]
    assert '"status": "Completed"' in printed
    assert '"greeting": "Hello Ada"' in printed
