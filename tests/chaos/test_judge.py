"""The storm's judge sees what it is there to see: a judge that finds nothing proves nothing."""

from pathlib import Path

from demo.service import Call
from tests.chaos.judge import AttemptEnd, RequestEnd, lost_requests, repeated, wrong_calls
from tests.chaos.processes import Child

LOST = "the lease ran out: its worker died"


def call(key: str = "t:0:a", attempt: int = 1) -> Call:
    return Call("GET", "/user/1", key, str(attempt), 200)


def end(attempt: int = 1, status: str = "completed", error: str = "", key: str = "t:0:a") -> AttemptEnd:
    return AttemptEnd(key, attempt, status, error)


def child(tmp_path: Path, said: str, ended: int) -> Child:
    log = tmp_path / "log"
    log.write_text(said)
    return Child(1, "run_jobs", log, 0.0, 0.0, ended=ended)


def test_a_call_after_a_lost_lease_is_right():
    calls, attempts = [call(), call(attempt=2)], [end(1, "retry", LOST), end(2)]

    assert list(wrong_calls(calls, attempts)) == []
    assert repeated(calls) == 1


def test_an_attempt_that_was_never_called_after_its_process_died_is_right():
    assert list(wrong_calls([call(attempt=2)], [end(1, "retry", LOST), end(2)])) == []


def test_an_attempt_that_called_twice_is_wrong():
    assert list(wrong_calls([call(), call()], [end()])) == ["t:0:a attempt 1 called 2 times"]


def test_a_repeat_for_any_other_reason_than_a_lost_lease_is_wrong():
    found = list(wrong_calls([call(), call(attempt=2)], [end(1, "retry", "timed out"), end(2)]))

    assert found == ["t:0:a was called again after attempt 1, retry: timed out"]


def test_a_repeat_of_what_was_completed_is_wrong():
    assert len(list(wrong_calls([call(), call(attempt=2)], [end(1), end(2)]))) == 1


def test_a_call_without_a_row_and_a_completed_row_without_a_call_are_wrong():
    assert list(wrong_calls([call("t:0:b")], [end()])) == [
        "t:0:b attempt 1 called and has no row",
        "t:0:a attempt 1 is completed and never called",
    ]


def test_an_acknowledged_request_that_is_gone_or_not_completed_is_wrong():
    found = list(lost_requests(["there", "gone"], [RequestEnd("there", "Failed", "why")]))

    assert found == ["request gone was acknowledged and is gone", "request there is Failed: why"]


def test_a_command_may_end_with_one_clear_line_and_1(tmp_path: Path):
    logged = "2026-01-01T00:00:00.000000Z [warning] job_result_too_late job=a\n"

    assert child(tmp_path, f"{logged}CommandError: run_jobs: the database cannot be used\n", 1).faults() == []
    assert child(tmp_path, "run_jobs claimed=0\n", 0).faults() == []
    assert child(tmp_path, "", -9).faults() == []


def test_a_traceback_a_strange_exit_and_a_silent_one_are_wrong(tmp_path: Path):
    assert "printed a traceback" in child(tmp_path, "Traceback (most recent call last):\n", 1).faults()[0]
    assert "ended with 70" in child(tmp_path, "", 70).faults()[0]
    assert "not with one clear line" in child(tmp_path, "", 1).faults()[0]
