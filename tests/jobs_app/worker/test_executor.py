"""The pool: who runs, who waits, who is ended by whom. No table is read or written."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from threading import Barrier, Event
from typing import Any

import pytest

from jobs_app.models.attempts import ClaimedJob, JobStatus
from jobs_app.outcomes import JobContext, NotStarted, Stopped
from jobs_app.worker.executor import Pool

PATIENCE = 10.0
LEASE = 300.0
DONE, HANDED_BACK = (JobStatus.COMPLETED, "", 0.0), (JobStatus.NEW, "", 0.0)
TIMED_OUT = (JobStatus.RETRY, "timed out after 0.05 seconds", 0.0)
STOPPED = (JobStatus.RETRY, Stopped().error, 0.0)
Register = Callable[..., str]


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(concurrency=2)
    yield pool
    pool.close()


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def submit(pool: Pool, *names: str, lease: float = LEASE, claimed_ago: float = 0) -> None:
    claimed = [
        (ClaimedJob(number, 1, 0, name, 1, 10, "claim"), JobContext("tok", "act", 0, name, 1, {}, {}))
        for number, name in enumerate(names)
    ]
    pool.submit(claimed, time.monotonic() - claimed_ago, lease)


def ends(pool: Pool, count: int) -> dict[int, tuple[JobStatus, str, float]]:
    """The next ends, as if recorded: id -> status, error, seconds until it is due again (of a retry: drawn, so 0)."""
    found = {}
    for _ in range(count):
        end = pool.ended[0].get(timeout=PATIENCE)
        assert end is not None
        pool.recorded([end.job.id])
        found[end.job.id] = (end.status, end.error, 0.0 if end.status == JobStatus.RETRY else end.delay_seconds)
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def none_held(pool: Pool) -> bool:
    """After a look at what is overdue."""
    pool.end_overdue(LEASE)
    return not pool.held


def test_plain_callbacks_run_at_the_same_time(pool: Pool, register: Register) -> None:
    meet = Barrier(2)
    register("meets", lambda _: {"place": meet.wait(PATIENCE)})
    submit(pool, "meets", "meets")
    assert [status for status, *_ in ends(pool, 2).values()] == [JobStatus.COMPLETED] * 2


def test_no_more_plain_callbacks_run_than_allowed(pool: Pool, register: Register) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def counts(_: JobContext) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    register("counts", counts)
    submit(pool, *["counts"] * 8)
    assert set(ends(pool, 8).values()) == {DONE}
    assert most == 2


def test_async_callbacks_run_at_the_same_time_and_no_more_than_allowed(pool: Pool, register: Register) -> None:
    running, most = 0, 0

    async def counts(_: JobContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    register("counts", counts)
    submit(pool, *["counts"] * 8)
    assert set(ends(pool, 8).values()) == {DONE}
    assert most == 2


def test_plain_and_async_callbacks_do_not_wait_for_each_other(pool: Pool, register: Register) -> None:
    meet = Event()

    async def sets(_: JobContext) -> None:
        meet.set()

    register("waits", lambda _: meet.wait(PATIENCE) and None)
    register("sets", sets)
    submit(pool, "waits", "waits", "sets")
    assert set(ends(pool, 3).values()) == {DONE}


def test_a_job_that_this_release_lacks_is_handed_back_for_a_while(pool: Pool, register: Register) -> None:
    register("known", lambda _: None)
    submit(pool, "unknown", "known")
    found = ends(pool, 2)
    assert found[0] == (JobStatus.NEW, "", 30.0)
    assert found[1] == DONE


def test_a_callback_is_not_begun_when_its_lease_has_less_left_than_its_timeout(pool: Pool, register: Register) -> None:
    called: list[object] = []
    register("called", called.append, timeout=20)
    submit(pool, "called", lease=60, claimed_ago=45)
    assert ends(pool, 1) == {0: HANDED_BACK}
    assert called == []


def test_an_async_callback_is_not_begun_either(pool: Pool, register: Register) -> None:
    called: list[object] = []

    async def calls(context: JobContext) -> None:
        called.append(context)

    register("called", calls, timeout=20)
    submit(pool, "called", lease=60, claimed_ago=45)
    assert ends(pool, 1) == {0: HANDED_BACK}
    assert called == []


def test_a_callback_is_begun_while_its_lease_outlasts_its_timeout(pool: Pool, register: Register) -> None:
    register("called", lambda _: None, timeout=20)
    submit(pool, "called", lease=60, claimed_ago=30)
    assert ends(pool, 1) == {0: DONE}


def test_what_waited_for_a_whole_lease_is_handed_back(pool: Pool, register: Register, let_go: Event) -> None:
    register("hangs", lambda _: let_go.wait(PATIENCE) and None)
    register("waits", lambda _: None)
    submit(pool, "hangs", "hangs")
    wait_until(lambda: all(held.times_out for held in pool.held))
    submit(pool, "waits", lease=5, claimed_ago=6)
    pool.end_overdue(5)
    assert ends(pool, 1) == {0: HANDED_BACK}


def test_at_its_timeout_a_callback_ends_as_a_retry_and_its_late_result_is_dropped(
    pool: Pool, register: Register, let_go: Event
) -> None:
    returned = Event()

    def hangs(_: JobContext) -> dict[str, str]:
        let_go.wait(PATIENCE)
        returned.set()
        return {"late": "result"}

    register("hangs", hangs, timeout=0.05)
    submit(pool, "hangs")
    wait_until(lambda: none_held(pool))
    assert ends(pool, 1) == {0: TIMED_OUT}
    assert pool.lost_threads == 1
    let_go.set()
    assert returned.wait(PATIENCE)
    wait_until(lambda: pool.lost_threads == 0)
    assert pool.ended[0].empty()


def test_another_thread_takes_the_place_of_one_that_hangs(pool: Pool, register: Register, let_go: Event) -> None:
    meet = Barrier(2)
    register("hangs", lambda _: let_go.wait(PATIENCE) and None, timeout=0.05)
    register("meets", lambda _: {"place": meet.wait(PATIENCE)})
    submit(pool, "hangs")
    wait_until(lambda: none_held(pool))
    ends(pool, 1)
    submit(pool, "meets", "meets")
    assert [status for status, *_ in ends(pool, 2).values()] == [JobStatus.COMPLETED] * 2


def test_at_its_timeout_an_async_callback_is_cancelled(pool: Pool, register: Register) -> None:
    seen = Event()

    async def hangs(_: JobContext) -> None:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            seen.set()
            raise

    register("hangs", hangs, timeout=0.05)
    submit(pool, "hangs")
    wait_until(lambda: none_held(pool))
    assert ends(pool, 1) == {0: TIMED_OUT}
    assert seen.wait(PATIENCE)
    assert pool.ended[0].empty()


def test_the_clock_of_a_timeout_starts_when_the_callback_begins(pool: Pool, register: Register, let_go: Event) -> None:
    register("hangs", lambda _: let_go.wait(PATIENCE) and None, timeout=60)
    register("waits", lambda _: None, timeout=0.01)
    submit(pool, "hangs", "hangs", "waits")
    time.sleep(0.05)
    pool.end_overdue(LEASE)
    assert pool.ended[0].empty()
    let_go.set()
    assert set(ends(pool, 3).values()) == {DONE}


def test_handing_back_takes_what_waits_and_leaves_what_runs(pool: Pool, register: Register, let_go: Event) -> None:
    register("hangs", lambda _: let_go.wait(PATIENCE) and None)
    called: list[object] = []
    register("waits", called.append)
    submit(pool, "hangs", "hangs", "waits", "waits")
    wait_until(lambda: sum(held.times_out is not None for held in pool.held) == 2)
    pool.hand_back_waiting()
    assert ends(pool, 2) == {2: HANDED_BACK, 3: HANDED_BACK}
    let_go.set()
    assert ends(pool, 2) == {0: DONE, 1: DONE}
    assert called == []


def test_stopping_what_runs_ends_it_once(pool: Pool, register: Register, let_go: Event) -> None:
    async def hangs_async(_: JobContext) -> None:
        await asyncio.sleep(PATIENCE)

    register("hangs", lambda _: let_go.wait(PATIENCE) and None)
    register("hangs_async", hangs_async)
    submit(pool, "hangs", "hangs_async")
    wait_until(lambda: all(held.times_out for held in pool.held))
    pool.stop_running()
    pool.stop_running()
    assert ends(pool, 2) == {0: STOPPED, 1: STOPPED}
    let_go.set()
    wait_until(lambda: pool.lost_threads == 0)
    assert pool.ended[0].empty()


def test_an_async_callback_that_ignores_its_cancelling_changes_nothing_any_more(pool: Pool, register: Register) -> None:
    over = Event()

    async def stubborn(_: JobContext) -> Any:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            over.set()
        return {"late": "result"}

    register("stubborn", stubborn, timeout=0.05)
    submit(pool, "stubborn")
    wait_until(lambda: none_held(pool))
    ends(pool, 1)
    assert over.wait(PATIENCE)
    time.sleep(0.02)
    assert pool.ended[0].empty()


def test_all_of_a_batch_are_held_before_the_first_of_them_runs(pool: Pool, register: Register) -> None:
    """While any is to end a recorder waits for more; or the first to end would be a batch of its own."""
    began = Event()
    register("begins", lambda _: began.set())

    def slowly() -> Iterator[tuple[ClaimedJob, JobContext]]:
        for number in range(3):
            assert not began.wait(0.05)
            yield ClaimedJob(number, 1, 0, "begins", 1, 10, "claim"), JobContext("tok", "act", 0, "begins", 1, {}, {})

    pool.submit(slowly(), time.monotonic(), LEASE)
    assert set(ends(pool, 3).values()) == {DONE}


def as_a_coroutine(callback: Callable[[JobContext], None]) -> Callable[[JobContext], Any]:
    async def called(context: JobContext) -> None:
        callback(context)

    return called


def test_no_callback_begins_while_too_many_ends_wait_to_be_recorded(
    pool: Pool, register: Register, is_async: bool
) -> None:
    began: list[object] = []
    register("begins", as_a_coroutine(began.append) if is_async else began.append)
    pool.most_ended = 3
    submit(pool, *["begins"] * 9)
    wait_until(lambda: pool.ended[0].qsize() == 3)
    time.sleep(0.05)
    assert len(began) == 3
    assert not pool.ends_will_come()
    pool.recorded([0, 1])
    wait_until(lambda: pool.ended[0].qsize() == 5)
    time.sleep(0.05)
    assert len(began) == 5
    pool.most_ended = 100
    pool.recorded([2])
    wait_until(lambda: len(began) == 9)


def test_a_callback_that_runs_holds_back_no_other(
    pool: Pool, register: Register, let_go: Event, is_async: bool
) -> None:
    def hangs(_: JobContext) -> None:
        let_go.wait(PATIENCE)

    done = Event()
    register("hangs", hangs)
    register("sets", as_a_coroutine(lambda _: done.set()) if is_async else lambda _: done.set())
    pool.most_ended = 1
    submit(pool, "hangs")
    wait_until(lambda: all(held.times_out for held in pool.held))
    submit(pool, "sets")
    assert done.wait(PATIENCE)
    assert pool.ends_will_come()


def test_what_is_held_back_can_be_handed_back(pool: Pool, register: Register, is_async: bool) -> None:
    began: list[object] = []
    register("begins", as_a_coroutine(began.append) if is_async else began.append)
    pool.most_ended = 1
    submit(pool, *["begins"] * 3)
    wait_until(lambda: not pool.ended[0].empty())
    pool.hand_back_waiting()
    assert ends(pool, 3) == {0: DONE, 1: HANDED_BACK, 2: HANDED_BACK}
    submit(pool, "begins")
    assert ends(pool, 1) == {0: DONE}
    assert len(began) == 2


def test_a_second_recorder_is_used_where_the_runner_says_so(register: Register) -> None:
    pool = Pool(concurrency=2, recorders=2)
    for recorders, queues in ((1, {0}), (2, {0, 1})):
        pool.recorders = recorders
        for request_id in range(12):
            pool.end_unheld(ClaimedJob(request_id, request_id, 0, "noop", 1, 10, "claim"), NotStarted())
        assert {number for number, ended in enumerate(pool.ended) if not ended.empty()} == queues
        for ended in pool.ended:
            while not ended.empty():
                ended.get()
    pool.close()
