"""The row of a run in progress: when it says what was done so far."""

import time

import pytest

from jobs_app.models.pass_run import PassRun, RunRecord
from tests.factories import seconds_from_now
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> RunRecord:
    return RunRecord("run_jobs")


def pretend(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """That so much more time has gone by."""
    later = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: later)


@pytest.mark.parametrize(
    ("seconds", "counts", "writes"),
    [(0, {"claimed": 3}, 0), (1.1, {"claimed": 3}, 1), (1.1, {}, 0), (9, {}, 0), (10.1, {}, 1)],
)
def test_a_heartbeat_is_due_a_second_after_work_and_ten_without(
    run: RunRecord, monkeypatch: pytest.MonkeyPatch, seconds: float, counts: dict[str, int], writes: int
) -> None:
    run.add(counts)
    pretend(monkeypatch, seconds)
    with listening() as heard:
        run.heartbeat()
    assert len(heard) == writes
    assert PassRun.objects.get().counts == (counts if writes else {})


def test_the_same_is_not_said_twice(run: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    run.add({"claimed": 3})
    pretend(monkeypatch, 1.1)
    run.heartbeat()
    pretend(monkeypatch, 1.1)
    with listening() as heard:
        run.heartbeat()
    assert not heard


def test_the_end_says_all(run: RunRecord) -> None:
    run.add({"claimed": 3})
    run.add({"claimed": 1, "completed": 4})
    run.end("it broke")
    kept = PassRun.objects.get()
    assert (kept.counts, kept.error) == ({"claimed": 4, "completed": 4}, "it broke")
    assert kept.ended_at
    assert abs(seconds_from_now(kept.ended_at)) < 5
