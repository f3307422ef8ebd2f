"""What WRK_LIMITS may say, and when its rules give permits: no window sees more than a rate allows."""

import math
import random
from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs_app.limit_rules import LANES_FROM, LimitRule, parse_limits
from tests.chaos.limited import judge

EXAMPLE = "such as: service2 rate=600/m concurrency=8 breaker=5"


# Parsing -------------------------------------------------------------------------------------------------------------
def test_each_limit_has_a_rate_a_concurrency_and_a_breaker_or_some_of_them():
    assert parse_limits("service2 rate=600/m concurrency=8 breaker=5; service3 rate=10/s ;") == {
        "service2": LimitRule("service2", 10.0, 8, 5),
        "service3": LimitRule("service3", 10.0),
    }
    assert parse_limits("") == parse_limits(" ; ") == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("service2", "service2: has neither rate= nor concurrency= nor breaker="),
        *(
            (
                f"service2 rate={rate}",
                f"service2: 'rate={rate}': a whole number a second, a minute or an hour is needed",
            )
            for rate in ("", "10", "0/s", "1.5/s", "10/d", "600/min", "10/s,", "\N{FULLWIDTH DIGIT THREE}/s")
        ),
        ("service2 concurrency=0", "service2: 'concurrency=0': a whole number from 1 to 999999 is needed"),
        ("service2 breaker=-1", "'breaker=-1': a whole number from 1"),
        ("service2 breaker", "'breaker': a whole number from 1"),
        *(
            (
                f"service2 rate=1/s {word}",
                f"service2: {word!r} is none of rate=, concurrency= and breaker=, and a ; begins",
            )
            for word in ("lane=1", "burst=1", "concurency=8", "service3", "=", "name=x")
        ),
        ("service2 breaker=5 breaker=6", "service2: breaker= stands there twice"),
        ("service2 rate=1/s; service2 rate=2/s", "service2 stands there twice"),
        ("plumless rate=1/s; buckeroo rate=2/s", "by chance it has the lane of plumless: rename one"),
        ("rate=10/s", "'rate=10/s' is no name"),
        (f"{'s' * 51} rate=1/s", "is no name: a limit begins with one, of up to 50 characters"),
    ],
)
def test_a_fault_is_named_with_an_example(text: str, fault: str):
    with pytest.raises(ValueError, match="such as") as raised:
        parse_limits(text)
    assert fault in str(raised.value)
    assert str(raised.value).endswith(EXAMPLE)


@given(st.integers(1, 9_999_999), st.sampled_from("smh"), st.none() | st.integers(1, 999_999))
def test_a_rule_is_said_as_it_can_be_set(count: int, unit: str, concurrency: int | None):
    text = f"s rate={count}/{unit}" + (f" concurrency={concurrency}" if concurrency else "")
    rule = parse_limits(text)["s"]
    assert parse_limits(f"s {rule}") == {"s": rule}


def test_a_lane_is_made_of_the_name_alone_and_is_a_whole_second_that_every_engine_has():
    lanes = {LimitRule(f"service{n}", rate=n).lane for n in range(1, 1000)}
    assert len(lanes) == 999
    assert all(lane >= LANES_FROM and lane.year < 9999 and not lane.microsecond for lane in lanes)
    assert LimitRule("service2", rate=1).lane == LimitRule("service2", breaker=9).lane


# GCRA ----------------------------------------------------------------------------------------------------------------
RATES = st.one_of(
    st.integers(1, 300).map(float),
    st.integers(1, 600).map(lambda n: n / 60),
    st.integers(1, 20).map(lambda n: n / 3600),
)
Call = tuple[float, float, int]


def ask(rule: LimitRule, asked: Sequence[tuple[float, float]], draw: random.Random) -> list[Call]:
    """What begins when somebody asks at these moments and takes all that he gets; each begins in time, but late.

    With each moment: for how much longer than `late` these permits may be used. The schedule is kept as by
    `_use_permits`.
    """
    calls, next_at = list[Call](), 0.0
    for now, more in asked:
        permits = rule.permits(next_at - now, more) or 0
        if permits:
            next_at = max(now, next_at) + permits * rule.interval + more
        begins = [now + draw.choice([0.0, draw.random(), 1.0]) * (rule.late + more) for _ in range(permits)]
        calls += [(begin, begin, 200) for begin in begins]
    return sorted(calls)


@given(RATES, st.lists(st.floats(0, 3) | st.floats(0, 0.02), max_size=60), st.randoms(use_true_random=False))
def test_no_window_sees_more_than_the_rate_and_one_seconds_worth(rate: float, steps: list[float], draw: random.Random):
    rule, scale = LimitRule("s", rate=rate), max(1.0, 1 / rate)
    asked = [(now, 0.0) for now in accumulate(step * scale for step in steps)]
    assert judge(ask(rule, asked, draw), rule) == []


@given(
    RATES,
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.0, 0.05, 0.4, 3.0])), max_size=60),
    st.randoms(use_true_random=False),
)
def test_nor_when_some_are_given_for_longer(rate: float, steps: list[tuple[float, float]], draw: random.Random):
    rule, scale = LimitRule("s", rate=rate), max(1.0, 1 / rate)
    asked = [*zip(accumulate(step * scale for step, _ in steps), (more for _, more in steps), strict=True)]
    assert judge(ask(rule, asked, draw), rule) == []


@pytest.mark.parametrize("rate", [1 / 60, 0.5, 1.0, 1.9, 2.0, 3.0, 10.0, 100.0, 1000.0])
def test_who_asks_often_uses_95_percent_of_the_rate(rate: float):
    rule, draw = LimitRule("s", rate=rate), random.Random(1)
    seconds = max(20.0, 40 / rate)
    step = min(0.02, 0.01 / rate) if rate < 2 else 0.02
    calls = ask(rule, [(n * step, 0.0) for n in range(int(seconds / step))], draw)
    assert len(calls) >= 0.95 * rate * seconds - 1


@pytest.mark.parametrize("rate", [1.0, 2.0, 5.0, 100.0])
def test_a_slow_database_makes_it_slow_and_stops_nobody(rate: float):
    rule = LimitRule("s", rate=rate)
    assert rule.permits(-10, slack=4.0) == 1


def test_after_a_pause_a_seconds_worth_begins_at_once_less_what_may_begin_late():
    rule = LimitRule("s", rate=100.0)
    assert rule.permits(-3600) == 75
    assert rule.permits(0.0) == 75
    assert rule.permits(0.70) == 5
    assert rule.permits(0.75) == 0
    assert LimitRule("s", rate=1.0).permits(-3600) == 1
    assert LimitRule("s", rate=1.0).permits(0.0) == 0
    assert LimitRule("s", concurrency=3).permits(-3600) is None


def test_a_time_that_this_rate_does_not_set_does_not_hold():
    """It was 1/h until now, or the database's clock was wrong."""
    rule = LimitRule("s", rate=100.0)
    assert rule.permits(3599.0) == 75
    assert rule.wait_seconds(3599.0) == 0
    slow = LimitRule("s", rate=1 / 3600)
    assert slow.permits(3599.0) == 0
    assert slow.wait_seconds(3599.0) == pytest.approx(3599 + slow.late)


def test_without_a_rate_a_place_is_lost_to_who_can_use_it_and_a_breaker_alone_loses_nothing():
    assert LimitRule("s", concurrency=3).late == 0.25
    assert math.isinf(LimitRule("s", breaker=3).late)
    assert not LimitRule("s", breaker=3).is_paced
