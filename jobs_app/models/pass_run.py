"""The table `passes`: what each run of a pass did. Passes run in processes that die, so metrics are made from here."""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from threading import Lock
from typing import Any, ClassVar, Self, TypeVar

from django.db import models

from jobs_app.db.columns import ByteCharField, EmptyObject, UtcNow
from jobs_app.db.transactions import RECONNECT_SECONDS, run_transaction

_IDLE_HEARTBEAT_SECONDS = 10.0
_BUSY_HEARTBEAT_SECONDS = 1.0  # when something was done since the last one
T = TypeVar("T")


class PassRunQuerySet(models.QuerySet["PassRun"]):
    def pass_names(self) -> list[str]:
        return list(self.order_by("name").values_list("name", flat=True).distinct())

    def old(self, name: str, seconds: float) -> Self:
        """Runs whose last heartbeat was so long ago; not the pass's newest, and not its newest success.

        Nobody writes them any more, so they may be deleted without a guard.
        """
        runs = self.filter(name=name)
        newest = runs.order_by("-id").values_list("id", flat=True)[:1]
        success = runs.filter(error="", ended_at__isnull=False).order_by("-ended_at").values_list("id", flat=True)[:1]
        cutoff = UtcNow() - timedelta(seconds=seconds)
        return runs.filter(seen_at__lt=cutoff).exclude(id__in=[*newest, *success])


class PassRun(models.Model):
    """One run of a pass (or of run_worker), from its start to its end; `ended_at` stays NULL when it was killed."""

    id = models.BigAutoField(primary_key=True)
    name = ByteCharField(max_length=40)
    process = models.CharField(max_length=200)
    started_at = models.DateTimeField(db_default=UtcNow())
    seen_at = models.DateTimeField(db_default=UtcNow())
    ended_at = models.DateTimeField(null=True, blank=True)
    counts = models.JSONField(db_default=EmptyObject())
    error = models.TextField(blank=True, db_default="")

    objects: ClassVar[PassRunQuerySet] = PassRunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "passes"
        verbose_name = "pass"
        verbose_name_plural = "passes"
        indexes: ClassVar = [models.Index(fields=["name", "ended_at"], name="passes_name_ended")]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class RunRecord:
    """The row of a run in progress, what the run did so far, and its transactions. Safe to use from several threads.

    Its counts are written with each heartbeat and at its end: of a run that is killed the last second may be missing.
    What must be exact is counted in the table `tallies`, by the transactions that do what is counted.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reconnect_seconds = RECONNECT_SECONDS  # longer once it holds jobs: Runner
        self._totals: Counter[str] = Counter()
        self._lock = Lock()
        self._beat_at, self._written = time.monotonic(), self.totals()
        self.id = PassRun.objects.create(name=name, process=f"{socket.gethostname()}:{os.getpid()}"[:200]).id

    def transact(self, work: Callable[[], T]) -> T:
        """`run_transaction`, for as long as this run waits for a lost connection."""
        return run_transaction(work, seconds=self.reconnect_seconds)

    def add(self, counts: Mapping[str, int]) -> None:
        """What was done, once the transaction that did it is committed."""
        with self._lock:
            self._totals.update(counts)

    def totals(self) -> dict[str, int]:
        with self._lock:
            return dict(+self._totals)

    def heartbeat(self) -> None:
        """Writes that the run is alive: a second after something was done, and ten seconds after the last time."""
        totals, silent = self.totals(), time.monotonic() - self._beat_at
        if silent >= _IDLE_HEARTBEAT_SECONDS or (silent >= _BUSY_HEARTBEAT_SECONDS and totals != self._written):
            self._write(totals)

    def end(self, error: str = "") -> None:
        self._write(self.totals(), error=error, ended_at=UtcNow())

    def _write(self, totals: dict[str, int], **columns: Any) -> None:
        PassRun.objects.filter(id=self.id).update(counts=totals, seen_at=UtcNow(), **columns)
        self._beat_at, self._written = time.monotonic(), totals
