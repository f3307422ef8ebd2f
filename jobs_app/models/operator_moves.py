"""The moves that operators' verbs and retention make, each under the request's lock: docs/moves.md.

Part of JobQuerySet (job.py).
"""

from collections.abc import Collection
from typing import Any, Self, TypeVar

from django.db import connections, models, transaction

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import numbers
from jobs_app.models.attempts import OPEN, SETTLED, JobStatus, NewJob
from jobs_app.models.inserts import insert_jobs
from jobs_app.models.pause import PARKED_FROM
from jobs_app.registry import max_attempts

Row = TypeVar("Row", bound=models.Model)

SCRUBBED = "scrubbed"  # in place of an error or a reason that retention has removed


class OperatorMoves(models.QuerySet[Row]):
    def waiting(self, request_id: int) -> Self:
        """A request's `new` jobs that wait for their due time; not those that are parked."""
        new = self.filter(request_id=request_id, status=JobStatus.NEW)
        return new.filter(due_at__gt=UtcNow(), due_at__lt=PARKED_FROM)

    def may_be_completed(self, request_id: int, step: int) -> Self:
        """The latest attempts of a step's jobs that `complete_by_hand` would take: they neither run nor are done."""
        latest = self.filter(request_id=request_id, step=step).latest_attempts()
        return latest.exclude(status__in=(JobStatus.INPROGRESS, JobStatus.COMPLETED))

    def latest_attempts(self) -> Self:
        later = self.model._default_manager.filter(
            request_id=models.OuterRef("request_id"),
            step=models.OuterRef("step"),
            name=models.OuterRef("name"),
            attempt__gt=models.OuterRef("attempt"),
        )
        return self.filter(~models.Exists(later))

    def are_locked(self, request_id: int) -> bool:
        """Whether another session holds one of its open jobs now. Locks them for a moment, and waits for nobody."""
        jobs = self.filter(request_id=request_id, status__in=OPEN).order_by("id")
        with transaction.atomic(using=self.db):
            free = list(jobs.select_for_update(skip_locked=True).values_list("id", flat=True))
            return set(jobs.values_list("id", flat=True)) > set(free)

    # Moves -----------------------------------------------------------------------------------------------------------
    def insert_again(self, request_id: int, step: int) -> None:
        """A new attempt, with a fresh budget, of every job of the step that needs one. Under the request's lock."""
        ended = self.filter(request_id=request_id, step=step).latest_attempts().exclude(status__in=SETTLED)
        again = ended.order_by("id").values_list("name", "attempt", "if_fails")
        jobs = [
            NewJob(request_id, step, name, attempt + max_attempts(name), attempt + 1, if_fails=if_fails)
            for name, attempt, if_fails in again
        ]
        insert_jobs(jobs, using=self.db)

    def make_due(self, request_id: int) -> int:
        """`new` jobs that wait are due now; parked ones stay parked. Under the request's lock."""
        return self.waiting(request_id).update(due_at=UtcNow())

    def complete_by_hand(self, request_id: int, step: int, name: str, extras: dict[str, Any] | None) -> bool:
        """Inserts a `completed` attempt, unless the latest one runs or has succeeded. Under the request's lock."""
        attempts = self.filter(request_id=request_id, step=step, name=name).order_by("-attempt")
        latest = attempts.values("id", "status", "attempt", "last_attempt", "if_fails").first()
        if latest is None or latest["status"] in {JobStatus.INPROGRESS, JobStatus.COMPLETED}:
            return False
        if latest["status"] == JobStatus.NEW:
            new = self.filter(id=latest["id"], status=JobStatus.NEW)
            if not new.update(status=JobStatus.CANCELLED, completed_at=UtcNow()):
                return False  # it was claimed meanwhile
        self.create(
            request_id=request_id,
            step=step,
            name=name,
            attempt=latest["attempt"] + 1,
            last_attempt=max(latest["last_attempt"], latest["attempt"] + 1),
            if_fails=latest["if_fails"],
            status=JobStatus.COMPLETED,
            extras=extras,
            started_at=UtcNow(),
            completed_at=UtcNow(),
        )
        return True

    def purge(self, request_ids: Collection[int]) -> int:
        """Deletes the jobs of requests that are over, whose locks the caller holds; never one that is open."""
        return self._of_closed("DELETE FROM jobs", [], request_ids)

    def scrub(self, request_ids: Collection[int]) -> int:
        """Empties what may be personal in the jobs of requests that are over; under their locks. An error stays one."""
        emptied = "extras = NULL, answer = NULL, error = CASE WHEN error = '' THEN '' ELSE %s END"
        return self._of_closed(f"UPDATE jobs SET {emptied}", [SCRUBBED], request_ids)

    def _of_closed(self, what: str, values: list[str], request_ids: Collection[int]) -> int:
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"{what} WHERE request_id IN ({numbers(request_ids)}) AND status NOT IN ('new', 'inprogress')",
                values,
            )
            return int(cursor.rowcount)
