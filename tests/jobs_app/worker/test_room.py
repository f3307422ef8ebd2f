"""How many more jobs a process takes on, and with how many recorders."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs_app.worker.executor import Pool
from jobs_app.worker.pace import Pace
from jobs_app.worker.room import Room
from jobs_app.worker.seats import Seats

SetPace = Callable[[float], None]


@pytest.fixture
def set_pace(monkeypatch: pytest.MonkeyPatch) -> SetPace:
    return lambda pace: monkeypatch.setattr(Pace, "per_second", lambda *_: pace)


@pytest.fixture
def pool() -> Pool:
    return Pool(concurrency=32, recorders=2)


@pytest.mark.parametrize(
    ("pace", "held", "recorded_now", "to_claim", "to_insert"),
    [
        (0.0, 0, 1, 32, 33),  # the slots
        (0.0, 32, 32, 0, 32),
        (1_000.0, 0, 1, 72, 173),  # and what ends in 40 ms; in 140
        (1_000.0, 60, 60, 0, 172),  # 12 more are not worth a commit: in 20 ms there are 20
        (1_000.0, 50, 10, 22, 132),
        (20_000.0, 500, 500, 332, 2832),
        (20_000.0, 3200, 500, 0, 132),
        (20_000.0, 4000, 500, 0, 0),
        (1_000_000.0, 500, 500, 500, 4000),  # a batch, and eight
    ],
)
def test_there_is_room_for_what_ends_soon(
    set_pace: SetPace, pool: Pool, pace: float, held: int, recorded_now: int, to_claim: int, to_insert: int
) -> None:
    set_pace(pace)
    pool.unrecorded.update(range(held))
    room = Room(pool, None)
    assert (room.to_claim(), room.to_insert(replacing=recorded_now)) == (to_claim, to_insert)


@pytest.mark.parametrize(("pace", "most_ended"), [(0.0, 282), (4_000.0, 282), (20_000.0, 1032)])
def test_as_many_ends_may_wait_as_are_recorded_in_50_ms_or_a_few(
    set_pace: SetPace, pool: Pool, pace: float, most_ended: int
) -> None:
    set_pace(pace)
    Room(pool, None).to_claim()
    assert pool.most_ended == most_ended


def test_a_pool_whose_threads_are_all_lost_has_no_room(pool: Pool) -> None:
    pool.lost_threads = 32
    room = Room(pool, None)
    assert (room.to_claim(), room.to_begin(), room.to_insert(replacing=5)) == (0, 0, 0)


@pytest.mark.parametrize(("pace", "alone", "beside_another"), [(8_000.0, 1, 1), (10_000.0, 2, 1)])
def test_a_second_recorder_serves_a_fast_process_that_has_its_processors_for_itself(
    set_pace: SetPace, pool: Pool, tmp_path: Path, pace: float, alone: int, beside_another: int
) -> None:
    set_pace(pace)
    seats, others = (Seats(tmp_path, 2, lambda: False) for _ in range(2))
    room = Room(pool, seats)
    for recorders in (alone, beside_another):
        assert room.may_take()
        room.to_claim()
        assert pool.recorders == recorders
        others.may_take()
