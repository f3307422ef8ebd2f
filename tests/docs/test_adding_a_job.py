"""docs/adding-a-job.md and the README, done as they say in a copy of this tree, on SQLite: files, commands, output."""

import contextlib
import re
import socket
import sqlite3
import textwrap
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks_of, document
from tests.docs.terminals import SECONDS, Terminals, steady, wait_for

pytestmark = pytest.mark.sqlite

PORTS = ("8104", "8105", "8000")


@pytest.fixture
def text() -> str:
    """The document, with ports that are free on this machine."""
    with contextlib.ExitStack() as taken:
        free = {port: taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for port in PORTS}
    return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: str(free[match[0]]), document("adding-a-job.md"))


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
                wait_for(int(port))
        elif block.info == "sql":
            _execute(block.text, clone)
        else:
            assert block.info == "text"
            assert [line for line in steady(block.text) if line not in steady(printed)] == []
    assert len(written) == 19
    assert "8 passed" in printed  # what `startjob` wrote


def test_what_startjob_writes_into_the_projects_own_folders_passes(clone: Path, terminals: Terminals):
    printed = terminals.run(
        """
        .venv/bin/python manage.py startjob ask_crm --service crm
        .venv/bin/python manage.py startjob greet_customer
        cd tests/jobs_app/callbacks
        ../../../.venv/bin/python -m pytest -q test_ask_crm.py test_greet_customer.py
        cd ../../..
        .venv/bin/ruff check . && .venv/bin/ruff format --check .
        WRK_SERVICES=crm URL_CRM=https://crm.example .venv/bin/python manage.py check
        """
    )
    assert "8 passed" in printed


def test_the_job_and_the_recipe_of_the_readme_work(clone: Path, terminals: Terminals):
    readme = (clone / "README.md").read_text()
    files = re.findall(r"^One file, `([\w/]+\.py)`:\n\n((?: {4}.*\n|\n)+)", readme, re.MULTILINE)
    for path, indented in files:
        (clone / path).write_text(textwrap.dedent(indented))
    [test] = re.findall(r"^## Test both\n\n((?: {4}.*\n)+)", readme, re.MULTILINE)
    (clone / "tests" / "test_greet.py").write_text(textwrap.dedent(test))
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
        .venv/bin/python -m pytest -q tests/test_greet.py
        """
    )
    assert [path for path, _ in files] == ["jobs_app/callbacks/greet_user.py", "requests_app/actions/greet.py"]
    assert '"status": "Completed"' in printed
    assert '"greeting": "Hello Ada"' in printed
    assert "1 passed" in printed
