"""The storm's judge sees what it is there to see: a judge that finds nothing proves nothing."""

from dataclasses import replace
from pathlib import Path

from demo.service import Call
from tests.chaos.judge import (
    AnswerEnd,
    AttemptEnd,
    RequestEnd,
    Told,
    lost_requests,
    repeated,
    wrong_answers,
    wrong_calls,
    wrong_ends,
    wrong_notifications,
)
from tests.chaos.processes import Child

LOST = "the lease ran out: its worker died"


def call(key: str = "t:0:a", attempt: int = 1) -> Call:
    return Call("GET", "/user/1", key, str(attempt), 200)


def end(attempt: int = 1, status: str = "completed", error: str = "", key: str = "t:0:a") -> AttemptEnd:
    return AttemptEnd(key, attempt, status, error)


SAYS = "the answer that it waited for: "
WAITS = "t:0:waits_soon"


def waited(status: str = "completed", found: object = "mark", error: str = "", key: str = WAITS) -> AttemptEnd:
    return AttemptEnd(key, 1, status, error, checks=1, found=found)


def answers(*effects: str, outcome: str = "completed", late: bool = False) -> list[AnswerEnd]:
    return [AnswerEnd("mark", outcome, effect, late) for effect in effects]


def child(tmp_path: Path, said: str, ended: int) -> Child:
    log = tmp_path / "log"
    log.write_text(said)
    return Child(1, "run_jobs", log, 0.0, 0.0, ended=ended)


def test_a_call_after_a_lost_lease_is_right():
    calls, attempts = [call(), call(attempt=2)], [end(1, "retry", LOST), end(2)]

    assert list(wrong_calls(calls, attempts)) == []
    assert repeated(calls, attempts) == 1


def test_an_attempt_that_was_never_called_after_its_process_died_is_right():
    assert list(wrong_calls([call(attempt=2)], [end(1, "retry", LOST), end(2)])) == []


def test_an_attempt_that_called_twice_is_wrong():
    assert list(wrong_calls([call(), call()], [end()])) == ["t:0:a attempt 1 called 2 times, and waited 0 times"]


def test_a_repeat_for_any_other_reason_than_a_lost_lease_is_wrong():
    found = list(wrong_calls([call(), call(attempt=2)], [end(1, "retry", "timed out"), end(2)]))

    assert found == [
        "t:0:a attempt 1 was tried again: timed out",
        "t:0:a was called again after attempt 1, retry: timed out",
    ]


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


def test_a_request_of_a_kind_that_fails_must_fail_by_the_job_that_it_is_to_fail_by():
    right = RequestEnd("t", "Failed", "refuses failed: refused", "finished")
    wrong = [replace(right, status="Completed", error=""), replace(right, error="calls_1 failed: refused")]

    assert list(lost_requests([], [right])) == []
    assert len(list(lost_requests([], wrong))) == 2


# Waits and answers ---------------------------------------------------------------------------------------------------
def test_an_attempt_that_waited_is_called_once_for_each_wait_and_once_more_unless_an_answer_ended_it():
    by_its_check = waited(found=1)

    assert list(wrong_calls([call(WAITS)], [waited()])) == []
    assert list(wrong_calls([call(WAITS)] * 2, [by_its_check])) == []
    assert list(wrong_calls([call(WAITS)] * 2, [waited()])) == [f"{WAITS} attempt 1 called 2 times, and waited 1 times"]
    assert repeated([call(WAITS)] * 2, [by_its_check]) == 0
    assert repeated([call(WAITS)] * 2, [waited()]) == 1


def test_only_a_job_that_nobody_answers_may_be_tried_again_for_want_of_an_answer():
    never = [waited("retry", None, "no answer within 1 s", key="t:0:waits_never")]
    soon = [waited("retry", None, "no answer within 1 s")]

    assert list(wrong_calls([call("t:0:waits_never")], never)) == []
    assert list(wrong_calls([call(WAITS)], soon)) == [f"{WAITS} attempt 1 was tried again: no answer within 1 s"]


def test_each_answer_is_taken_or_late_and_the_one_that_was_taken_ended_its_attempt():
    assert list(wrong_answers(["mark"], answers("taken", "late"), [waited()])) == []
    assert list(wrong_answers(["mark"], answers("late", late=True), [])) == []


def test_an_answer_that_is_left_or_gone_or_taken_in_vain_is_wrong():
    assert list(wrong_answers(["gone"], answers(""), [])) == [
        "answer mark is pending",
        "answer gone was acknowledged and is gone",
    ]
    assert list(wrong_answers([], answers("taken"), [])) == ["answer mark, completed, is taken; it ended []"]
    assert len(list(wrong_answers([], answers("taken", outcome="failure"), [waited()]))) == 1
    assert list(wrong_answers([], answers("taken", late=True), [waited()])) == ["answer mark is taken"]


def test_an_attempt_that_no_answer_ended_or_two_did_is_wrong():
    by_none, twice = waited("failure", None, f"{SAYS}failure"), answers("taken", "taken")

    assert len(list(wrong_answers([], [], [by_none]))) == 1
    assert len(list(wrong_answers([], answers("late"), [waited()]))) == 1
    assert len(list(wrong_answers([], twice, [waited()]))) == 1
    assert len(list(wrong_answers([], answers("taken"), [waited(), waited(key="t:1:waits_soon")]))) == 1


def test_a_job_that_ends_otherwise_than_its_kind_allows_a_lost_finding_and_a_wrong_shortfall_are_wrong():
    request = RequestEnd("t", "Completed", "", "short", 1, {"0 calls_1": 1})
    rows = [
        replace(end(key="t:0:calls_1"), found=1),
        replace(end(status="failure", key="t:0:refuses"), if_fails="continue"),
    ]

    assert list(wrong_ends([request], rows)) == []
    assert len(list(wrong_ends([replace(request, shortfall=0)], rows))) == 1
    assert len(list(wrong_ends([replace(request, extras={})], rows))) == 1
    assert len(list(wrong_ends([request], [*rows, end(status="failure", key="t:0:calls_2")]))) == 1
    assert len(list(wrong_ends([request], [*rows, end(status="cancelled", key="t:0:calls_2")]))) == 1
    assert (
        list(wrong_ends([replace(request, kind="stopped")], [*rows, end(status="cancelled", key="t:0:calls_2")])) == []
    )


def test_an_end_that_nobody_was_told_of_that_is_told_twice_or_was_not_sent_is_wrong():
    ended, told, calls = [RequestEnd("t", "Completed", "")], Told("n", "t", "Completed"), [call("n:0:notify")]

    assert list(wrong_notifications(ended, [told], calls)) == []
    assert len(list(wrong_notifications(ended, [], calls))) == 1
    assert len(list(wrong_notifications(ended, [told, told], calls))) == 1
    assert len(list(wrong_notifications(ended, [replace(told, status="Failed")], calls))) == 1
    assert len(list(wrong_notifications(ended, [told], []))) == 1
    assert len(list(wrong_notifications([], [told], calls))) == 1


def test_a_command_may_end_with_one_clear_line_and_1(tmp_path: Path):
    logged = "2026-01-01T00:00:00.000000Z [warning] job_result_too_late job=a\n"

    assert child(tmp_path, f"{logged}CommandError: run_jobs: the database cannot be used\n", 1).faults() == []
    assert child(tmp_path, "run_jobs claimed=0\n", 0).faults() == []
    assert child(tmp_path, "", -9).faults() == []


def test_a_traceback_a_strange_exit_and_a_silent_one_are_wrong(tmp_path: Path):
    assert "printed a traceback" in child(tmp_path, "Traceback (most recent call last):\n", 1).faults()[0]
    assert "ended with 70" in child(tmp_path, "", 70).faults()[0]
    assert "not with one clear line" in child(tmp_path, "", 1).faults()[0]
