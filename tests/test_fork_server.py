"""A forked `manage.py` is a process as one that is started: what it finds, how it ends, what it leaves behind."""

import os
import platform
import signal
import subprocess

import pytest

from tests.conftest import Manage
from tests.fork_server import Forked, started

pytestmark = pytest.mark.sqlite

EARLY = {"READ_AT_IMPORT": "1"}  # no name that is read late: such a command is not forked
FOUND = """
import locale, os, signal, sys, threading
os.environ.pop("READ_AT_IMPORT", None)
print(sys.argv, sys.path, sys.flags, sys.warnoptions, os.getcwd(), os.getpgrp(), os.getsid(0), os.umask(0))
print(sorted(os.environ.items()), sorted(os.listdir("/proc/self/fd")), threading.enumerate()[0].name)
print([signal.getsignal(number) for number in sorted(signal.valid_signals())], locale.getlocale())
for stream in sys.stdin, sys.stdout, sys.stderr:
    print(stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering, stream.isatty())
print(sys.modules["__main__"].__name__, os.path.realpath(sys.modules["__main__"].__file__))
"""


def python(manage: Manage, code: str, **environment: str) -> "subprocess.Popen[str]":
    return manage.start("shell", "--verbosity", "0", "--no-imports", "--command", code, **environment)


def test_it_finds_what_a_started_one_finds(manage_without_database: Manage):
    forked, started = (
        python(manage_without_database, FOUND, **more) for more in ({"WRK_X": "é"}, EARLY | {"WRK_X": "é"})
    )
    assert (isinstance(forked, Forked), isinstance(started, Forked)) == (True, False)
    found, expected = (process.communicate() for process in (forked, started))
    assert found[0].splitlines() == expected[0].splitlines()
    assert (found[1], "manage.py" in found[0], "WRK_X" in found[0]) == ("", True, True)


@pytest.mark.parametrize(
    ("code", "ended", "said"),
    [
        ("print('well')", 0, "well\n"),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('a reason')", 1, ""),
        ("1 / 0", 1, ""),
        ("import os; os._exit(9)", 9, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import os, signal; signal.signal(15, signal.SIG_DFL); os.kill(os.getpid(), 15)", -15, ""),
        ("import atexit; atexit.register(print, 'at exit')", 0, "at exit\n"),
        ("import threading; threading.Timer(0.1, lambda: print('last')).start()", 0, "last\n"),
    ],
)
def test_it_ends_as_a_started_one(manage_without_database: Manage, code: str, ended: int, said: str):
    process = python(manage_without_database, code)
    assert isinstance(process, Forked)
    assert (process.communicate()[0], process.returncode) == (said, ended)


def test_it_is_killed_by_its_own_id_and_is_reaped(manage_without_database: Manage):
    process = python(manage_without_database, "import time; print('up', flush=True); time.sleep(60)")
    assert isinstance(process, Forked)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(10) == process.poll() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_it_may_be_a_module_and_write_where_a_started_one_writes(capfd: pytest.CaptureFixture[str]):
    process = started(["-m", "platform", "--terse"], env=os.environ)
    assert isinstance(process, Forked)
    assert process.wait(10) == 0
    assert capfd.readouterr().out == f"{platform.platform(terse=True)}\n"


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD", "LC_ALL", "TZ"])
def test_what_is_read_before_any_setting_makes_a_process_of_its_own(manage_without_database: Manage, name: str):
    assert not isinstance(python(manage_without_database, "pass", **{name: ""}), Forked)
