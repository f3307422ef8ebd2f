"""The pace: what the room for more jobs is reckoned from."""

import time

import pytest

from jobs_app.worker.pace import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that it is, in seconds, to be set."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_it_comes_near_to_what_ends_and_leaps_from_idleness(clock: list[float]) -> None:
    pace, ended, said = Pace(), 0, []
    for more in (100, 200, 200, 200, 1000, 0, 0, 0, 0, 200):
        clock[0] += 0.1
        ended += more
        said.append(round(pace.per_second(ended)))
    assert said == [1000, 1632, 1865, 1950, 7039, 2589, 953, 0, 0, 2000]


def test_a_batch_that_is_recorded_within_one_look_does_not_throw_it_off(clock: list[float]) -> None:
    """500 ends every 50 ms, asked for every 25 ms: now none and now twice as many as there are."""
    pace, ended, said = Pace(), 0, []
    for look in range(80):
        clock[0] += 0.025
        ended += 500 * (look % 2)
        said.append(pace.per_second(ended))
    assert all(8_000 < one < 12_500 for one in said[40:])


def test_a_moment_is_too_short_to_tell(clock: list[float]) -> None:
    pace = Pace()
    clock[0] += 0.1
    assert pace.per_second(100) == pytest.approx(1000)
    clock[0] += 0.001
    assert pace.per_second(200) == pytest.approx(1000)


def test_it_falls_when_nothing_ends(clock: list[float]) -> None:
    pace = Pace()
    clock[0] += 0.1
    pace.per_second(100)
    for _ in range(12):
        clock[0] += 0.1
        pace.per_second(100)
    assert pace.per_second(100) < 1
