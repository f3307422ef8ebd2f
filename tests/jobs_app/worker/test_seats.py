"""Which processes of one machine take on new work while its processors are short."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs_app.worker.seats import IdleTime, Seats

SITS = """
import sys, time
from pathlib import Path
from jobs_app.worker.seats import Seats
print(Seats(Path(sys.argv[1]), 1, lambda: False).may_take(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that it is, in seconds, to be set."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def come(tmp_path: Path) -> Callable[..., Seats]:
    """One more process of this machine; its processors are short."""
    return lambda count=2, has_idle_time=lambda: False: Seats(tmp_path / "seats", count, has_idle_time)


def test_as_many_take_on_work_as_there_are_seats(come: Callable[..., Seats]) -> None:
    processes = [come() for _ in range(4)]
    assert [one.may_take() for one in processes] == [True, True, False, False]
    assert [one.may_take() for one in processes] == [True, True, False, False]


def test_everybody_does_while_a_processor_idles(come: Callable[..., Seats]) -> None:
    processes = [come(has_idle_time=lambda: True) for _ in range(4)]
    assert [one.may_take() for one in processes] == [True] * 4


def test_who_sits_beside_another_shares_the_processors_while_they_are_short(
    come: Callable[..., Seats], clock: list[float]
) -> None:
    first, second = come(), come()
    first.may_take()
    assert first.shares is False
    second.may_take()
    first.may_take()
    assert (first.shares, second.shares) == (True, True)
    idle = come(has_idle_time=lambda: True)
    idle.may_take()
    assert idle.shares is False
    clock[0] += 0.2
    for one in (second, idle):
        one.leave_if_idle()
    first.may_take()
    assert first.shares is False


def test_who_has_the_only_seat_shares_the_processors_with_those_that_wait(
    come: Callable[..., Seats], clock: list[float]
) -> None:
    """Else it would record with two threads in the moments between one that leaves its seat and the next."""
    only, waits = come(1), come(1)
    said = []
    for turn in (lambda: None, waits.may_take, waits.leave_if_idle):
        turn()
        only.may_take()
        said.append(only.shares)
        clock[0] += 0.2
    assert said == [False, True, False]


def test_a_seat_is_kept_while_nobody_waits_for_it(come: Callable[..., Seats], clock: list[float]) -> None:
    only = come(1)
    for _ in range(5):
        assert only.may_take()
        clock[0] += 4.5
    assert come(1).may_take() is False


def test_who_waits_gets_a_seat_that_another_had_for_four_seconds(
    come: Callable[..., Seats], clock: list[float]
) -> None:
    first, second = come(1), come(1)
    assert (first.may_take(), second.may_take()) == (True, False)
    clock[0] += 3.9
    assert (first.may_take(), second.may_take()) == (True, False)
    clock[0] += 0.2
    assert (first.may_take(), second.may_take()) == (False, True)
    clock[0] += 0.2  # and the first waits now
    assert (first.may_take(), second.may_take()) == (False, True)
    assert (first.turned_away, second.turned_away) == (True, False)
    clock[0] += 4
    assert (second.may_take(), first.may_take()) == (False, True)


def test_who_has_nothing_to_take_keeps_no_seat_and_waits_for_none(
    come: Callable[..., Seats], clock: list[float]
) -> None:
    first, second, third = come(1), come(1), come(1)
    assert (first.may_take(), second.may_take()) == (True, False)
    clock[0] += 0.05
    first.leave_if_idle()
    assert third.may_take() is False
    clock[0] += 0.1
    for one in (first, second):
        one.leave_if_idle()
    assert third.may_take() is True
    clock[0] += 5
    assert third.may_take() is True  # nobody waits any more


def test_the_seat_of_a_process_that_is_killed_is_free(come: Callable[..., Seats], tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", SITS, str(tmp_path / "seats")], stdout=subprocess.PIPE, text=True)
    assert other.stdout
    assert other.stdout.readline() == "True\n"
    assert come(1).may_take() is False
    other.kill()
    other.communicate()
    assert come(1).may_take() is True


def test_a_seat_is_free_again_after_the_run_that_had_it(come: Callable[..., Seats]) -> None:
    for _ in range(2):
        with come(1) as seats:
            assert seats.may_take() is True


def test_where_no_seats_can_be_made_everybody_takes_on_work(tmp_path: Path) -> None:
    (tmp_path / "seats").write_text("not a folder")
    assert [Seats(tmp_path / "seats", 1, lambda: False).may_take() for _ in range(2)] == [True, True]


def test_a_folder_that_is_not_ours_holds_no_seats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    another = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: another)
    assert [Seats(tmp_path, 1, lambda: False).may_take() for _ in range(2)] == [True, True]
    monkeypatch.undo()
    (tmp_path / "link").symlink_to(tmp_path)
    assert [Seats(tmp_path / "link", 1, lambda: False).may_take() for _ in range(2)] == [True, True]


def test_who_is_turned_away_for_long_takes_on_work_all_the_same(come: Callable[..., Seats], clock: list[float]) -> None:
    """The one that sits is frozen: it neither works nor leaves."""
    frozen, other = come(1), come(1)
    assert frozen.may_take()
    turned_away = 0
    while not other.may_take():
        turned_away += 1
        other.leave_if_idle()
        clock[0] += 0.09
    assert turned_away == pytest.approx(20 / 0.09, abs=2)
    assert other.may_take()


def test_a_link_that_somebody_put_in_the_place_of_a_seat_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "seats").mkdir()
    (tmp_path / "seats" / "waiting").symlink_to(tmp_path / "elsewhere")
    assert Seats(tmp_path / "seats", 1, lambda: False).may_take()
    assert not (tmp_path / "elsewhere").exists()


# cpu user nice system idle iowait irq softirq steal
@pytest.mark.parametrize(
    ("then", "had_idle_time"),
    [
        ("cpu 1060 0 100 139 1 0 0 0 0 0", True),  # of 100 ticks 39 idle and 1 waiting for the disk
        ("cpu 1061 0 100 138 1 0 0 0 0 0", False),
        ("cpu 1000 0 100 100 0 0 0 90 0 0", False),  # stolen by another guest of the same host
        ("cpu 1000 0 100 100 0 0 0 0 0 0", True),  # no time has passed
        ("nonsense", True),
    ],
)
def test_idle_time_is_what_the_kernel_counted_since_the_last_sample(
    tmp_path: Path, clock: list[float], then: str, had_idle_time: bool
) -> None:
    file = tmp_path / "stat"
    file.write_text("cpu 1000 0 100 100 0 0 0 0 0 0\ncpu0 1 1 1 1\n")
    had_time = IdleTime(file)
    file.write_text(f"{then}\n")
    clock[0] += 0.05
    assert had_time() is True  # not yet
    clock[0] += 0.06
    assert had_time() is had_idle_time
    clock[0] += 0.2
    assert had_time() is True  # what was told is over


def test_a_machine_that_does_not_tell_is_taken_for_idle(tmp_path: Path, clock: list[float]) -> None:
    had_time = IdleTime(tmp_path / "none")
    clock[0] += 1
    assert had_time() is True


def test_this_machine_tells(clock: list[float]) -> None:
    idle, all_ = IdleTime()._read()
    if not all_:
        pytest.skip("no /proc/stat here")
    assert all_ > idle > 0
