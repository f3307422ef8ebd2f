"""What becomes of a transaction that meets a fault of the database."""

import time
from collections.abc import Callable, Iterator
from threading import Thread

import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
)

from jobs_app.db import transactions
from jobs_app.db.faults import Fault, fault_line, sort_fault
from jobs_app.db.transactions import CONTENTION_TRIES, DatabaseAway, run_transaction


class Clock:
    """A clock that only sleeping moves: budgets are used up without waiting."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(transactions, "time", clock)
    return clock


class Closings:
    """Stands for django.db.connections: counts what is closed."""

    vendor = "mysql"

    def __init__(self) -> None:
        self.count = 0

    def __getitem__(self, alias: str) -> "Closings":
        return self

    def close(self) -> None:
        self.count += 1


@pytest.fixture
def closings(monkeypatch: pytest.MonkeyPatch) -> Closings:
    closings = Closings()
    monkeypatch.setattr(transactions, "connections", closings)
    return closings


def raising(*errors: Exception) -> Callable[[], str]:
    """A transaction that meets these errors, one at each run, then is done."""
    left: Iterator[Exception] = iter(errors)

    def work() -> str:
        if error := next(left, None):
            raise error
        return "done"

    return work


@pytest.mark.parametrize("error", [OperationalError(1064, "syntax"), DatabaseError(), ValueError(2006), KeyError()])
def test_anything_else_is_not_run_again(error: Exception, closings: Closings) -> None:
    assert sort_fault(error) is Fault.OTHER
    with pytest.raises(type(error)):
        run_transaction(raising(error), seconds=10)


def test_after_contention_the_transaction_runs_again_on_its_connection(clock: Clock, closings: Closings) -> None:
    work = raising(*[OperationalError(1213, "deadlock")] * (CONTENTION_TRIES - 1))
    assert run_transaction(work) == "done"
    assert closings.count == 0


def test_contention_that_does_not_end_is_told_in_one_line(clock: Clock, closings: Closings) -> None:
    with pytest.raises(DatabaseAway, match=r"^the database cannot be used: dead lock \(error 1213\)$"):
        run_transaction(raising(*[OperationalError(1213, "dead\nlock")] * CONTENTION_TRIES), seconds=1000)


def test_a_fault_that_comes_again_and_again_is_told_once(
    clock: Clock, closings: Closings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    refused, read_only = OperationalError(2003, "refused"), OperationalError(1290, "read only")
    assert run_transaction(raising(*[refused] * 5, *[read_only] * 5), seconds=10) == "done"
    told = [(record.msg["event"], record.msg["fault"]) for record in caplog.records if isinstance(record.msg, dict)]
    assert told == [
        ("transaction_again", "refused (error 2003)"),
        ("transaction_again", "read only (error 1290)"),
    ]


def test_a_lost_connection_is_closed_and_tried_again_within_the_budget(clock: Clock, closings: Closings) -> None:
    began = clock.now
    assert run_transaction(raising(*[OperationalError(2003, "refused")] * 20), seconds=10) == "done"
    assert closings.count == 20
    assert 2 < clock.now - began < 10


def test_the_budget_counts_from_the_first_loss_not_from_the_beginning(clock: Clock, closings: Closings) -> None:
    """A server that went silent is noticed after the read's timeout, which is longer than the budget."""
    answers = raising(OperationalError(2013, "read timed out"))

    def silent() -> str:
        clock.sleep(30)
        return answers()

    assert run_transaction(silent, seconds=10) == "done"


def test_a_loss_beyond_the_budget_is_told_in_one_line(clock: Clock, closings: Closings) -> None:
    began = clock.now
    with pytest.raises(DatabaseAway, match=r"^the database cannot be used: refused \(error 2003\)$"):
        run_transaction(raising(*[OperationalError(2003, "refused")] * 1000), seconds=10)
    assert 9 < clock.now - began < 11


def test_a_connection_given_up_is_closed_so_that_the_next_statement_has_a_new_one(closings: Closings) -> None:
    with pytest.raises(DatabaseAway):
        run_transaction(raising(OperationalError(2013, "lost")))
    assert closings.count == 1


def test_a_connection_that_the_driver_has_closed_already_is_given_up_all_the_same(
    clock: Clock, closings: Closings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close() -> None:
        raise OperationalError(2006, "")

    monkeypatch.setattr(closings, "close", close)
    assert run_transaction(raising(OperationalError(2013, "lost")), seconds=10) == "done"


def test_a_failover_does_not_use_up_the_tries_for_the_contention_after_it(clock: Clock, closings: Closings) -> None:
    lost, locked = OperationalError(1047, "no quorum"), OperationalError(1213, "deadlock")
    assert run_transaction(raising(*[lost] * (2 * CONTENTION_TRIES), locked), seconds=60) == "done"


def test_a_data_error_is_not_run_again_and_its_line_quotes_no_row(closings: Closings) -> None:
    with pytest.raises(IntegrityError) as raised:
        run_transaction(raising(IntegrityError(1062, "Duplicate entry 'ann@example.com'")), seconds=10)
    assert fault_line(raised.value) == "error 1062"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite, which has one writer at a time")
def test_threads_of_a_process_take_turns_at_sqlite() -> None:
    """Else all but one would sleep for up to 100 ms and look again."""
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.02)
        inside -= 1

    threads = [Thread(target=run_transaction, args=(work,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
