"""Where the programs of Debian's package prometheus are: installed, or unpacked by scripts/setup.sh."""

import shutil
import sys
from pathlib import Path

import pytest


def of_prometheus(program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{program} is not here: it comes with Debian's package prometheus (scripts/setup.sh test)")
    return found
