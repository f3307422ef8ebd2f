"""The tables `paused_jobs` and `job_interventions`: which names are paused, and who paused and resumed them and why.

What a pause does to the jobs' rows (they are parked) stands in JobQuerySet; its guards and locks: docs/moves.md.
"""

from collections.abc import Collection
from typing import ClassVar, Self

from django.db import connections, models, transaction

from jobs_app.db.columns import ByteCharField, UtcNow
from jobs_app.db.dialect import dialect, marks


class PausedJobQuerySet(models.QuerySet["PausedJob"]):
    # Filters ---------------------------------------------------------------------------------------------------------
    def paused(self) -> Self:
        return self.filter(resumed_at__isnull=True)

    # Locks, inside the caller's transaction --------------------------------------------------------------------------
    def lock_paused(self, names: Collection[str]) -> list[str]:
        """Those of these that are paused, locked by name ascending; what another transaction has locked is skipped."""
        return self._lock(names, "resumed_at IS NULL", dialect(self.db).skip_locked)

    def lock_resumed(self, names: Collection[str]) -> list[str]:
        """Those of these that are resumed and have rows left to bring back, locked by name ascending."""
        return self._lock(names, "resumed_at IS NOT NULL", dialect(self.db).for_update)

    def _lock(self, names: Collection[str], guard: str, lock: str) -> list[str]:
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT name FROM paused_jobs WHERE name IN ({marks(names)}) AND {guard} ORDER BY name {lock}",
                [*names],
            )
            return [row[0] for row in cursor.fetchall()]

    # Moves -----------------------------------------------------------------------------------------------------------
    def pause(self, name: str, *, by: str, reason: str) -> bool:
        """From the next look of every process on, nothing of this name is begun. False: it is paused already."""
        with transaction.atomic(using=self.db):
            row, is_new = self.select_for_update().get_or_create(name=name, defaults={"by": by, "reason": reason})
            if not is_new and row.resumed_at is None:
                return False
            self.filter(name=name).update(by=by, reason=reason, at=UtcNow(), resumed_at=None)
            JobIntervention.objects.create(job=name, verb="pause_job", by=by, reason=reason)
        return True

    def resume(self, name: str, *, by: str, reason: str) -> bool:
        """Ends the pause. The row stays until all of its parked jobs are brought back. False: it is not paused."""
        with transaction.atomic(using=self.db):
            if not self.paused().filter(name=name).update(resumed_at=UtcNow()):
                return False
            JobIntervention.objects.create(job=name, verb="resume_job", by=by, reason=reason)
        return True

    def forget(self, names: Collection[str]) -> None:
        """Of resumed names, whose locks the caller holds, when none of their jobs is parked any more."""
        self.filter(name__in=names, resumed_at__isnull=False).delete()


class PausedJob(models.Model):
    """A paused job name; with `resumed_at`: one that is paused no longer, and has parked jobs to be brought back."""

    name = ByteCharField(max_length=100, primary_key=True)
    by = models.CharField(max_length=150)
    reason = models.TextField(blank=True, db_default="")
    at = models.DateTimeField(db_default=UtcNow())
    resumed_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[PausedJobQuerySet] = PausedJobQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "paused_jobs"
        verbose_name = "paused job"
        permissions: ClassVar = [("operate_job", "Can pause and resume job names")]

    def __str__(self) -> str:
        return str(self.name)


class JobIntervention(models.Model):
    """What an operator did to a job name, by whom and why."""

    id = models.BigAutoField(primary_key=True)
    job = ByteCharField(max_length=100)
    verb = ByteCharField(max_length=40)
    by = models.CharField(max_length=150)
    reason = models.TextField(blank=True, db_default="")
    at = models.DateTimeField(db_default=UtcNow())

    class Meta:
        db_table = "job_interventions"

    def __str__(self) -> str:
        return f"{self.verb} {self.job} by {self.by}"
