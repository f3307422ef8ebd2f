"""The turns of a process that runs jobs: claims what there is room for, watches what runs, ends all in order."""

import time
from collections.abc import Collection
from threading import Event
from typing import Any, Self

from django.conf import settings
from django.db import connection

from jobs_app.models import Job
from jobs_app.models.attempts import Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.claimer import Claimer
from jobs_app.worker.completer import Completer
from jobs_app.worker.executor import Executor
from jobs_app.worker.lost_leases import end_lost_leases
from jobs_app.worker.permit_claimer import PermitClaimer
from jobs_app.worker.recording import OnRecorded
from jobs_app.worker.shutdown import Stop

COMPLETERS = 2  # one alone leaves a processor idle while it waits for a COMMIT: a fifth less on two processors
_TURN_SECONDS = 0.05  # the longest wait of the claiming thread


class CallbacksHang(Exception):
    """This process can run nothing more. Its text is one line for the operator."""

    def __str__(self) -> str:
        return "callbacks ignore their timeout and hold every thread: start a new process"


class Runner:
    """Claims, runs and records jobs until told to stop. A context manager: leaving it ends everything in order.

    `due_by`, `paused`, `limit`: as Claimer has them. `on_recorded`: as the completer calls it.
    """

    def __init__(
        self,
        stop: Stop,
        run: RunRecord,
        *,
        due_by: Any = None,
        paused: Collection[str] = (),
        limit: int | None = None,
        concurrency: int | None = None,
        on_recorded: OnRecorded | None = None,
    ) -> None:
        self._stop, self._run, self._on_recorded = stop, run, on_recorded
        # What callbacks did is lost with this process: it waits longer for the database than one that holds no jobs.
        run.reconnect_seconds = settings.WRK_DATABASE_AWAY_SECONDS
        self._lease: float = settings.WRK_JOB_LEASE_SECONDS
        completers = 1 if connection.vendor == "sqlite" else COMPLETERS  # one writer at a time: a second would wait
        self._executor = Executor(concurrency or settings.WRK_JOB_CONCURRENCY, completers)
        self.claimer = Claimer(
            stop, self._executor, run, lease_seconds=self._lease, due_by=due_by, paused=paused, limit=limit
        )
        self._permit_claimer = PermitClaimer(
            self.claimer, self._executor, run, lease_seconds=self._lease, once=due_by is not None
        )
        self._changed = Event()
        self._completers = [
            Completer(results, self._executor, self.claimer, run, self._changed, on_recorded=on_recorded)
            for results in self._executor.results
        ]
        self._renewed_at = time.monotonic()

    def __enter__(self) -> Self:
        for completer in self._completers:
            completer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            self._wind_down(failed=kind is not None)
        finally:
            for completer in self._completers:
                completer.close()
            self._executor.close()
        if kind is None:
            self._raise_fault()

    def turn(self) -> int:
        """Watches over what runs and, if there is room, claims; returns how many jobs it claimed."""
        self._watch()
        if self.claimer.poll_is_due() and self.claimer.poll().has_expired:
            end_lost_leases(self._stop, self._run, self._executor.unrecorded, self._on_recorded)
        return self._permit_claimer.turn() + self.claimer.claim()

    def is_done(self) -> bool:
        """Whether nothing runs and nothing is left to claim, or can be claimed any more."""
        is_recorded = self._executor.unrecorded <= self._executor.locked  # what is handed back may be claimed again
        is_done = self.claimer.is_done() and self._permit_claimer.is_done()
        return not self._executor.owned and is_recorded and (is_done or self._executor.hangs())

    def raise_if_it_hangs(self) -> None:
        """Raises CallbacksHang when no thread is left to run a callback."""
        if self._executor.hangs():
            raise CallbacksHang

    def wait(self, seconds: float = _TURN_SECONDS) -> None:
        """Until the time is over, or a batch of results was taken up or recorded."""
        self._changed.wait(seconds)
        self._changed.clear()

    def _watch(self) -> None:
        """Ends what runs past its timeout and renews the leases, when that is due. Raises what ended a completer."""
        self._raise_fault()
        self._executor.end_overdue(self._lease)
        self._run.transact(self._run.heartbeat)
        if time.monotonic() - self._renewed_at >= self._lease / 3:
            self._renew()

    def _renew(self) -> None:
        """Leases again what is owned, or ended and locked by another session.

        A job whose renewal failed keeps its old end of lease.
        """
        self._renewed_at = sent_at = time.monotonic()
        owned = list(self._executor.owned)
        jobs = [*(one.job for one in owned), *(result.job for result in self._locked())]
        if jobs:
            renewed = self._run.transact(lambda: Job.objects.renew(jobs, self._lease))
            for one in owned:
                if one.job.id in renewed:
                    one.lease_ends = sent_at + self._lease

    def _wind_down(self, *, failed: bool) -> None:
        """Lets what runs finish. A process that is to stop, or has `failed`, hands back what did not begin.

        It stops what still runs after the grace period. It waits no longer for what another session has locked: the
        lease of that runs out, and it is done again.
        """
        self.claimer.close()
        began, cut = time.monotonic(), False
        while not self._executor.is_empty():
            cut = cut or failed or bool(self._stop)
            waited = time.monotonic() - began
            if cut:
                self._executor.hand_back_waiting()
            if cut and waited >= settings.WRK_STOP_GRACE_SECONDS:
                self._executor.stop_running()
            patience = settings.WRK_STOP_GRACE_SECONDS if cut else self._run.reconnect_seconds
            if waited >= patience and not self._executor.owned and self._executor.unrecorded <= self._executor.locked:
                return
            self._watch()
            self.wait()

    def _locked(self) -> list[Result]:
        return [result for completer in self._completers for result in completer.locked]

    def _raise_fault(self) -> None:
        for completer in self._completers:
            if completer.fault:
                raise completer.fault
