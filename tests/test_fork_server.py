"""A forked `manage.py` is a process as one that is started: what it finds, how it ends, what it leaves behind.

So is one that is forked from a process which has loaded the apps before.
"""

import os
import platform
import signal
import subprocess

import pytest

from tests.conftest import Manage
from tests.fork_server import _MOST_LOADED, Forked, Loaded, started

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


@pytest.fixture(params=["not loaded", "loaded"])
def kind(request: pytest.FixtureRequest, manage_without_database: Manage) -> str:
    """The environment is asked for the first time, or has been."""
    if request.param == "loaded":
        for _ in range(2):
            assert python(manage_without_database, "pass").wait(20) == 0
    return str(request.param)


def server_of(process: "subprocess.Popen[str]") -> str:
    assert isinstance(process, Forked)
    return "loaded" if isinstance(process.server, Loaded) else "not loaded"


def test_it_finds_what_a_started_one_finds(manage_without_database: Manage):
    manage_without_database.environment["WRK_X"] = "é"
    forked, loaded, started = (python(manage_without_database, FOUND, **more) for more in ({}, {}, EARLY))
    assert (server_of(forked), server_of(loaded), isinstance(started, Forked)) == ("not loaded", "loaded", False)
    *both, expected = (process.communicate() for process in (forked, loaded, started))
    for found in both:
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
def test_it_ends_as_a_started_one(kind: str, manage_without_database: Manage, code: str, ended: int, said: str):
    process = python(manage_without_database, code)
    assert server_of(process) == kind
    assert (process.communicate()[0], process.returncode) == (said, ended)


def test_it_is_killed_by_its_own_id_and_is_reaped(kind: str, manage_without_database: Manage):
    process = python(manage_without_database, "import time; print('up', flush=True); time.sleep(60)")
    assert server_of(process) == kind
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


SETTING = "from django.conf import settings; print(settings.WRK_JOB_LEASE_SECONDS)"


def test_each_environment_has_its_own_settings_however_often_it_is_asked_for(manage_without_database: Manage):
    """The process that is out of use longest ends; what it started goes on, and its end is told."""
    early = [python(manage_without_database, "import time; time.sleep(60)") for _ in range(2)]
    assert server_of(early[1]) == "loaded"
    expected = [f"{1000 + number}.0\n" for number in range(_MOST_LOADED)]
    for _ in range(2):
        said = [python(manage_without_database, SETTING, WRK_JOB_LEASE_SECONDS=seconds[:4]) for seconds in expected]
        assert [process.communicate()[0] for process in said] == expected
    for process in early:
        assert process.poll() is None
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
    assert server_of(python(manage_without_database, "pass")) == "not loaded"


def test_what_the_settings_say_each_process_says(manage_without_database: Manage):
    said = {manage_without_database("check", ENV="production").stderr for _ in range(3)}
    assert (len(said), "cannot start (ENV is read as production)" in said.pop()) == (1, True)


@pytest.mark.parametrize("name", ["OTEL_SERVICE_NAME", "PROMETHEUS_MULTIPROC_DIR", "DB_PASS_FILE"])
def test_what_each_process_makes_or_reads_anew_is_not_loaded_before(manage_without_database: Manage, name: str):
    said = [python(manage_without_database, "pass", **{name: "/tmp"}) for _ in range(3)]  # noqa: S108 - nothing is written
    assert {server_of(process) for process in said} == {"not loaded"}
