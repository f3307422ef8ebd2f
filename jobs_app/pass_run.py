"""The table `passes`: what each run of a pass did. Passes run in processes that die, so metrics are made from here."""

import os
import socket
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import timedelta
from threading import Lock
from typing import Any, ClassVar, Self

from django.db import connections, models

from jobs_app.dialect import ByteCharField, EmptyObject, UtcNow, dialect


class PassRunQuerySet(models.QuerySet["PassRun"]):
    def pass_names(self) -> list[str]:
        return list(self.order_by("name").values_list("name", flat=True).distinct())

    def old(self, name: str, seconds: float, limit: int) -> list[int]:
        """Runs that gave their last sign of life so long ago; not the pass's newest, and not its newest success."""
        return list(self._old(name, seconds).order_by("ended_at").values_list("id", flat=True)[:limit])

    def old_count(self, name: str, seconds: float) -> int:
        return self._old(name, seconds).count()

    def purge(self, ids: Collection[int]) -> int:
        """What has ended or was killed says nothing any more, so that no guard is needed."""
        return self.filter(id__in=ids).delete()[0]

    def _old(self, name: str, seconds: float) -> Self:
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
    """The row of a run in progress. Its counts are added to by SQL, inside the transactions that do what is counted.

    So they are exact whatever is killed, and a transaction that is run again because its COMMIT was not answered counts
    once. `totals` are this process's own, for the printed line. Safe to use from several threads.
    """

    def __init__(self, name: str, using: str = "default") -> None:
        self.name, self._using = name, using
        self._totals: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()
        self._lock = Lock()
        process = f"{socket.gethostname()}:{os.getpid()}"[:200]
        with connections[using].cursor() as cursor:
            cursor.execute("INSERT INTO passes (name, process) VALUES (%s, %s)", [name, process])
            self.id = cursor.lastrowid

    def add(self, counts: Mapping[str, int]) -> None:
        """To the totals, once the transaction that counted it is committed."""
        with self._lock:
            self._totals.update(counts)

    def note(self, counts: Mapping[str, int]) -> None:
        """To the totals, of what no transaction counts; the row gets it with the next sign of life."""
        self.add(counts)
        with self._lock:
            self._noted.update(counts)

    def totals(self) -> dict[str, int]:
        with self._lock:
            return dict(+self._totals)

    def count(self, counts: Mapping[str, int]) -> None:
        """Adds to the row. To be the last statement of the transaction: two threads of a run meet at this row."""
        paths = [f"$.{name}" for name in counts]
        more = ", CAST(COALESCE(JSON_EXTRACT(counts, %s), 0) + %s AS SIGNED)"
        values = [value for path, count in zip(paths, counts.values(), strict=True) for value in (path, path, count)]
        self._update(f", %s{more}" * len(paths), values)

    def seen(self) -> None:
        """Says that the run is alive, and what was noted."""
        self._update(*self._notes())

    def end(self, error: str = "") -> None:
        notes, values = self._notes()
        self._update(notes, values, f"error = %s, ended_at = {dialect(self._using).now}, ", [error])

    def _notes(self) -> tuple[str, list[Any]]:
        """Whole sums, which only this process knows: to write them twice does no harm."""
        with self._lock:
            noted = dict(self._noted)
        return ", %s, %s" * len(noted), [value for name, count in noted.items() for value in (f"$.{name}", count)]

    def _update(self, to_set: str, values: list[Any], assignments: str = "", bound: list[Any] | None = None) -> None:
        counts = f"counts = JSON_SET(counts{to_set}), " if to_set else ""
        with connections[self._using].cursor() as cursor:
            cursor.execute(
                f"UPDATE passes SET {counts}{assignments}seen_at = {dialect(self._using).now} WHERE id = %s",
                [*values, *(bound or ()), self.id],
            )
