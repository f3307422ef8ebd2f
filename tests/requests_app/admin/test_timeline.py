"""The timeline's geometry: moments to coordinates. No database: rows that were never saved."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from jobs_app.limit_rules import LimitRule
from jobs_app.models import Job
from requests_app.admin.time_axis import Axis
from requests_app.admin.timeline import GUTTER, MARGIN, WIDTH, AttemptShape, Timeline, timeline
from requests_app.models import Request

BEGIN = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def request(status: str = "Inprogress", ended: float | None = None, started: float | None = 10) -> Request:
    return Request(
        status=status,
        created_at=BEGIN,
        due_at=BEGIN,
        started_at=None if started is None else at(started),
        completed_at=None if ended is None else at(ended),
    )


def job(
    status: str, *moments: float | None, name: str = "a", attempt: int = 1, step: int = 0, if_fails: str = "stop"
) -> Job:
    """`moments`: created, due, started, completed, in seconds."""
    created, due, started, completed = (None if moment is None else at(moment) for moment in (*moments, None, None)[:4])
    values: dict[str, Any] = {"created_at": created, "due_at": due, "started_at": started, "completed_at": completed}
    return Job(status=status, name=name, attempt=attempt, step=step, if_fails=if_fails, **values)


def drawn(*jobs: Job, steps: tuple[str, ...] = ("first",), now: float = 100, **of_request: Any) -> Timeline:
    return timeline(request(**of_request), jobs, steps, at(now))


def only(picture: Timeline) -> AttemptShape:
    (attempt,) = picture.bands[1].tracks[0].attempts
    return attempt


def test_an_attempt_is_a_backoff_a_wait_a_run_and_the_mark_of_its_end() -> None:
    attempt = only(drawn(job("completed", 10, 30, 50, 90), ended=100, status="Completed"))
    assert attempt.backoff
    assert attempt.wait
    assert attempt.run
    assert attempt.backoff.x < attempt.wait.x < attempt.run.x < (attempt.mark or 0) < WIDTH - MARGIN
    assert attempt.backoff.x + attempt.backoff.width == pytest.approx(attempt.wait.x, abs=0.11)
    assert attempt.wait.x + attempt.wait.width == pytest.approx(attempt.run.x, abs=0.11)
    assert attempt.run.width == pytest.approx(2 * attempt.wait.width, abs=0.3)
    assert "after waiting 20 s" in attempt.title
    assert "ran 40 s" in attempt.title


def test_what_runs_goes_on_to_now_and_has_no_mark() -> None:
    picture = drawn(job("inprogress", 10, 10, 20), now=100)
    attempt = only(picture)
    assert attempt.run
    assert attempt.mark is None
    assert attempt.run.x + attempt.run.width == pytest.approx(picture.now, abs=0.11)


def test_a_due_time_in_a_thousand_years_does_not_stretch_the_axis() -> None:
    picture = drawn(job("new", 10, 3e10), now=100)
    attempt = only(picture)
    assert attempt.backoff
    assert attempt.backoff.x + attempt.backoff.width == pytest.approx(WIDTH - MARGIN, abs=0.11)
    assert attempt.wait is None
    assert len(picture.ticks) > 3


@pytest.mark.parametrize(
    ("status", "started", "completed", "until"),
    [("new", 20, None, 100), ("inprogress", 80, None, 80), ("completed", 20, 90, 90)],
)
def test_a_wait_for_an_answer_is_a_bar_of_its_own_and_a_look_is_a_run(
    status: str, started: float, completed: float | None, until: float
) -> None:
    waits = job(status, 10, 1e6, started, completed)
    waits.answer_by, waits.waits_for = at(2e6), "the vendor's answer\nmore"
    picture = drawn(waits, now=100)
    attempt = only(picture)
    axis = Axis(BEGIN, timedelta(seconds=100 * 1.03), GUTTER, WIDTH - GUTTER - MARGIN)
    assert attempt.answer
    assert (attempt.answer.x, attempt.answer.x + attempt.answer.width) == pytest.approx(
        (axis.x(at(10)), axis.x(at(until)))
    )
    assert (attempt.backoff, attempt.wait, attempt.run is not None) == (None, None, status == "inprogress")
    assert "waits for the vendor's answer, until 2026-01-25 06:33:20" in attempt.title
    assert ("a 1 attempt, waiting" in picture.text) == (status == "new")


@pytest.mark.parametrize(
    ("status", "started", "says"),
    [
        ("new", None, "waits for a permit"),
        ("inprogress", 50, "has a permit"),
        ("cancelled", None, "waited for a permit"),
    ],
)
def test_what_needs_a_permit_waits_from_its_creation_and_tells_no_due_time(
    status: str, started: float | None, says: str
) -> None:
    row = job(status, 10, 10, started, 100 if status == "cancelled" else None)
    row.due_at = LimitRule("service2").lane
    picture = drawn(row)
    attempt = only(picture)
    assert attempt.title.split("\n")[1] == says
    assert (attempt.backoff, attempt.wait is not None) == (None, True)
    assert attempt.wait
    assert attempt.wait.x + attempt.wait.width <= WIDTH - MARGIN
    assert "93" not in attempt.title


def test_a_cancelled_attempt_waited_and_never_ran() -> None:
    attempt = only(drawn(job("cancelled", 10, 10, None, 60), ended=60, status="Cancelled"))
    assert attempt.wait
    assert attempt.run is None
    assert attempt.mark == pytest.approx(attempt.wait.x + attempt.wait.width, abs=0.11)


def test_a_run_of_no_time_is_seen() -> None:
    attempt = only(drawn(job("completed", 10, 10, 20, 20), ended=1e6, status="Completed"))
    assert attempt.run
    assert attempt.run.width >= 3


def test_steps_are_bands_one_under_the_other_and_those_not_begun_say_so() -> None:
    jobs = [job("completed", 10, 10, 20, 30), job("completed", 10, 10, 20, 30, name="b")]
    picture = drawn(*jobs, steps=("first", "second"))
    pick_up, first, second = picture.bands
    assert [track.label for track in first.tracks] == ["a", "b"]
    assert (first.label, first.note, second.label, second.note) == ("0 first", "", "1 second", "not begun")
    assert pick_up.y + pick_up.height <= first.y
    assert first.y + first.height <= second.y
    assert second.y + second.height <= picture.height


def test_attempts_of_a_job_share_a_track_and_follow_one_another() -> None:
    jobs = [
        job("retry", 10, 10, 20, 30),
        job("retry", 30, 40, 50, 60, attempt=2),
        job("failure", 60, 70, 80, 90, attempt=3),
    ]
    (track,) = drawn(*jobs, ended=95, status="Failed").bands[1].tracks
    marks = [attempt.mark or 0 for attempt in track.attempts]
    starts = [attempt.backoff.x for attempt in track.attempts[1:] if attempt.backoff]
    assert marks[:-1] == starts
    assert marks == sorted(marks)


def test_before_its_pick_up_there_is_only_the_wait_for_it() -> None:
    picture = drawn(steps=(), started=None, status="Queuing", now=50)
    (pick_up,) = picture.bands
    assert pick_up.tracks[0].attempts[0].wait
    assert picture.now is not None


def test_a_refused_request_ends_where_its_pick_up_would_be() -> None:
    (pick_up,) = drawn(steps=(), started=None, status="Failed", ended=50).bands
    assert (pick_up.tracks[0].attempts[0].status, drawn(steps=(), started=None, status="Failed", ended=50).now) == (
        "failure",
        None,
    )


def test_five_hundred_attempts_take_no_more_room_than_one() -> None:
    jobs = [job("retry", n, n + 0.5, n + 0.7, n + 1, attempt=n + 1) for n in range(500)]
    many, one = drawn(*jobs, ended=500, status="Failed"), drawn(jobs[0], ended=500, status="Failed")
    assert many.height == one.height
    assert len(many.bands[1].tracks[0].attempts) == 500
    assert many.bands[1].tracks[0].is_crowded
    assert not one.bands[1].tracks[0].is_crowded


def test_of_equal_ends_on_one_another_the_last_is_marked_and_another_end_always() -> None:
    jobs = [job("retry", n, n + 0.5, n + 0.7, n + 1, attempt=n + 1) for n in range(500)]
    jobs[250] = job("failure", 250, 250.5, 250.7, 251, attempt=251)
    (track,) = drawn(*jobs, ended=500, status="Failed").bands[1].tracks
    assert track.attempts[250].mark is not None
    assert track.attempts[249].mark is not None
    assert track.attempts[499].mark is not None
    assert sum(attempt.mark is not None for attempt in track.attempts) < 200
    runs = [attempt.run for attempt in track.attempts if attempt.run]
    assert all(one.x + one.width <= other.x for one, other in pairwise(runs))


def test_long_names_are_shortened_where_they_are_alike() -> None:
    jobs = [job("completed", 10, 10, 20, 30, name=f"delete_the_user_from_service_{n}") for n in range(10)]
    labels = [track.label for track in drawn(*jobs).bands[1].tracks]
    assert len(set(labels)) == 10
    assert max(map(len, labels)) == 27


def test_how_far_a_failure_reaches_is_shown_unless_it_is_the_usual() -> None:
    jobs = [
        job("failure", 10, 10, 20, 30, name="delete_the_user_from_service_1", if_fails="continue"),
        job("completed", 10, 10, 20, 30, name="usual"),
    ]
    picture = drawn(*jobs)
    labels = [(track.label, track.name) for track in picture.bands[1].tracks]
    assert labels == [
        ("delete_t…rvice_1 (continue)", "delete_the_user_from_service_1, if it fails: continue"),
        ("usual", "usual"),
    ]
    assert "delete_the_user_from_service_1 1 attempt, failure, if it fails: continue" in picture.text


def test_of_very_many_jobs_some_are_drawn_and_the_rest_is_counted() -> None:
    jobs = [job("completed", 10, 10, 20, 30, name=f"job_{n:03}") for n in range(300)]
    picture = drawn(*jobs, steps=("first", *"abcdef"))
    assert picture.left_out == 260
    assert picture.height < 1200


def test_everything_lies_within_the_picture() -> None:
    early_and_late = job("completed", -500, -600, 5000, 4000, step=7)
    picture = drawn(early_and_late, now=-1000, ended=20)
    (attempt,) = picture.bands[-1].tracks[0].attempts
    for bar in (attempt.backoff, attempt.wait, attempt.run):
        assert bar is None or (bar.x >= GUTTER and bar.x + bar.width <= WIDTH)


def test_the_text_alternative_says_every_step_and_job() -> None:
    text = drawn(job("retry", 10, 10, 20, 30), job("new", 30, 99, attempt=2), steps=("first", "second")).text
    assert "0 first: a 2 attempts, the last new" in text
    assert "1 second: not begun" in text


def test_a_moment_outside_the_axis_is_drawn_at_its_nearer_end() -> None:
    axis = Axis(BEGIN, timedelta(seconds=100), 200, 800)
    assert [axis.x(at(seconds)) for seconds in (-50, 0, 50, 100, 1e9)] == [200, 200, 600, 1000, 1000]


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0.01, ["03:00:00.000", "03:00:00.002", "03:00:00.004"]),
        (6, ["03:00:00", "03:00:01", "03:00:02", "03:00:03"]),
        (3600, ["03:00", "03:10", "03:20"]),
        (2 * 86400, ["06:00", "12:00", "18:00", "2026-01-03", "06:00"]),
        (3 * 365 * 86400, ["2026-03-08", "2026-09-04"]),
    ],
)
def test_ticks_stand_at_round_times(seconds: float, labels: list[str]) -> None:
    ticks = Axis(BEGIN, timedelta(seconds=seconds), 200, 800).ticks()
    assert [tick.label for tick in ticks][: len(labels)] == labels
    assert len(ticks) <= 9
    assert all(200 <= tick.x <= 1000 for tick in ticks)
