"""What judges the log of a service behind a limit sees what it is there to see."""

import pytest

from jobs_app.limit_rules import LimitRule
from tests.chaos.limited import Call, judge, judge_outage, most_at_once, used

RULE = LimitRule("s", rate=10.0, concurrency=3, breaker=2)


def calls(*came: float, seconds: float = 0.01, status: int = 200) -> list[Call]:
    return [(moment, moment + seconds, status) for moment in came]


def test_a_seconds_worth_at_once_and_then_the_rate_is_right():
    assert judge(calls(*[5.0] * 10, *(5.1 + n / 10 for n in range(20)), seconds=0), RULE) == []


@pytest.mark.parametrize(
    "came",
    [
        [5.0] * 11,
        [5.0] * 10 + [5.05],
        [n / 10 for n in range(50)] + [5.0] * 11,
        [0.0, *(50 + n / 30 for n in range(30))],
    ],
)
def test_a_window_with_more_is_wrong(came: list[float]):
    assert "calls more than" in judge(calls(*sorted(came), seconds=0), LimitRule("s", rate=10.0))[0]


def test_more_at_once_than_the_concurrency_is_wrong():
    assert judge(calls(1.0, 2.0, 3.0, seconds=5), RULE) == []
    assert judge(calls(1.0, 2.0, 3.0, 4.0, seconds=5), RULE) == [f"4 calls at once: {RULE}"]


def test_one_that_came_as_another_was_answered_is_not_at_once():
    assert most_at_once([(1.0, 2.0, 200), (2.0, 3.0, 200)]) == 1


def test_how_much_of_the_rate_was_used():
    assert used(calls(*(n / 10 for n in range(11))), RULE) == pytest.approx(1.0)
    assert used(calls(*(n / 5 for n in range(11))), RULE) == pytest.approx(0.5)
    assert used([], RULE) == 0


DOWN = calls(10.0, 10.1, 10.2, 10.4, status=503)


def test_an_outage_in_which_only_probes_call_is_right():
    log = [*calls(9.0), *DOWN, *calls(12.2, 16.3, 24.4, status=503), *calls(40.5)]
    assert judge_outage(log, RULE, 2.0) == []


def test_whoever_calls_while_it_is_open_is_wrong():
    for early in (11.8, 15.0):
        log = [*DOWN, *calls(early, 12.2, 16.3, status=503)]
        assert "a probe came after" in judge_outage(log, RULE, 2.0)[0]


def test_a_breaker_that_does_not_open_is_wrong():
    log = calls(*(10 + n / 10 for n in range(100)), status=503)
    assert "calls until the breaker was open" in judge_outage(log, RULE, 2.0)[0]
    assert judge_outage(calls(1.0, 2.0), RULE, 2.0) == [f"the service was silent 0 times: {RULE}"]
