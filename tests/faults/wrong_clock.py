"""Processes whose wall clock is wrong, as on a machine without NTP; their monotonic clock goes as it should.

By wrong_clock.c where there is a C compiler: then every library has that clock. Otherwise Python's own time.time is
shifted.
"""

import shutil
import subprocess
import sys
from pathlib import Path

_SITECUSTOMIZE = """\
import os, time
true, true_ns = time.time, time.time_ns
def shift():
    with open(os.environ["WRONG_CLOCK_FILE"]) as file:
        return int(file.read())
time.time = lambda: true() + shift()
time.time_ns = lambda: true_ns() + shift() * 10**9
"""


class WrongClock:
    """A clock that is `seconds` ahead (or behind, when negative). `set` makes the processes' clocks jump."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self._folder = folder
        folder.mkdir()
        self._file = folder / "shift"
        self.set(seconds)

    def set(self, seconds: int) -> None:
        beside = self._folder / "new"
        beside.write_text(str(seconds))
        beside.rename(self._file)  # nobody ever reads half of it

    def environment(self) -> dict[str, str]:
        if library := _compiled(self._folder):
            return {"LD_PRELOAD": str(library), "WRONG_CLOCK_FILE": str(self._file)}
        (self._folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
        return {"PYTHONPATH": str(self._folder), "WRONG_CLOCK_FILE": str(self._file)}


def _compiled(folder: Path) -> Path | None:
    library = folder / "wrong_clock.so"
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    if not library.exists():
        source = Path(__file__).with_suffix(".c")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library
