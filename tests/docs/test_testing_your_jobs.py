"""docs/testing-your-jobs.md, done as it says in a copy of this tree: its tests pass and fail as it says."""

import re
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks_of, document
from tests.docs.terminals import Terminals

pytestmark = pytest.mark.sqlite


def test_the_document_leads_from_a_first_test_to_a_killed_worker(clone: Path, terminals: Terminals):
    printed, runs, last = "", 0, ""
    for block in blocks_of(document("testing-your-jobs.md")):
        if block.info == "python":
            last = _write(block, clone / "tests" / "test_complain.py", clone, last)
        elif block.info == "sh":
            printed, runs = terminals.run(block.text), runs + 1
        else:
            assert block.info == "text"
            assert [line for line in block.text.splitlines() if line.strip() not in printed] == [], printed
    assert runs == 6


def _write(block: Block, tests: Path, clone: Path, last: str) -> str:
    """Returns what it added to the tests."""
    if file := re.fullmatch(r"File `([\w/.]+)`:", block.before):
        (clone / file[1]).write_text(block.text)
        return ""
    text = tests.read_text()
    if block.before.startswith("At the top"):
        tests.write_text(block.text + text)
        return last
    if block.before.startswith("In place of the last test"):
        text = text.removesuffix(last)
    added = f"\n\n{block.text}"
    tests.write_text(text + added)
    return added
