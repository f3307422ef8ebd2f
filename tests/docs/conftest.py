"""A copy of this tree, and a reader's terminals in it."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.docs.terminals import Terminals

# Compiled modules are copied: what runs in the copy would make the same ones, once for each copy.
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".env", "var", "*_cache", ".hypothesis")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The tree as a fresh clone has it, after `make setup`."""
    clone = tmp_path / "clone"
    shutil.copytree(settings.BASE_DIR, clone, ignore=NOT_COPIED)
    (clone / ".venv").symlink_to(sys.prefix)
    return clone


@pytest.fixture
def terminals(clone: Path) -> Iterator[Terminals]:
    terminals = Terminals(clone)
    yield terminals
    terminals.close()
