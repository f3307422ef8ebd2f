"""Where a request goes from its current step: a table, without any database."""

from itertools import permutations

import pytest

from jobs_app.models.attempts import Attempt
from jobs_app.printable import first_line
from requests_app.recipes import Step
from requests_app.recipes.progress import Advance, Complete, Fail, Stay, decide

STEPS = (Step("first", ("a", "b")), Step("second", ("c",)))
A, B = Attempt("a", 1, "completed"), Attempt("b", 1, "completed")


def failed(name: str, if_fails: str) -> Attempt:
    return Attempt(name, 1, "failure", f"{name} said no\nTraceback", if_fails)


@pytest.mark.parametrize(
    ("attempts", "step", "decision"),
    [
        ([A, B], 0, Advance(("c",))),
        ([Attempt("c", 1, "completed")], 1, Complete()),
        ([A, Attempt("b", 1, "new")], 0, Stay()),
        ([A, Attempt("b", 1, "inprogress")], 0, Stay()),
        ([A, Attempt("b", 1, "failure", "no\nTraceback")], 0, Fail("b failed: no")),
        ([A, Attempt("b", 1, "failure", "no"), Attempt("b", 2, "completed")], 0, Advance(("c",))),
        ([A, Attempt("b", 1, "retry"), Attempt("b", 2, "failure", "gave up")], 0, Fail("b failed: gave up")),
        ([A, Attempt("b", 1, "failure", "no"), Attempt("b", 2, "new")], 0, Stay()),
        ([Attempt("a", 1, "inprogress"), Attempt("b", 1, "failure", "no")], 0, Stay()),
        ([Attempt("a", 1, "cancelled"), Attempt("b", 1, "failure", "no")], 0, Fail("b failed: no")),
        ([A, Attempt("b", 1, "failure")], 0, Fail("b failed: no reason given")),
        # How far a failure reaches.
        ([A, failed("b", "finish")], 0, Fail("b failed: b said no")),
        ([A, failed("b", "finish"), Attempt("b", 2, "new", "", "finish")], 0, Stay()),
        ([Attempt("a", 1, "inprogress"), failed("b", "finish")], 0, Stay()),
        ([Attempt("a", 1, "new"), failed("b", "continue")], 0, Stay()),
        ([A, failed("b", "continue")], 0, Advance(("c",), 1)),
        ([failed("a", "continue"), failed("b", "continue")], 0, Advance(("c",), 2)),
        ([A, failed("b", "continue"), Attempt("b", 2, "completed", "", "continue")], 0, Advance(("c",))),
        ([failed("c", "continue")], 1, Complete(1)),
        ([failed("a", "continue"), failed("b", "stop")], 0, Fail("b failed: b said no")),
        ([failed("a", "continue"), failed("b", "finish")], 0, Fail("b failed: b said no")),
        (
            [failed("a", "finish"), failed("b", "stop")],
            0,
            Fail("b failed (as did a): b said no\na failed: a said no"),
        ),
        (
            [failed("z", "stop"), failed("a", "finish"), failed("b", "finish")],
            0,
            Fail("z failed (as did a, b): z said no\na failed: a said no\nb failed: b said no"),
        ),
    ],
)
def test_the_latest_attempt_of_every_job_decides(attempts: list[Attempt], step: int, decision: object) -> None:
    for order in permutations(attempts):
        assert decide(STEPS, step, order) == decision


@pytest.mark.parametrize(
    ("attempts", "step", "reason"),
    [
        ([A], 0, "step 0 has no row for its job b"),
        ([], 0, "step 0 has no row for its job a"),
        ([A, Attempt("b", 1, "retry")], 0, "the latest attempt of b is retry and nothing follows it"),
        ([A, Attempt("b", 1, "cancelled")], 0, "the latest attempt of b is cancelled and nothing follows it"),
        (
            [Attempt("a", 1, "cancelled"), failed("b", "continue")],
            0,
            "the latest attempt of a is cancelled and nothing follows it",
        ),
        ([A, B], 2, "step 2 is not one of its 2 steps"),
        ([A, B], -1, "step -1 is not one of its 2 steps"),
    ],
)
def test_what_does_not_add_up_is_left_alone_and_said(attempts: list[Attempt], step: int, reason: str) -> None:
    assert decide(STEPS, step, attempts) == Stay(reason)


def test_ten_attempts_are_later_than_nine() -> None:
    attempts = [Attempt("c", number, "retry") for number in range(1, 10)] + [Attempt("c", 10, "completed")]
    assert decide(STEPS, 1, reversed(attempts)) == Complete()


def test_a_first_line_is_one_line_and_bounded() -> None:
    assert first_line("no\nTraceback") == "no"
    assert first_line("") == first_line("  \nTraceback") == "no reason given"
    assert len(first_line("x" * 10_000)) == 500
