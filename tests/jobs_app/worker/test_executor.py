"""The executor: who runs, who waits, who is ended by whom. No table is read or written."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from threading import Barrier, Event
from typing import Any

import pytest

from jobs_app.models.attempts import ClaimedJob, JobStatus
from jobs_app.outcomes import JobContext, Stopped
from jobs_app.worker.executor import Executor

PATIENCE = 10.0
LEASE = 300.0
DONE, HANDED_BACK = (JobStatus.COMPLETED, "", 0.0), (JobStatus.NEW, "", 0.0)
TIMED_OUT = (JobStatus.RETRY, "timed out after 0.05 seconds", 0.0)
STOPPED = (JobStatus.RETRY, Stopped().error, 0.0)
Register = Callable[..., str]


@pytest.fixture
def executor() -> Iterator[Executor]:
    executor = Executor(concurrency=2)
    yield executor
    executor.close()


def submit(executor: Executor, *names: str, lease: float = LEASE, claimed_ago: float = 0) -> None:
    claimed = [
        (ClaimedJob(number, 1, 0, name, 1, 10, "claim"), JobContext("tok", "act", 0, name, 1, {}, {}))
        for number, name in enumerate(names)
    ]
    executor.submit(claimed, time.monotonic() - claimed_ago, lease)


def results(executor: Executor, count: int) -> dict[int, tuple[JobStatus, str, float]]:
    """The next ones, as if recorded: id -> status, error, seconds until it is due again (of a retry: drawn, so 0)."""
    found = {}
    for _ in range(count):
        result = executor.results[0].get(timeout=PATIENCE)
        assert result is not None
        executor.recorded([result.job.id])
        found[result.job.id] = (
            result.status,
            result.error,
            0.0 if result.status == JobStatus.RETRY else result.delay_seconds,
        )
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def none_owned(executor: Executor) -> bool:
    """After a look at what is overdue."""
    executor.end_overdue(LEASE)
    return not executor.owned


def test_plain_callbacks_run_at_the_same_time(executor: Executor, register: Register) -> None:
    meet = Barrier(2)
    register("meets", lambda _: {"place": meet.wait(PATIENCE)})
    submit(executor, "meets", "meets")
    assert [status for status, *_ in results(executor, 2).values()] == [JobStatus.COMPLETED] * 2


def test_no_more_plain_callbacks_run_than_allowed(executor: Executor, register: Register) -> None:
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
    submit(executor, *["counts"] * 8)
    assert set(results(executor, 8).values()) == {DONE}
    assert most == 2


def test_async_callbacks_run_at_the_same_time_and_no_more_than_allowed(executor: Executor, register: Register) -> None:
    running, most = 0, 0

    async def counts(_: JobContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    register("counts", counts)
    submit(executor, *["counts"] * 8)
    assert set(results(executor, 8).values()) == {DONE}
    assert most == 2


def test_plain_and_async_callbacks_do_not_wait_for_each_other(executor: Executor, register: Register) -> None:
    meet = Event()

    async def sets(_: JobContext) -> None:
        meet.set()

    register("waits", lambda _: meet.wait(PATIENCE) and None)
    register("sets", sets)
    submit(executor, "waits", "waits", "sets")
    assert set(results(executor, 3).values()) == {DONE}


def test_a_job_that_this_release_lacks_is_handed_back_for_a_while(executor: Executor, register: Register) -> None:
    register("known", lambda _: None)
    submit(executor, "unknown", "known")
    found = results(executor, 2)
    assert found[0] == (JobStatus.NEW, "", 30.0)
    assert found[1] == DONE


def test_a_callback_is_not_begun_when_its_lease_has_less_left_than_its_timeout(
    executor: Executor, register: Register
) -> None:
    called: list[object] = []
    register("called", called.append, timeout=20)
    submit(executor, "called", lease=60, claimed_ago=45)
    assert results(executor, 1) == {0: HANDED_BACK}
    assert called == []


def test_an_async_callback_is_not_begun_either(executor: Executor, register: Register) -> None:
    called: list[object] = []

    async def calls(context: JobContext) -> None:
        called.append(context)

    register("called", calls, timeout=20)
    submit(executor, "called", lease=60, claimed_ago=45)
    assert results(executor, 1) == {0: HANDED_BACK}
    assert called == []


def test_a_callback_is_begun_while_its_lease_outlasts_its_timeout(executor: Executor, register: Register) -> None:
    register("called", lambda _: None, timeout=20)
    submit(executor, "called", lease=60, claimed_ago=30)
    assert results(executor, 1) == {0: DONE}


def test_what_waited_for_a_whole_lease_is_handed_back(executor: Executor, register: Register, let_go: Event) -> None:
    register("hangs", lambda _: let_go.wait(PATIENCE) and None)
    register("waits", lambda _: None)
    submit(executor, "hangs", "hangs")
    wait_until(lambda: all(execution.times_out for execution in executor.owned))
    submit(executor, "waits", lease=5, claimed_ago=6)
    executor.end_overdue(5)
    assert results(executor, 1) == {0: HANDED_BACK}


def test_at_its_timeout_a_callback_ends_as_a_retry_and_its_late_result_is_dropped(
    executor: Executor, register: Register, let_go: Event
) -> None:
    returned = Event()

    def hangs(_: JobContext) -> dict[str, str]:
        let_go.wait(PATIENCE)
        returned.set()
        return {"late": "result"}

    register("hangs", hangs, timeout=0.05)
    submit(executor, "hangs")
    wait_until(lambda: none_owned(executor))
    assert results(executor, 1) == {0: TIMED_OUT}
    assert executor.lost_threads == 1
    let_go.set()
    assert returned.wait(PATIENCE)
    wait_until(lambda: executor.lost_threads == 0)
    assert executor.results[0].empty()


def test_another_thread_takes_the_place_of_one_that_hangs(
    executor: Executor, register: Register, let_go: Event
) -> None:
    meet = Barrier(2)
    register("hangs", lambda _: let_go.wait(PATIENCE) and None, timeout=0.05)
    register("meets", lambda _: {"place": meet.wait(PATIENCE)})
    submit(executor, "hangs")
    wait_until(lambda: none_owned(executor))
    results(executor, 1)
    submit(executor, "meets", "meets")
    assert [status for status, *_ in results(executor, 2).values()] == [JobStatus.COMPLETED] * 2


def test_at_its_timeout_an_async_callback_is_cancelled(executor: Executor, register: Register) -> None:
    seen = Event()

    async def hangs(_: JobContext) -> None:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            seen.set()
            raise

    register("hangs", hangs, timeout=0.05)
    submit(executor, "hangs")
    wait_until(lambda: none_owned(executor))
    assert results(executor, 1) == {0: TIMED_OUT}
    assert seen.wait(PATIENCE)
    assert executor.results[0].empty()


def test_the_clock_of_a_timeout_starts_when_the_callback_begins(
    executor: Executor, register: Register, let_go: Event
) -> None:
    register("hangs", lambda _: let_go.wait(PATIENCE) and None, timeout=60)
    register("waits", lambda _: None, timeout=0.01)
    submit(executor, "hangs", "hangs", "waits")
    time.sleep(0.05)
    executor.end_overdue(LEASE)
    assert executor.results[0].empty()
    let_go.set()
    assert set(results(executor, 3).values()) == {DONE}


def test_handing_back_takes_what_waits_and_leaves_what_runs(
    executor: Executor, register: Register, let_go: Event
) -> None:
    register("hangs", lambda _: let_go.wait(PATIENCE) and None)
    called: list[object] = []
    register("waits", called.append)
    submit(executor, "hangs", "hangs", "waits", "waits")
    wait_until(lambda: sum(execution.times_out is not None for execution in executor.owned) == 2)
    executor.hand_back_waiting()
    assert results(executor, 2) == {2: HANDED_BACK, 3: HANDED_BACK}
    let_go.set()
    assert results(executor, 2) == {0: DONE, 1: DONE}
    assert called == []


def test_what_is_handed_back_before_it_is_let_through_takes_nobodys_place(
    executor: Executor, register: Register, let_go: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs_app.worker.executor._MOST_LET_THROUGH", 0)
    register("hangs", lambda _: let_go.wait(PATIENCE) and None)
    submit(executor, "hangs", "hangs", "hangs", "hangs")
    wait_until(lambda: sum(execution.times_out is not None for execution in executor.owned) == 2)
    executor.hand_back_waiting()
    assert results(executor, 2) == {2: HANDED_BACK, 3: HANDED_BACK}
    let_go.set()
    assert results(executor, 2) == {0: DONE, 1: DONE}
    submit(executor, "hangs", "hangs")
    assert results(executor, 2) == {0: DONE, 1: DONE}


def test_a_large_job_that_is_recorded_makes_room_for_another(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs_app.worker.executor._MOST_LARGE_BYTES", 100)
    assert [executor.may_hold(1, 60), executor.may_hold(2, 60)] == [True, False]
    executor.recorded([1])
    assert executor.may_hold(2, 60)


def test_stopping_what_runs_ends_it_once(executor: Executor, register: Register, let_go: Event) -> None:
    async def hangs_async(_: JobContext) -> None:
        await asyncio.sleep(PATIENCE)

    register("hangs", lambda _: let_go.wait(PATIENCE) and None)
    register("hangs_async", hangs_async)
    submit(executor, "hangs", "hangs_async")
    wait_until(lambda: all(execution.times_out for execution in executor.owned))
    executor.stop_running()
    executor.stop_running()
    assert results(executor, 2) == {0: STOPPED, 1: STOPPED}
    let_go.set()
    wait_until(lambda: executor.lost_threads == 0)
    assert executor.results[0].empty()


def test_an_async_callback_that_ignores_its_cancelling_changes_nothing_any_more(
    executor: Executor, register: Register
) -> None:
    over = Event()

    async def stubborn(_: JobContext) -> Any:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            over.set()
        return {"late": "result"}

    register("stubborn", stubborn, timeout=0.05)
    submit(executor, "stubborn")
    wait_until(lambda: none_owned(executor))
    results(executor, 1)
    assert over.wait(PATIENCE)
    time.sleep(0.02)
    assert executor.results[0].empty()


def test_all_of_a_batch_are_owned_before_the_first_of_them_runs(executor: Executor, register: Register) -> None:
    """While any is to end the completer waits for more; or the first to end would be a batch of its own."""
    began = Event()
    register("begins", lambda _: began.set())

    def slowly() -> Iterator[tuple[ClaimedJob, JobContext]]:
        for number in range(3):
            assert not began.wait(0.05)
            yield ClaimedJob(number, 1, 0, "begins", 1, 10, "claim"), JobContext("tok", "act", 0, "begins", 1, {}, {})

    executor.submit(slowly(), time.monotonic(), LEASE)
    assert set(results(executor, 3).values()) == {DONE}


def test_async_callbacks_have_one_loop_though_several_threads_submit(register: Register) -> None:
    async def runs(_: JobContext) -> None:
        await asyncio.sleep(0)

    register("runs", runs)
    executor = Executor(4, completers=2)
    at_once = Barrier(2)

    def submits(number: int) -> None:
        claimed = [(ClaimedJob(number, 1, 0, "runs", 1, 10, "claim"), JobContext("tok", "act", 0, "runs", 1, {}, {}))]
        at_once.wait()
        executor.submit(claimed, time.monotonic(), LEASE)

    submitting = [threading.Thread(target=submits, args=(number,)) for number in range(2)]
    for thread in submitting:
        thread.start()
    for thread in submitting:
        thread.join()
    loops = [thread for thread in threading.enumerate() if thread.name == "async-callbacks"]
    executor.close()
    assert len(loops) == 1
