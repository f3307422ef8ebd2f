"""What each signal does to the commands and to the web process, sent to real ones in the midst of their work."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests
from django.conf import settings
from django.db import connection

from tests.conftest import Manage, _environment_of_commands, called_here
from tests.factories import let_leases_run_out, pass_jobs, pass_new
from tests.faults.life import PASSES
from tests.faults.test_network import ended, place, statuses, until
from tests.proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

COMMANDS = (*PASSES, "run_worker")
SHORT = {"WRK_JOB_LEASE_SECONDS": "2", "WRK_JOB_TIMEOUT_SECONDS": "1.9", "WRK_JOB_CONCURRENCY": "4"}
RUNNING = "SELECT COUNT(*) FROM jobs WHERE status = 'inprogress'"


def count(sql: str, *values: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.fetchone()[0])


@pytest.fixture
def at_work(manage: Manage, proxy: Proxy, through: Manage) -> dict[str, subprocess.Popen[str]]:
    """All the commands, over a slow line, and work for each: to pick up, to run and to move on."""
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # what a shell starts with & and without job control ignores it
    place(150, ["noop"], ["noop_1"])
    pass_new()
    pass_jobs()
    place(150, ["noop"], ["noop_1"])
    place(30, ["sleeps"], params='{"seconds": 0.4}')
    proxy.latency_seconds = 0.02
    before = count("SELECT MAX(id) FROM passes")
    processes = {command: through.start(command, **SHORT) for command in COMMANDS}
    until(lambda: count("SELECT COUNT(DISTINCT name) FROM passes WHERE id > %s", before) == len(COMMANDS))
    until(lambda: count(RUNNING) > 0)
    return processes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_whatever_signal_ends_the_commands_nothing_is_lost(
    number: signal.Signals, at_work: dict[str, subprocess.Popen[str]], manage: Manage
) -> None:
    for process in at_work.values():
        process.send_signal(number)
    runs = {command: ended(process) for command, process in at_work.items()}

    assert not any("Traceback" in run.stderr for run in runs.values())
    if number in {signal.SIGTERM, signal.SIGINT}:
        assert {run.returncode for run in runs.values()} == {0}
        assert all(run.stdout.count("\n") == 1 for run in runs.values())
        assert count(RUNNING) == 0  # what ran has finished, the rest is handed back
    else:
        assert {run.returncode for run in runs.values()} <= {0, -number}
        assert runs["run_worker"].returncode == -number
    let_leases_run_out()
    worker = manage.start("run_worker", **SHORT | {"WRK_JOB_CONCURRENCY": "60"})
    until(lambda: statuses() == {"Completed"}, 30)
    worker.terminate()
    assert ended(worker).returncode == 0
    assert not count("SELECT COUNT(*) FROM jobs WHERE attempt > 1") or number in {signal.SIGQUIT, signal.SIGKILL}
    assert called_here("verify").returncode == 0


# The web process -----------------------------------------------------------------------------------------------------
@pytest.fixture
def web(proxy: Proxy, manage: Manage) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """gunicorn by the configuration of the container, its database behind the proxy; the process and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "tasker_site.wsgi"],
        cwd=settings.BASE_DIR,
        env=_environment_of_commands() | {"DB_HOST": "127.0.0.1", "DB_PORT": str(proxy.port), "PORT": str(port)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    until(lambda: _answers(address))
    yield process, address
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its workers too, if a test has failed
    process.communicate()


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/heartbeat", timeout=5).ok
    except requests.RequestException:
        return False


def test_sigterm_lets_the_web_process_answer_what_it_was_asked(
    web: tuple[subprocess.Popen[str], str], proxy: Proxy
) -> None:
    process, address = web
    proxy.latency_seconds = 0.04
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(requests.get, f"{address}/ready", timeout=20)
        until(lambda: proxy.connections > 0)
        process.terminate()
        assert asked.result().status_code == 200
    assert ended(process).returncode == 0
    assert not _answers(address)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_no_signal_leaves_a_part_of_the_web_process_behind(
    number: signal.Signals, web: tuple[subprocess.Popen[str], str]
) -> None:
    """Killed, its workers miss it and end by themselves; the others end it at once.

    Or after the configured 20 seconds: a worker may lock itself up when SIGQUIT meets the start of a thread.
    """
    process, address = web
    process.send_signal(number)
    until(lambda: not _answers(address), 10)
    stderr = ended(process).stderr
    assert process.returncode == (-number if number == signal.SIGKILL else 0)
    assert "Traceback" not in stderr
