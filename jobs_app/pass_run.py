"""The table `passes`: what each run of a pass did. Passes run in processes that die, so metrics are made from here."""

import json
import os
import socket
from collections import Counter
from threading import Lock
from typing import ClassVar

from django.db import connections, models

from jobs_app.dialect import ByteCharField, EmptyObject, UtcNow, dialect


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

    class Meta:
        db_table = "passes"
        verbose_name = "pass"
        verbose_name_plural = "passes"
        indexes: ClassVar = [models.Index(fields=["name", "ended_at"], name="passes_name_ended")]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class RunRecord:
    """The row of a run in progress. Totals live in memory; `save` writes them whole, so writing twice does no harm.

    Safe to use from several threads of the run. `save` inside the transaction that records ends keeps both in step.
    """

    def __init__(self, name: str, using: str = "default") -> None:
        self.name, self._using = name, using
        self._totals: Counter[str] = Counter()
        self._lock = Lock()
        process = f"{socket.gethostname()}:{os.getpid()}"[:200]
        with connections[using].cursor() as cursor:
            cursor.execute("INSERT INTO passes (name, process) VALUES (%s, %s)", [name, process])
            self.id = cursor.lastrowid

    def add(self, counts: dict[str, int]) -> None:
        with self._lock:
            self._totals.update(counts)

    def totals(self, more: dict[str, int] | None = None) -> dict[str, int]:
        with self._lock:
            return dict(self._totals + Counter(more or {}))

    def save(self, more: dict[str, int] | None = None, *, error: str = "", ended: bool = False) -> None:
        """Writes the totals, plus `more` that the caller will `add` once its transaction is committed."""
        now = dialect(self._using).now
        with connections[self._using].cursor() as cursor:
            cursor.execute(
                f"UPDATE passes SET counts = %s, error = %s, seen_at = {now}{f', ended_at = {now}' if ended else ''} "
                "WHERE id = %s",
                [json.dumps(self.totals(more)), error, self.id],
            )
