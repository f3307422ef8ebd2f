"""How an outcome becomes the end to record: whether another attempt follows, when, and how many may."""

import random
from typing import Any

import pytest

from jobs_app.models.attempts import ClaimedJob, JobStatus, Result
from jobs_app.outcomes import MAX_ERROR_CHARACTERS, Completed, Failed, NotStarted, Outcome, Retried, Stopped
from jobs_app.registry import job, unregister
from jobs_app.worker.retry_policy import backoff_seconds, result_of


def claimed(attempt: int = 1, last_attempt: int = 10, name: str = "noop") -> ClaimedJob:
    return ClaimedJob(1, 2, 0, name, attempt, last_attempt, "claim")


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jitter draws the longest wait."""
    monkeypatch.setattr(random, "uniform", lambda _, high: high)


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        (Completed(), Result(claimed(), JobStatus.COMPLETED)),
        (Completed('{"a":1}'), Result(claimed(), JobStatus.COMPLETED, extras='{"a":1}')),
        (Failed("no"), Result(claimed(), JobStatus.FAILURE, "no")),
        (NotStarted(), Result(claimed(), JobStatus.NEW)),
        (Retried("later", 7), Result(claimed(), JobStatus.RETRY, "later", delay_seconds=7, last_attempt=10)),
    ],
)
def test_each_outcome_has_its_end(outcome: Outcome, end: Result) -> None:
    assert result_of(claimed(), outcome) == end


def test_a_stopped_attempt_is_followed_at_once_by_one_more_than_were_allowed() -> None:
    end = result_of(claimed(10, 10), Stopped())
    assert (end.status, end.error, end.last_attempt) == (JobStatus.RETRY, "worker stopped", 11)
    assert 0 < end.delay_seconds < 0.1


@pytest.mark.parametrize(
    ("attempt", "last", "status"),
    [(9, 10, JobStatus.RETRY), (10, 10, JobStatus.FAILURE), (11, 10, JobStatus.FAILURE), (1, 1, JobStatus.FAILURE)],
)
def test_the_last_attempt_is_the_one_whose_number_the_row_says(attempt: int, last: int, status: JobStatus) -> None:
    assert result_of(claimed(attempt, last), Retried("why")).status == status


def test_giving_up_says_after_how_many_attempts_and_why() -> None:
    assert result_of(claimed(10), Retried("why\n\nTraceback")).error == "gave up after 10 attempts: why\n\nTraceback"
    assert result_of(claimed(1, 1), Retried("why")).error == "gave up after 1 attempt: why"


@pytest.mark.parametrize(
    ("attempt", "most"), [(1, 10), (2, 20), (3, 40), (6, 320), (7, 640), (8, 900), (10, 900), (5000, 900)]
)
def test_the_range_doubles_up_to_the_cap(longest: None, settings: Any, attempt: int, most: float) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS, settings.WRK_JOB_BACKOFF_CAP_SECONDS = 10, 900
    assert backoff_seconds("noop", attempt) == most


def test_jitter_is_full(settings: Any) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS, settings.WRK_JOB_BACKOFF_CAP_SECONDS = 10, 900
    drawn = [backoff_seconds("noop", 3) for _ in range(500)]
    assert 0 <= min(drawn) < 4
    assert 36 < max(drawn) <= 40


def test_a_base_of_zero_is_at_once(settings: Any) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = 0
    assert {backoff_seconds("noop", attempt) for attempt in range(1, 11)} == {0}


def test_a_jobs_own_base_goes_before_the_setting(longest: None, settings: Any) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = 10
    job("its_own_backoff", backoff=1)(lambda _: None)
    job("no_backoff", backoff=0)(lambda _: None)
    try:
        assert backoff_seconds("its_own_backoff", 3) == 4
        assert backoff_seconds("no_backoff", 3) == 0
    finally:
        unregister("its_own_backoff")
        unregister("no_backoff")


def test_a_service_that_asks_for_no_wait_gets_our_backoff(settings: Any) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS, settings.WRK_JOB_BACKOFF_CAP_SECONDS = 10, 900
    waits = [backoff_seconds("noop", 4, at_least=0) for _ in range(200)]
    assert 20 < sum(waits) / 200 < 60  # 40 on average


@pytest.mark.parametrize(("at_least", "most"), [(300, 300), (901, 900), (1e400, 900)])
def test_our_backoff_does_not_go_below_what_a_service_asks_for(settings: Any, at_least: float, most: float) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS, settings.WRK_JOB_BACKOFF_CAP_SECONDS = 10, 900
    assert {backoff_seconds("noop", 1, at_least=at_least) for _ in range(50)} == {most}


@pytest.mark.parametrize(
    ("after", "seconds"), [(30, 30), (0, 0), (0.5, 0.5), (900, 900), (901, 900), (10**9, 900), (-5, 0), (1e400, 900)]
)
def test_after_is_obeyed_up_to_the_cap(settings: Any, after: float, seconds: float) -> None:
    settings.WRK_JOB_BACKOFF_CAP_SECONDS = 900
    assert backoff_seconds("noop", 1, after) == seconds


def test_a_successor_is_never_due_at_the_very_moment_it_is_inserted() -> None:
    # The pass that inserts it could claim it: SQLite's clock has milliseconds.
    assert result_of(claimed(), Retried("at once", 0)).delay_seconds >= 0.001


def test_an_error_is_kept_whole_up_to_its_limit_and_fit_for_any_database() -> None:
    long = result_of(claimed(10), Retried("why\n" + "x" * 100_000)).error
    assert len(long) <= MAX_ERROR_CHARACTERS
    assert long.startswith("gave up after 10 attempts: why\n")
    odd = result_of(claimed(), Failed("nul \0 and half a pair \ud800")).error
    odd.encode()
    assert "\0" not in odd
    assert result_of(claimed(), Failed("")).error
