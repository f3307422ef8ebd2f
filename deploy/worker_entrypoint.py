#!/usr/bin/env python
"""What the worker container runs: supercronic with the settings' crontab, ended in order at SIGTERM.

At SIGTERM supercronic starts nothing more and waits for the passes that run, but does not tell them: one with a backlog
would go on until it is killed, and its jobs would wait for their leases to run out. So they are told from here.
Not a management command, and no import of ours: Django would stay in memory for nothing.
"""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
# Not -overlapping: passes that pile up behind a slow service would only take memory and connections from each other.
# -no-reap: supercronic is not the first process here. -quiet: a pass prints its own line; faults are still shown.
SUPERCRONIC = ("supercronic", "-quiet", "-passthrough-logs", "-no-reap")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_LOOK_SECONDS = 0.2


class _Stopped(Exception):
    """One of the signals came."""


def main() -> int:
    for number in _SIGNALS:
        signal.signal(number, _stop)
    try:
        with tempfile.NamedTemporaryFile("w+", prefix="crontab-") as crontab:
            rendered = subprocess.run([sys.executable, str(MANAGE), "render_crontab"], stdout=crontab, check=False)
            if rendered.returncode:
                return rendered.returncode  # the command has said why
            crontab.seek(0)
            sys.stdout.writelines(line for line in crontab if not line.startswith("#"))
            sys.stdout.flush()
            return _run_cron(crontab.name)
    except _Stopped:
        return 0
    except FileNotFoundError as error:
        sys.exit(f"the worker cannot start: {error.filename}: {error.strerror}")


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # once is enough: a pass would take a second one for "at once"
    raise _Stopped


def _run_cron(crontab: str) -> int:
    """supercronic's exit code. An empty crontab (WRK_ENABLED=false) leaves it idle."""
    cron = subprocess.Popen([*SUPERCRONIC, crontab])
    try:
        return cron.wait()
    except _Stopped:
        cron.terminate()
    told: set[int] = set()
    while True:  # again and again: a pass may have begun just when the signal came
        told |= _terminate(_children(cron.pid) - told)
        with suppress(subprocess.TimeoutExpired):
            return cron.wait(_LOOK_SECONDS)


def _terminate(passes: set[int]) -> set[int]:
    for pid in passes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    return passes


def _children(parent: int) -> set[int]:
    """The processes that `parent` has begun, by /proc/PID/stat: its pid, (name), state, parent's pid, ..."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.add(int(stat.parent.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
