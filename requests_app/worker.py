"""The three passes in one process, in a loop: what cron does, with milliseconds between the steps, not minutes."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

from django.conf import settings

from jobs_app.db.transactions import run_transaction
from jobs_app.models import Job
from jobs_app.models.attempts import End, LockedRequest
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.completer import Counts
from jobs_app.worker.runner import CallbacksHang, JobRunner, end_lost_leases
from jobs_app.worker.seats import Seats
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.models.looks import LOOK_AT_ALL_SECONDS
from requests_app.passes import BATCH, move_on_locked, pick_up, run_inprogress_requests

_LEAST_POLL_SECONDS, _MOST_POLL_SECONDS, _POLL_GROWTH = 0.001, 0.05, 1.1
_POLL_SHARE = 0.2
_BUSY_POLL_SECONDS = 0.01
_STAY_AWAKE_SECONDS = 2.0  # after work was found, before polls grow apart
_PICK_UP_SECONDS = 1.0  # at the latest, however busy
_LEAST_SWEEP_SECONDS, _MOST_SWEEP_SECONDS = 1.0, 60.0  # from one to the next
_SWEEP_SHARE = 0.01  # of the time


def run_worker(stop: Stop, run: RunRecord, *, concurrency: int | None = None) -> None:
    """Picks up requests, runs jobs and moves requests on until `stop`. Raises DatabaseAway, CallbacksHang.

    A request is moved on in the transaction that records the end of its job, and its next jobs are claimed as they are
    inserted: three commits bring a request of two steps from its pick-up to its end. What other processes left behind
    is found by sweeps: lost leases, and requests whose step has ended.
    """

    def move_on(requests: list[LockedRequest], ends: Sequence[End]) -> tuple[Counts, Callable[[], None]]:
        claim = runner.direct_claim(replacing=len(ends))
        return move_on_locked(requests, claim, ends=ends), partial(runner.adopt, claim)

    paused = run_transaction(Job.objects.outlook, seconds=settings.WRK_DATABASE_AWAY_SECONDS).paused
    seats = Seats()
    runner = JobRunner(stop, run, paused=paused, concurrency=concurrency, follow_up=move_on, seats=seats)
    poll, pick_ups, sweep = Poll(), PickUp(run, runner), Sweep(stop, run, runner)
    with seats, runner:
        while not stop:
            if runner.hangs():
                raise CallbacksHang
            runner.watch()
            if not seats.turned_away:  # those who sit sweep as well
                sweep.if_due()
            began = time.monotonic()
            picked_up = pick_ups.turn()
            claimed = 0 if seats.turned_away else runner.turn()
            seats.leave_if_idle()
            poll.looked(found_work=picked_up + claimed > 0, spent=time.monotonic() - began)
            pause = _MOST_POLL_SECONDS if seats.turned_away else poll.seconds(busy=bool(runner.unrecorded()))
            runner.wait(pause, for_room=pick_ups.full)


class PickUp:
    """Starts due requests, as many as there is room for: then most of their jobs are claimed as they are inserted.

    Where there is none for a second they are started all the same, for others to run their jobs.
    """

    def __init__(self, run: RunRecord, runner: JobRunner) -> None:
        self._run, self._runner = run, runner
        self._seconds: float = settings.WRK_DATABASE_AWAY_SECONDS
        self.full = False  # whether more was due than there was room for
        self._looked_at = -math.inf

    def turn(self) -> int:
        """Answers how many it started or refused."""
        room = self._runner.room.to_begin()
        if not room and time.monotonic() - self._looked_at < _PICK_UP_SECONDS:
            return 0
        self._looked_at = time.monotonic()
        if not self.full and not run_transaction(Request.objects.has_due, seconds=self._seconds):
            return 0
        if not self._runner.room.may_take():
            self.full = True
            return 0
        limit, claim = room or BATCH, self._runner.direct_claim()
        picked_up = pick_up(self._run, limit, seconds=self._seconds, claim=claim)
        self._runner.adopt(claim)
        self.full = picked_up == limit
        return picked_up


class Poll:
    """How long to wait between two looks: little while there is work, then longer and longer.

    Never so little that looking takes more than its share: many workers on a busy database would slow each other down.
    """

    def __init__(self) -> None:
        self._seconds, self._worked_at, self._spent = _LEAST_POLL_SECONDS, time.monotonic(), 0.0

    def looked(self, *, found_work: bool, spent: float) -> None:
        """`spent`: seconds that the look took."""
        now = time.monotonic()
        self._spent = 0.0 if found_work else spent
        if found_work:
            self._seconds, self._worked_at = _LEAST_POLL_SECONDS, now
        elif now - self._worked_at > _STAY_AWAKE_SECONDS:
            self._seconds = min(_MOST_POLL_SECONDS, self._seconds * _POLL_GROWTH)

    def seconds(self, *, busy: bool) -> float:
        """`busy`: jobs run here already, so that a moment more matters little to what comes."""
        least = max(self._seconds, _BUSY_POLL_SECONDS) if busy else self._seconds
        return max(least, min(_MOST_POLL_SECONDS, self._spent / _POLL_SHARE))


class Sweep:
    """Finds what no end of a job here will move: as often as its own cost allows."""

    def __init__(self, stop: Stop, run: RunRecord, runner: JobRunner) -> None:
        self._stop, self._run, self._runner = stop, run, runner
        self._due_at, self._looked_at_all = 0.0, -math.inf

    def if_due(self) -> None:
        began = time.monotonic()
        if began < self._due_at:
            return
        if run_transaction(Job.objects.outlook, seconds=settings.WRK_DATABASE_AWAY_SECONDS).has_expired:
            end_lost_leases(self._stop, self._run, self._runner.unrecorded())
        at_all = began - self._looked_at_all >= LOOK_AT_ALL_SECONDS
        run_inprogress_requests(self._stop, self._run, at_all=at_all)
        self._looked_at_all = began if at_all else self._looked_at_all
        now = time.monotonic()
        rest = (now - began) / _SWEEP_SHARE
        self._due_at = now + min(_MOST_SWEEP_SECONDS, max(_LEAST_SWEEP_SECONDS, rest))
