"""The three passes in one process, in a loop: what cron does, with milliseconds between the steps, not minutes."""

import math
import time

from django.conf import settings

from jobs_app.db.transactions import BATCH, run_transaction
from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.answers import take_answers
from jobs_app.worker.runner import Runner
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.models.progress_moves import Position
from requests_app.passes.inprogress_requests import progress_locked, progress_page
from requests_app.passes.new_requests import start_due
from requests_app.passes.receipts import write_page

_POLL_SECONDS = 0.001  # between two turns while there is work, and for a while after it
_IDLE_POLL_SECONDS = 0.05
_STAY_AWAKE_SECONDS = 2.0
_POLLING_SHARE = 0.5  # of the time, at most: many workers on a busy database would slow each other down
_START_SECONDS = 1.0  # at the latest, also where no thread is free: a bad request is refused then
_ANSWERS_SECONDS = 0.1  # or so long that looking takes _POLLING_SHARE: early ones are looked at each time
_SCAN_SECONDS = 1.0  # from one page of the requests in progress to the next
_RECEIPTS = 100  # in one transaction, while which nothing is claimed: about 30 ms
_RECEIPTS_SECONDS = 1.0  # from one look at which are due to the next
_RECEIPTS_SHARE = 0.25  # of the time, at most, while there is other work: what is left is made up for after it


def run_worker(stop: Stop, run: RunRecord, *, concurrency: int | None = None) -> None:
    """Picks up requests, runs jobs and moves requests on until `stop`. Raises DatabaseAway, CallbacksHang.

    A request is moved on in the transaction that records the result of its job, and its next jobs are claimed as they
    are inserted: three commits bring a request of two steps from its pick-up to its end. What other processes and
    operators left settled is found by a scan, one page a second.
    """
    paused = run_transaction(Job.objects.poll, seconds=settings.WRK_DATABASE_AWAY_SECONDS).paused
    with Runner(stop, run, paused=paused, concurrency=concurrency, on_recorded=progress_locked) as runner:
        answers = _Answers(stop, run, runner)
        start = _Start(run, runner)
        scan, receipts = _Scan(run), _Receipts(run)
        worked_at = time.monotonic()
        while not stop:
            runner.raise_if_it_hangs()
            began = time.monotonic()
            # Answers first: before their time is found to be over.
            if is_busy := answers.turn() + runner.turn() + start.turn() > 0:
                worked_at = began
            now = time.monotonic()
            poll_seconds = _POLL_SECONDS if now - worked_at < _STAY_AWAKE_SECONDS else _IDLE_POLL_SECONDS
            scan.turn()
            receipts.turn(is_busy=is_busy)
            runner.wait(max(poll_seconds, min(_IDLE_POLL_SECONDS, (now - began) / _POLLING_SHARE)))


class _Answers:
    """Takes answers. Those that came early stay, so that it asks for others a few times a second only."""

    def __init__(self, stop: Stop, run: RunRecord, runner: Runner) -> None:
        self._stop, self._run, self._claimer = stop, run, runner.claimer
        self._due_at = -math.inf

    def turn(self) -> int:
        """Returns how many it took or marked as late."""
        began = time.monotonic()
        if began < self._due_at:
            return 0
        taken = take_answers(
            self._stop,
            self._run,
            progress_locked,
            claim_on_insert=self._claimer.claim_on_insert,
            adopt=self._claimer.adopt,
        )
        now = time.monotonic()
        self._due_at = now + max(_ANSWERS_SECONDS, 0 if taken else (now - began) / _POLLING_SHARE)
        return taken


class _Start:
    """Starts due requests, as many as there is room for: then most of their jobs are claimed as they are inserted.

    Jobs that are due come first: what has begun is to end.
    """

    def __init__(self, run: RunRecord, runner: Runner) -> None:
        self._run, self._claimer = run, runner.claimer
        self._more_is_due = False  # more than was started
        self._looked_at = -math.inf

    def turn(self) -> int:
        """Returns how many it started or refused."""
        free = min(self._claimer.free(), BATCH)
        if not free and time.monotonic() - self._looked_at < _START_SECONDS:
            return 0
        self._looked_at = time.monotonic()
        if not self._more_is_due and not self._run.transact(Request.objects.has_due):
            return 0
        limit, claim = free or BATCH, self._claimer.claim_on_insert()
        started = start_due(self._run, limit, claim=claim)
        self._claimer.adopt(claim)
        self._more_is_due = started == limit
        return started


class _Scan:
    """Moves on the settled requests of one page, then of the next; after the last page it begins anew."""

    def __init__(self, run: RunRecord) -> None:
        self._run = run
        self._after: Position | None = None
        self._due_at = 0.0

    def turn(self) -> None:
        if time.monotonic() >= self._due_at:
            _, self._after = progress_page(self._run, self._after)
            self._due_at = time.monotonic() + _SCAN_SECONDS


class _Receipts:
    """Writes one page of the receipts of what has ended, then the next; after the last page it begins anew."""

    def __init__(self, run: RunRecord) -> None:
        self._run = run
        self._after = 0
        self._due_at = 0.0

    def turn(self, *, is_busy: bool) -> None:
        began = time.monotonic()
        if began < self._due_at and (is_busy or not self._after):
            return
        self._after = write_page(self._run, self._after, _RECEIPTS) or 0
        now = time.monotonic()
        self._due_at = now + ((now - began) * (1 / _RECEIPTS_SHARE - 1) if self._after else _RECEIPTS_SECONDS)
