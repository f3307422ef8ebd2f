"""The worker container starts supercronic on the settings' crontab and ends in order; supercronic is played here."""

import signal
import subprocess
import time

import pytest

AT_ONCE_SECONDS = 3.0
# Says that it is ready, then what the signal did to it.
JOB = """
import os, signal, time
def stop(*_):
    print("told", flush=True)
    time.sleep(0.7)  # long enough to be told twice, if anyone did
    print("ended in order", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
print("job runs", flush=True)
time.sleep(60)
"""


def read_until(process: "subprocess.Popen[str]", word: str) -> str:
    read = ""
    assert process.stdout
    for line in process.stdout:
        read += line
        if word in line:
            return read
    pytest.fail(f"it ended with {process.wait()} and never said {word!r}:\n{read}{process.communicate()[1]}")


def stop(process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=30)


def test_switched_off_it_idles_says_why_and_ends_at_once(entrypoint):
    process = entrypoint.start(WRK_ENABLED="false")
    assert read_until(process, "crontab:") == "crontab: \n"
    assert process.poll() is None
    begun = time.monotonic()
    _, stderr = stop(process)
    assert time.monotonic() - begun < AT_ONCE_SECONDS
    assert process.returncode == 0
    assert stderr == "WRK_ENABLED is false: the crontab is empty, no pass will run\n"


def test_its_log_begins_with_the_schedule(entrypoint):
    process = entrypoint.start(WRK_JOB_CRON="7 * * * *")
    log = read_until(process, "crontab:")
    assert [line.split()[-1] for line in log.splitlines()[:3]] == [
        "run_new_requests",
        "run_jobs",
        "run_inprogress_requests",
    ]
    assert "7 * * * * cd " in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_pass_that_runs_is_told_once_and_waited_for(entrypoint, number):
    process = entrypoint.start(PLAYED_JOB=JOB)
    read_until(process, "job runs")
    stdout, _ = stop(process, number)
    assert process.returncode == 0
    assert [line for line in stdout.splitlines() if line in {"told", "ended in order"}] == ["told", "ended in order"]


def test_a_malformed_line_ends_it_before_anything_runs(entrypoint):
    process = entrypoint.start(WRK_JOB_CRON="61 * * * *")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert stdout == ""
    assert "WRK_JOB_CRON: '61 * * * *'" in stderr


def test_it_ends_as_supercronic_ends(entrypoint):
    process = entrypoint.start(PLAYED_CODE="7")
    process.communicate(timeout=30)
    assert process.returncode == 7


def test_without_supercronic_it_says_so_in_one_line(entrypoint):
    process = entrypoint.start(PATH="/nonexistent")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert stderr == "the worker cannot start: supercronic: No such file or directory\n"
