"""Clocks that are wrong: due times, leases and backoff are by the database's clock, whatever a machine's says."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections

from jobs_app.db.dialect import database_now
from tests.conftest import Manage
from tests.factories import pass_new
from tests.faults.life import Life, steps
from tests.faults.wrong_clock import WrongClock

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

TEN_MINUTES = 600
AHEAD_OR_BEHIND = pytest.mark.parametrize("shift", [TEN_MINUTES, -TEN_MINUTES], ids=["ahead", "behind"])


@pytest.fixture
def wrong(manage: Manage, tmp_path: Path) -> "Machines":
    return Machines(manage, tmp_path)


class Machines:
    """Commands on machines whose clocks are wrong."""

    def __init__(self, manage: Manage, folder: Path) -> None:
        self._manage, self._folder = manage, folder
        self._clocks: dict[int, WrongClock] = {}

    def clock(self, shift: int) -> WrongClock:
        if shift not in self._clocks:
            self._clocks[shift] = WrongClock(self._folder / f"clock{shift}", shift)
        return self._clocks[shift]

    def start(self, shift: int, *arguments: str) -> Any:
        return self._manage.start(*arguments, **self.clock(shift).environment())

    def run(self, shift: int, *arguments: str) -> str:
        """What it printed; it has to end well."""
        return _said(self.start(shift, *arguments))

    def complete_all(self, shift: int, life: Life) -> None:
        """By a worker that is told to stop when all requests are completed."""
        worker = self.start(shift, "run_worker")
        until_completed(life)
        worker.terminate()
        _said(worker)


def _said(process: Any) -> str:
    stdout, stderr = process.communicate(timeout=60)
    assert "Error" not in stderr, stderr
    return str(stdout)


def place(*jobs_of_steps: list[str], params: str = "{}", token: str | None = None, due_in: float = 0) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO requests (token, action, params, steps, due_at) VALUES (%s, 'made up', %s, "
            "%s, UTC_TIMESTAMP(6) + INTERVAL %s SECOND)",
            [token or str(uuid4()), params, steps(*jobs_of_steps), due_in],
        )


def assert_none_early(life: Life) -> None:
    due = {row["id"]: row["due_at"] for row in life.rows("requests")}
    for row in life.rows("requests"):
        assert row["started_at"] is None or row["started_at"] >= row["due_at"]
    for row in life.rows("jobs"):
        assert row["due_at"] >= due[row["request_id"]]
        assert row["started_at"] is None or row["started_at"] >= row["due_at"]


def until_completed(life: Life, tokens: set[str] | None = None, *, seconds: float = 20) -> None:
    """All requests, or those of these tokens."""
    ends_at = time.monotonic() + seconds
    while open_ones := [
        row["token"]
        for row in life.rows("requests")
        if row["status"] != "Completed" and (tokens is None or row["token"] in tokens)
    ]:
        assert time.monotonic() < ends_at, (open_ones, life.rows("jobs"))
        time.sleep(0.05)


@AHEAD_OR_BEHIND
def test_the_wrong_clock_of_these_tests_is_wrong_and_its_monotonic_clock_is_not(wrong: Machines, shift: int) -> None:
    program = "import time; time.sleep(0.1); print(time.time(), time.monotonic())"
    wall, monotonic = map(float, wrong.run(shift, "shell", "--no-imports", "-c", program).split())
    assert abs(wall - time.time() - shift) < 30
    assert abs(monotonic - time.monotonic()) < 30


@AHEAD_OR_BEHIND
def test_a_request_is_picked_up_when_it_is_due_by_the_databases_clock(wrong: Machines, life: Life, shift: int) -> None:
    place(["noop"], token="now")
    place(["noop"], token="in five minutes", due_in=300)
    place(["noop"], token="five minutes ago", due_in=-300)
    assert wrong.run(shift, "run_new_requests").startswith("run_new_requests started=2 ")
    statuses = {row["token"]: row["status"] for row in life.rows("requests")}
    assert statuses == {"now": "Inprogress", "in five minutes": "Queuing", "five minutes ago": "Inprogress"}
    assert wrong.run(shift, "run_jobs").startswith("run_jobs claimed=2 completed=2 ")
    assert_none_early(life)


@AHEAD_OR_BEHIND
def test_all_times_in_the_tables_are_the_databases(wrong: Machines, life: Life, shift: int) -> None:
    place(["retries", "noop"], ["noop_1"], params='{"succeed_at": 2, "after": 0}')
    began = database_now().replace(tzinfo=None)
    wrong.run(shift, "submit_request", "delete_user", "--params", '{"id": 7}')
    wrong.complete_all(shift, life)
    ended = database_now().replace(tzinfo=None)
    for table in ("requests", "jobs", "passes"):
        for row in life.rows(table):
            for column, value in row.items():
                if isinstance(value, datetime):
                    assert began - timedelta(seconds=2) <= value <= ended + timedelta(seconds=2), (table, column)


@AHEAD_OR_BEHIND
def test_backoff_lasts_as_long_as_was_asked_on_a_machine_whose_clock_is_wrong(
    wrong: Machines, life: Life, shift: int
) -> None:
    place(["retries"], params='{"succeed_at": 2, "after": 1.5}')
    wrong.complete_all(shift, life)
    first, second = life.rows("jobs")
    assert timedelta(seconds=1.4) < second["due_at"] - first["completed_at"] < timedelta(seconds=1.6)
    assert timedelta() <= second["started_at"] - second["due_at"] < timedelta(seconds=1)
    assert_none_early(life)


def test_two_workers_twenty_minutes_apart_claim_nothing_twice_and_leave_nothing(
    wrong: Machines, life: Life, record_file: Path
) -> None:
    """Jobs run longer than a third of their lease, so that leases are renewed under the other's eyes."""
    for number in range(8):
        place(["records_1", "records_2"], ["records_3"], params='{"seconds": 1.6}', token=f"request {number}")
    workers = [wrong.start(shift, "run_worker", "--concurrency", "4") for shift in (TEN_MINUTES, -TEN_MINUTES)]
    until_completed(life, seconds=40)
    for worker in workers:
        worker.terminate()
    assert [worker.wait(30) for worker in workers] == [0, 0]
    calls = [line.split(" ")[:-1] for line in record_file.read_text().splitlines()]
    assert set(Counter(map(tuple, calls)).values()) == {1}
    assert len(calls) == 24
    assert {row["attempt"] for row in life.rows("jobs")} == {1}
    assert len({line.split(" ")[-1] for line in record_file.read_text().splitlines()}) == 2, "both took part"
    assert_none_early(life)


@AHEAD_OR_BEHIND
def test_a_lease_that_is_not_over_by_the_databases_clock_is_nobodys(wrong: Machines, life: Life, shift: int) -> None:
    place(["noop", "noop_1"])
    pass_new()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs SET status = 'inprogress', claimed_by = name, started_at = UTC_TIMESTAMP(6), lease_until = "
            "UTC_TIMESTAMP(6) + INTERVAL (CASE name WHEN 'noop' THEN 60 ELSE -60 END) SECOND"
        )
    assert wrong.run(shift, "run_jobs").startswith("run_jobs claimed=0 completed=0 retry=1 ")
    assert [(row["name"], row["status"]) for row in life.rows("jobs") if row["attempt"] == 1] == [
        ("noop", "inprogress"),
        ("noop_1", "retry"),
    ]


@pytest.mark.parametrize(("before", "after"), [(TEN_MINUTES, -TEN_MINUTES), (0, -3600), (-TEN_MINUTES, TEN_MINUTES)])
def test_a_clock_that_jumps_during_a_pass_makes_no_job_early_and_none_stuck(
    before: int, after: int, wrong: Machines, life: Life, record_file: Path
) -> None:
    place(["records_1"], ["noop"], params='{"seconds": 1.8}', token="runs")
    place(["sleeps"], params='{"seconds": 60}', token="hangs")
    place(["retries"], params='{"succeed_at": 2, "after": 1.5}', token="retries")
    place(["noop"], token="later", due_in=2.5)
    worker = wrong.start(before, "run_worker")
    ends_at = time.monotonic() + 20
    while not record_file.read_text():
        assert time.monotonic() < ends_at
        time.sleep(0.02)
    wrong.clock(before).set(after)
    until_completed(life, {"runs", "retries", "later"}, seconds=15)
    assert len(record_file.read_text().splitlines()) == 1
    while (hung := [row for row in life.rows("jobs") if row["name"] == "sleeps"])[0]["status"] == "inprogress":
        assert time.monotonic() < ends_at
        time.sleep(0.05)
    assert hung[0]["error"].startswith("timed out after 2 seconds")
    assert timedelta(seconds=2) <= hung[0]["completed_at"] - hung[0]["started_at"] < timedelta(seconds=3.5)
    assert_none_early(life)
    worker.kill()


@pytest.mark.parametrize("zone", ["+13:00", "-11:00", "+05:45", "SYSTEM"])
def test_a_session_in_any_time_zone_places_a_request_that_is_due_at_once(zone: str, life: Life) -> None:
    other = connections["default"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SET time_zone = %s", [zone])
            cursor.execute(
                "INSERT INTO requests (action, steps) VALUES ('made up', %s)", [steps(["noop"], ["finds_1"])]
            )
    finally:
        other.close()
    (row,) = life.rows("requests")
    assert row["due_at"] == row["created_at"]
    assert abs(row["due_at"].replace(tzinfo=UTC) - database_now()) < timedelta(seconds=5)
    life.run("run_worker", max_seconds=0.5)
    until_completed(life, seconds=1)
    assert_none_early(life)
