"""What a network does to the commands, as real processes behind a proxy: they carry on, or end with one line and 1."""

import contextlib
import random
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections

from demo.services import Services
from jobs_app.db import transactions
from tests.conftest import Manage
from tests.depth import LONG
from tests.factories import pass_inprogress, pass_jobs, pass_new
from tests.faults.clock import HastyClock
from tests.faults.life import PASSES, Life, Ran, steps
from tests.proxy import Cut, Proxy

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

COMMANDS = (*PASSES, "run_worker")


def place(count: int, *jobs_of_steps: list[str], params: str = "{}") -> None:
    with connection.cursor() as cursor:
        for _ in range(count):
            cursor.execute(
                "INSERT INTO requests (action, params, steps) VALUES ('made up', %s, %s)",
                [params, steps(*jobs_of_steps)],
            )


def statuses() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT status FROM requests")
        return {row[0] for row in cursor.fetchall()}


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "it never came to that"
        time.sleep(0.01)


def assert_one_line(ended: subprocess.CompletedProcess[str], command: str) -> None:
    """Exit 1, and besides the log (which begins with a date) and a greeting one line, no traceback."""
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if "Z [info" not in line and "end it with SIGTERM" not in line]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith(f"CommandError: {command}: the database cannot be used: ")
    assert ended.stdout == ""


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


# The database is not there -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_refuses_connections_is_one_line_and_exit_1(
    command: str, manage: Manage, proxy: Proxy, through: Manage
) -> None:
    proxy.refuses = True
    assert_one_line(through(command), command)


def test_a_database_that_takes_connections_and_says_nothing_is_one_line_and_exit_1(
    manage: Manage, proxy: Proxy, through: Manage
) -> None:
    proxy.is_black_hole = True
    began = time.monotonic()
    assert_one_line(through("run_jobs"), "run_jobs")
    assert time.monotonic() - began < 15


# The database goes while a pass runs ---------------------------------------------------------------------------------
def resets(proxy: Proxy) -> None:
    proxy.reset()


def half_closes(proxy: Proxy) -> None:
    proxy.half_close()


def falls_silent(proxy: Proxy) -> None:
    """Like a switch that restarts: bytes wait, and arrive in the end."""
    proxy.is_black_hole = True
    time.sleep(1)
    proxy.is_black_hole = False


def is_away_for_two_seconds(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.reset()
    time.sleep(2)
    proxy.refuses = False


@pytest.mark.parametrize("fault", [resets, half_closes, falls_silent, is_away_for_two_seconds])
def test_a_pass_whose_connections_break_while_jobs_run_carries_on(
    fault: Callable[[Proxy], None], manage: Manage, proxy: Proxy, through: Manage
) -> None:
    place(8, ["sleeps"], params='{"seconds": 0.5}')
    pass_new()
    process = through.start("run_jobs", "--concurrency", "4")
    until(lambda: "claimed" in _counts_in_progress())
    fault(proxy)
    run = ended(process)
    assert run.returncode == 0, run.stderr
    # Some may have been handed back unstarted and claimed again: their lease was too old by then.
    assert " completed=8 retry=0 failure=0 " in run.stdout
    assert "Traceback" not in run.stderr
    pass_inprogress()
    assert statuses() == {"Completed"}


def test_what_ended_while_the_database_was_away_past_its_lease_is_not_taken_for_lost(
    manage: Manage, proxy: Proxy, through: Manage
) -> None:
    """The worker's own poll finds those leases over, and must leave them to its own completer."""
    place(8, ["sleeps"], params='{"seconds": 1}')
    worker = through.start("run_worker", WRK_JOB_LEASE_SECONDS="2", WRK_JOB_TIMEOUT_SECONDS="1.9")
    until(lambda: "claimed" in _counts_in_progress())
    proxy.refuses = True
    proxy.reset()
    time.sleep(2.5)
    proxy.refuses = False
    until(lambda: statuses() == {"Completed"})
    worker.terminate()
    assert " completed=8 retry=0 " in ended(worker).stdout


@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="takes 40 s: make test-long")
def test_a_database_silent_for_longer_than_a_reads_timeout_is_reconnected_to_or_said_to_be_away(
    proxy: Proxy, through: Manage, life: Life
) -> None:
    """What was sent before the silence arrives after it, on connections that the pass has long given up."""
    place(8, ["sleeps"], params='{"seconds": 0.5}')
    pass_new()
    process = through.start("run_jobs", "--concurrency", "4")
    until(lambda: "claimed" in _counts_in_progress())
    proxy.is_black_hole = True
    time.sleep(33)
    proxy.is_black_hole = False
    run = ended(process)
    if run.returncode:  # a connection that was new in the silence is noticed in 5 s, and given up in 10
        assert_one_line(run, "run_jobs")
    assert "Traceback" not in run.stderr
    life.finish()
    assert statuses() == {"Completed"}


def _counts_in_progress() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM jobs WHERE status = 'inprogress'")
        return "claimed" if cursor.fetchone()[0] else ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_slow_line_slows_a_pass_and_breaks_nothing(command: str, proxy: Proxy, through: Manage) -> None:
    proxy.latency_seconds, proxy.bytes_per_second = 0.005, 10_000
    place(3, ["noop"], ["noop"])
    if command in {"run_jobs", "run_inprogress_requests"}:
        pass_new()
    if command == "run_inprogress_requests":
        pass_jobs()
    process = through.start(command)
    if command == "run_worker":
        until(lambda: statuses() == {"Completed"})
        process.terminate()
    run = ended(process)
    assert (run.returncode, "Traceback" in run.stderr) == (0, False)


def test_a_database_gone_for_good_ends_the_pass_with_one_line_and_its_jobs_are_tried_again(
    proxy: Proxy, through: Manage, life: Life
) -> None:
    place(4, ["sleeps"], params='{"seconds": 0.3}')
    pass_new()
    process = through.start("run_jobs", WRK_DATABASE_AWAY_SECONDS="2")
    until(lambda: "claimed" in _counts_in_progress())
    proxy.refuses = True
    proxy.reset()
    assert_one_line(ended(process), "run_jobs")
    life.finish()
    assert statuses() == {"Completed"}


@pytest.mark.long
def test_in_a_storm_of_resets_no_acknowledged_request_is_lost_and_all_are_completed(
    through: Manage, proxy: Proxy, life: Life
) -> None:
    """Two workers and a writer go through the proxy; what the writer was told is committed must all be there.

    A worker that ends is started again, as by Docker or systemd; it must have ended with one line.
    """
    workers = [through.start("run_worker") for _ in range(2)]
    acknowledged: list[str] = []
    stopped = threading.Event()
    writer = threading.Thread(target=_write, args=(proxy, acknowledged, stopped))
    writer.start()
    until(lambda: len(life.rows("passes")) >= len(workers))
    ends_at = time.monotonic() + (60 if LONG else 5)
    chance = random.Random(4)
    while time.monotonic() < ends_at:
        time.sleep(chance.uniform(0.02, 0.25))
        if chance.random() < 0.3:
            proxy.cut = Cut(b"COMMIT", arrives=chance.random() < 0.7)
        else:
            proxy.reset()
        workers = [_started_again(worker, through) for worker in workers]
    stopped.set()
    writer.join()
    proxy.cut = None
    workers = [_started_again(worker, through) for worker in workers]
    began, ends_at = time.monotonic(), time.monotonic() + 60
    while open_rows := life.open_rows():
        workers = [_started_again(worker, through) for worker in workers]
        assert time.monotonic() < ends_at, open_rows
        time.sleep(0.1)
    lost = sum(1 for row in life.rows("jobs") if row["status"] == "retry")
    drained = f"{len(acknowledged)} requests, {lost} leases lost, drained in {time.monotonic() - began:.1f} s"
    print(drained)  # noqa: T201 - for pytest -s
    assert lost <= 2 + len(acknowledged) // 100, drained  # workers live on, and know what a COMMIT without a reply won
    assert statuses() == {"Completed"}, [row for row in life.rows("requests") if row["status"] != "Completed"]
    for worker in workers:
        worker.terminate()
    for run in map(ended, workers):
        assert (run.returncode, "Traceback" in run.stderr) == (0, False), run.stderr
    tokens = {row["token"] for row in life.rows("requests")}
    assert set(acknowledged) <= tokens
    assert len(acknowledged) > 10


def _started_again(worker: subprocess.Popen[str], through: Manage) -> subprocess.Popen[str]:
    if worker.poll() is None:
        return worker
    run = ended(worker)
    print("a worker ended:", run.stderr.splitlines()[-1])  # noqa: T201 - for pytest -s
    assert (run.returncode, "Traceback" in run.stderr) == (1, False), run.stderr
    return through.start("run_worker")


def _write(proxy: Proxy, acknowledged: list[str], stopped: threading.Event) -> None:
    """Places requests over connections of its own through the proxy; a token is noted once its INSERT was answered."""
    driver: Any = connections["default"]
    parameters = driver.get_connection_params() | {"host": "127.0.0.1", "port": proxy.port}
    parameters.pop("unix_socket", None)
    made_of = steps(["returns_extras", "noop_1"], ["noop_2"])
    number = 0
    while not stopped.is_set():
        with contextlib.suppress(driver.Database.Error):
            raw = driver.Database.connect(**parameters)
            raw.autocommit(True)
            while not stopped.is_set():
                number += 1
                raw.query(
                    f"INSERT INTO requests (token, action, steps) VALUES ('written {number}', 'made up', '{made_of}')"
                )
                acknowledged.append(f"written {number}")
                time.sleep(0.02)


# Every packet --------------------------------------------------------------------------------------------------------
@pytest.mark.long
@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "not even sent"])
@pytest.mark.parametrize("name", PASSES)
def test_whichever_query_the_connection_is_cut_at_the_pass_carries_on(
    name: str, arrives: bool, life: Life, through_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Really every query: also those by which a transaction begins, is rolled back, and a connection set up."""
    monkeypatch.setattr(transactions, "time", HastyClock())
    begun = life.begin_with(name)
    through_proxy.queries = 0
    assert life.run(name) == Ran()
    count, left = through_proxy.queries, life.shape()
    life.finish()
    without = life.ends()
    step = 1 if LONG else max(1, count // 10)
    for number in range(1 + random.Random(name).randrange(step), count + 1, step):
        life.restore(begun)
        through_proxy.queries, through_proxy.cut = 0, Cut(number=number, arrives=arrives)
        life.run(name)
        through_proxy.cut = None
        if life.shape() != left:
            life.finish()
            life.ends().assert_same_as(without)
        assert {word: life.said()[word] for word in life.done()} == life.done(), number


# The services --------------------------------------------------------------------------------------------------------
def refuse(proxy: Proxy) -> None:
    proxy.refuses = True


def swallow(proxy: Proxy) -> None:
    proxy.is_black_hole = True


def crawl(proxy: Proxy) -> None:
    proxy.bytes_per_second = 100


@pytest.mark.parametrize("fault", [refuse, swallow, crawl])
def test_a_service_that_cannot_be_reached_is_tried_again_and_done_once_it_can(
    fault: Callable[[Proxy], None], life: Life, services: Services, settings: Any
) -> None:
    settings.WRK_HTTP_TIMEOUT_SECONDS = 0.5
    host, port = services.urls[0].removeprefix("http://").split(":")
    with Proxy((host, int(port))) as proxy:
        settings.URL_SERVICE1 = f"http://127.0.0.1:{proxy.port}"
        fault(proxy)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO requests (action, params) VALUES ('delete_user', '{\"id\": 7}')")
        assert life.run("run_new_requests") == life.run("run_jobs") == Ran()
        assert [(row["name"], row["status"]) for row in life.rows("jobs")] == [
            ("service1_get_user", "retry"),
            ("service1_get_user", "new"),
        ]
        proxy.refuses = proxy.is_black_hole = False
        proxy.bytes_per_second = None
        proxy.reset()
        life.finish()
    assert statuses() == {"Completed"}
    assert 7 not in services.users(1)


def test_a_slow_service_is_waited_for(life: Life, services: Services, settings: Any) -> None:
    host, port = services.urls[0].removeprefix("http://").split(":")
    with Proxy((host, int(port))) as proxy:
        proxy.latency_seconds, proxy.bytes_per_second = 0.05, 10_000
        settings.URL_SERVICE1 = f"http://127.0.0.1:{proxy.port}"
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO requests (action, params) VALUES ('delete_user', '{\"id\": 7}')")
        life.finish()
    assert statuses() == {"Completed"}
    assert [row["attempt"] for row in life.rows("jobs")] == [1, 1, 1, 1]


@pytest.mark.parametrize("how", [Proxy.reset, Proxy.half_close])
def test_a_call_that_is_cut_in_the_middle_is_tried_again(
    how: Callable[[Proxy], None], life: Life, services: Services, settings: Any
) -> None:
    host, port = services.urls[0].removeprefix("http://").split(":")
    with Proxy((host, int(port))) as proxy:
        settings.URL_SERVICE1 = f"http://127.0.0.1:{proxy.port}"
        proxy.latency_seconds = 0.3
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO requests (action, params) VALUES ('delete_user', '{\"id\": 7}')")
        life.run("run_new_requests")
        cutting = threading.Thread(target=_once_connected, args=(proxy, how))
        cutting.start()
        assert life.run("run_jobs") == Ran()
        cutting.join()
        assert [row["status"] for row in life.rows("jobs")] == ["retry", "new"]
        proxy.latency_seconds = 0.0
        life.finish()
    assert statuses() == {"Completed"}


def _once_connected(proxy: Proxy, how: Callable[[Proxy], None]) -> None:
    until(lambda: proxy.connections > 0)
    how(proxy)


# Placing a request ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", [b"INSERT INTO `requests`"], ids=["the INSERT"])
def test_submit_request_never_says_that_a_request_was_not_placed_when_it_was(
    text: bytes, through: Manage, proxy: Proxy
) -> None:
    """Whoever believes it places the request again, and the operation happens twice."""
    proxy.cut = Cut(text, arrives=True)
    run = through("submit_request", "delete_user", "--params", '{"id": 7}')
    assert proxy.cut.done
    assert statuses() == {"Queuing"}
    assert "could not be placed" not in run.stderr
