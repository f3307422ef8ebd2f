"""Paused job names: the tables `paused_jobs` and `job_interventions`, and what a pause does to the rows of `jobs`.

The due jobs of a paused name are parked: their due time moves far away, so that no claim reads past them. When the
name is resumed they are brought back: they are due since then. Guards and locks: docs/moves.md.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import ClassVar, Self, TypeVar

from django.db import models, transaction

from jobs_app.db.columns import ByteCharField, UtcNow
from jobs_app.db.dialect import dialect, literal, marks, numbers
from jobs_app.db.statements import execute, fetch_ids
from jobs_app.db.transactions import BATCH
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models.intervention_base import InterventionBase
from jobs_app.models.locks import lock_jobs

Row = TypeVar("Row", bound=models.Model)  # Job, whose file imports this one

# The due time of a parked job. The release before this one parks a job at its own due time plus 7,200 years, so what it
# parked is due at PARKED_FROM or later as well. To bring a job back it subtracts 7,200 years: this moment gives
# 2026-01-01, which is due, and not so long ago that its wait would overflow the sums in `tallies`.
PARKED_AT = datetime(9226, 1, 1, tzinfo=UTC)
PARKED_FROM = datetime(7201, 1, 1, tzinfo=UTC)
_IS_PARKED = f"due_at >= {literal(PARKED_FROM)} AND due_at < {literal(LANES_FROM)}"
_IS_IN_LANE = f"due_at >= {literal(LANES_FROM)}"
_ROWS_PER_PARKING = 5000  # so many of the oldest due rows are looked through at once


class PauseMoves(models.QuerySet[Row]):
    """Part of JobQuerySet: the moves of jobs whose name is paused or resumed."""

    def park(self, names: Collection[str]) -> int:
        """Moves due `new` jobs of paused names out of the claims' way; returns how many.

        It looks at the oldest 5,000 due rows only, however many there are: claims read the index from there.
        """
        ids = sorted(self._oldest_due(names))
        size, is_due = BATCH, f"due_at <= {dialect().now}"
        return sum(self._park(names, ids[start : start + size], is_due) for start in range(0, len(ids), size))

    def park_from_lane(self, names: Collection[str], ids: Collection[int]) -> int:
        """Of paused names what waits for a permit: out of the way of the others that do."""
        return self._park(names, sorted(ids), _IS_IN_LANE)

    def _park(self, names: Collection[str], ids: Sequence[int], where: str) -> int:
        """Under the names' locks: what is resumed meanwhile is not parked, since nobody would bring it back."""
        with transaction.atomic(savepoint=False):
            if not (paused := PausedJob.objects.paused().lock(names)):
                return 0
            return self._set_due_at(literal(PARKED_AT), ids, f"{where} AND name IN ({marks(paused)})", paused)

    def bring_back(self, names: Collection[str]) -> int:
        """Parked jobs of resumed names are due since the resume, the oldest first; returns how many, at most 500.

        When none is left the names are forgotten, under the lock that parking needs: so none can be parked meanwhile.
        """
        resumed_at = "(SELECT resumed_at FROM paused_jobs WHERE paused_jobs.name = jobs.name)"
        with transaction.atomic(savepoint=False):
            if not (resumed := PausedJob.objects.resumed().lock(names)):
                return 0
            if ids := sorted(self._parked(resumed)):
                return self._set_due_at(resumed_at, ids, _IS_PARKED, [])
            PausedJob.objects.forget(resumed)
            return 0

    # In SQL of ours, since the index has to be named: the optimizers would read and sort all `new` rows.
    def _oldest_due(self, names: Collection[str]) -> list[int]:
        sql = dialect()
        return fetch_ids(
            f"SELECT id FROM (SELECT id, name FROM jobs {sql.force('jobs_status_due')} WHERE status = 'new' "
            f"AND due_at <= {sql.now} ORDER BY due_at, id LIMIT {_ROWS_PER_PARKING}) AS oldest "
            f"WHERE name IN ({marks(names)})",
            [*names],
        )

    def _parked(self, names: Collection[str]) -> list[int]:
        return fetch_ids(
            f"SELECT id FROM jobs {dialect().force('jobs_status_due')} WHERE status = 'new' AND {_IS_PARKED} "
            f"AND name IN ({marks(names)}) ORDER BY due_at, id LIMIT {BATCH}",
            [*names],
        )

    def _set_due_at(self, due_at: str, ids: Collection[int], guard: str, names: Collection[str]) -> int:
        """Leaves out what another session has locked: the next poll looks at that again."""
        if not (free := lock_jobs(ids, f"status = 'new' AND {guard}", [*names])):
            return 0
        return execute(f"UPDATE jobs {dialect().by_id} SET due_at = {due_at} WHERE id IN ({numbers(free)})")


class PausedJobQuerySet(models.QuerySet["PausedJob"]):
    # Filters ---------------------------------------------------------------------------------------------------------
    def paused(self) -> Self:
        return self.filter(resumed_at__isnull=True)

    def resumed(self) -> Self:
        return self.filter(resumed_at__isnull=False)

    # Locks, inside the caller's transaction --------------------------------------------------------------------------
    def lock(self, names: Collection[str]) -> list[str]:
        """Which of these names have a row, locked; what another transaction has locked is skipped."""
        rows = self.select_for_update(skip_locked=True).filter(name__in=names)
        return list(rows.order_by("name").values_list("name", flat=True))

    # Moves -----------------------------------------------------------------------------------------------------------
    def pause(self, name: str, *, by: str, reason: str) -> bool:
        """From the next look of every process on, nothing of this name is begun. False: it is paused already."""
        with transaction.atomic(savepoint=False):
            row, is_new = self.select_for_update().get_or_create(name=name, defaults={"by": by, "reason": reason})
            if not is_new and row.resumed_at is None:
                return False
            self.filter(name=name).update(by=by, reason=reason, at=UtcNow(), resumed_at=None)
        return True

    def resume(self, name: str) -> bool:
        """Ends the pause. The row stays until all of its parked jobs are brought back. False: it is not paused."""
        return self.paused().filter(name=name).update(resumed_at=UtcNow()) > 0

    def forget(self, names: Collection[str]) -> None:
        """Of resumed names, whose locks the caller holds, when none of their jobs is parked any more."""
        self.resumed().filter(name__in=names).delete()


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


class JobIntervention(InterventionBase):
    """What an operator did to a job name, by whom and why."""

    job = ByteCharField(max_length=100)

    class Meta:
        db_table = "job_interventions"

    def __str__(self) -> str:
        return f"{self.verb} {self.job} by {self.by}"
