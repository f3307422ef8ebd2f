"""How results are gathered into batches. No table is read or written."""

from queue import SimpleQueue
from threading import Timer

import pytest

from jobs_app.models.attempts import ClaimedJob, JobStatus, Result
from jobs_app.worker import completer
from jobs_app.worker.completer import collect


def result(number: int, error: str = "") -> Result:
    return Result(ClaimedJob(number, 1, 0, "noop", 1, 10, "claim"), JobStatus.COMPLETED, error)


@pytest.fixture
def results() -> "SimpleQueue[Result | None]":
    return SimpleQueue()


def test_what_has_ended_is_one_batch(results: "SimpleQueue[Result | None]") -> None:
    for number in range(3):
        results.put(result(number))
    assert [one.job.id for one in collect(results, owned=()) or ()] == [0, 1, 2]


def test_a_batch_waits_a_moment_for_jobs_that_run(
    results: "SimpleQueue[Result | None]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completer, "_LINGER_SECONDS", 10)
    running = [1]
    results.put(result(0))

    def ends() -> None:
        results.put(result(1))
        running.clear()

    Timer(0.05, ends).start()
    assert len(collect(results, running) or ()) == 2


def test_a_batch_does_not_wait_long_for_a_job_that_takes_its_time(results: "SimpleQueue[Result | None]") -> None:
    results.put(result(0))
    assert len(collect(results, owned=["runs on"]) or ()) == 1


@pytest.mark.parametrize(("limit", "value"), [("BATCH", 2), ("_BATCH_CHARACTERS", 15)])
def test_a_batch_is_no_larger_than_one_transaction_bears(
    results: "SimpleQueue[Result | None]", monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(completer, limit, value)
    for number in range(3):
        results.put(result(number, "ten letter"))
    assert [len(collect(results, ()) or ()) for _ in range(2)] == [2, 1]


def test_at_the_end_what_is_left_is_a_batch_and_then_all_is_over(results: "SimpleQueue[Result | None]") -> None:
    results.put(result(0))
    results.put(None)
    assert len(collect(results, ["runs on"]) or ()) == 1
    assert collect(results, ()) is None


def test_after_a_wait_without_results_the_batch_is_empty(results: "SimpleQueue[Result | None]") -> None:
    assert collect(results, (), wait_seconds=0.01) == []
