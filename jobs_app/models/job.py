"""The table `jobs`. Every move of a job stands in JobQuerySet, its guard in sight, and nowhere else.

Those of the passes are in claims.py and ends.py, an operator's are here; docs/moves.md has their lock order. The
schema's arrow (a job points at its request) runs against the arrow of imports (requests_app imports jobs_app): the
foreign key is a string, and SQL here names the table `requests`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, ClassVar, Self

from django.db import connections, models
from django.db.models import Q

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow, one_of
from jobs_app.db.dialect import PARKED_FROM, PARKED_YEARS, numbers
from jobs_app.models.attempts import ENDED, OPEN, SETTLED, JobStatus, NewJob
from jobs_app.models.claims import ClaimMoves
from jobs_app.models.pass_run import PassRun as PassRun
from jobs_app.models.pause import JobIntervention as JobIntervention
from jobs_app.models.pause import PausedJob as PausedJob
from jobs_app.models.tally import Tally as Tally
from jobs_app.models.unseen_ends import UnseenEnd as UnseenEnd
from jobs_app.registry import max_attempts

SCRUBBED = "scrubbed"  # in place of an error or a reason that retention has removed


class JobQuerySet(ClaimMoves["Job"]):
    # Filters ---------------------------------------------------------------------------------------------------------
    def open(self) -> Self:
        return self.filter(status__in=OPEN)

    def waiting(self, request_id: int) -> Self:
        """A request's `new` jobs that wait for their due time; not those that are parked."""
        new = self.filter(request_id=request_id, status=JobStatus.NEW)
        return new.filter(due_at__gt=UtcNow(), due_at__lt=f"{PARKED_FROM}Z")

    def may_be_completed(self, request_id: int, step: int) -> Self:
        """The latest attempts of a step's jobs that `complete_by_hand` would take: they neither run nor are done."""
        latest = self.filter(request_id=request_id, step=step).latest_attempts()
        return latest.exclude(status__in=(JobStatus.INPROGRESS, JobStatus.COMPLETED))

    def latest_attempts(self) -> Self:
        later = Job.objects.filter(
            request_id=models.OuterRef("request_id"),
            step=models.OuterRef("step"),
            name=models.OuterRef("name"),
            attempt__gt=models.OuterRef("attempt"),
        )
        return self.filter(~models.Exists(later))

    # An operator's moves, under the request's lock -------------------------------------------------------------------
    def insert_again(self, request_id: int, step: int) -> None:
        """A new attempt, with a fresh budget, of every job of the step that needs one. Under the request's lock."""
        ended = self.filter(request_id=request_id, step=step).latest_attempts().exclude(status__in=SETTLED)
        self.insert_new(
            [
                NewJob(request_id, step, job.name, job.attempt + max_attempts(job.name), job.attempt + 1)
                for job in ended.order_by("id")
            ]
        )

    def make_due(self, request_id: int) -> int:
        """`new` jobs that wait are due now; parked ones stay parked. Under the request's lock."""
        return self.waiting(request_id).update(due_at=UtcNow())

    def complete_by_hand(self, request_id: int, step: int, name: str, extras: dict[str, Any] | None) -> bool:
        """Inserts a `completed` attempt, unless the latest one runs or has succeeded. Under the request's lock."""
        latest = self.filter(request_id=request_id, step=step, name=name).order_by("-attempt").first()
        if latest is None or latest.status in {JobStatus.INPROGRESS, JobStatus.COMPLETED}:
            return False
        if latest.status == JobStatus.NEW and not self._cancel([latest.id]):
            return False  # it was claimed meanwhile
        self.create(
            request_id=request_id,
            step=step,
            name=name,
            attempt=latest.attempt + 1,
            last_attempt=max(latest.last_attempt, latest.attempt + 1),
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
        """Empties what may be personal in the jobs of requests that are over; under their locks. A cause stays one."""
        emptied = "extras = NULL, error = CASE WHEN error = '' THEN '' ELSE %s END"
        return self._of_closed(f"UPDATE jobs SET {emptied}", [SCRUBBED], request_ids)

    def _of_closed(self, what: str, values: list[str], request_ids: Collection[int]) -> int:
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"{what} WHERE request_id IN ({numbers(request_ids)}) AND status NOT IN ('new', 'inprogress')",
                values,
            )
            return int(cursor.rowcount)


class Job(models.Model):
    """One attempt of one job of a request's step. A retried job has several rows; the latest attempt counts."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(
        "requests_app.Request", on_delete=models.PROTECT, related_name="jobs", db_index=False
    )  # no index of its own: the unique key begins with it
    step = models.IntegerField()
    name = ByteCharField(max_length=100)
    attempt = models.IntegerField(db_default=1)
    # The number of the last attempt allowed. In the row, so that handing back and retrying by hand can raise it.
    last_attempt = models.IntegerField(db_default=10)
    status = ByteCharField(max_length=10, choices=JobStatus, db_default=JobStatus.NEW.value)
    error = models.TextField(blank=True, db_default="")
    extras = models.JSONField(null=True, blank=True)
    due_at = models.DateTimeField(db_default=UtcNow())
    claimed_by = ByteCharField(max_length=36, null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=UtcNow())
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[JobQuerySet] = JobQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "jobs"
        indexes: ClassVar = [
            models.Index(fields=["status", "due_at", "id"], name="jobs_status_due"),
            models.Index(fields=["status", "lease_until", "id"], name="jobs_status_lease"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request", "step", "name", "attempt"], name="jobs_attempt"),
            models.CheckConstraint(condition=one_of("status", JobStatus.values), name="jobs_status_known"),
            models.CheckConstraint(condition=Q(attempt__gte=1, step__gte=0), name="jobs_numbers"),
            models.CheckConstraint(
                condition=(one_of("status", ENDED) & Q(completed_at__isnull=False))
                | (one_of("status", OPEN) & Q(completed_at__isnull=True)),
                name="jobs_completed_at",
            ),
            models.CheckConstraint(
                condition=Q(status=JobStatus.INPROGRESS, claimed_by__isnull=False, lease_until__isnull=False)
                | (~Q(status=JobStatus.INPROGRESS) & Q(claimed_by__isnull=True, lease_until__isnull=True)),
                name="jobs_lease",
            ),
            SqliteTypes(
                name="jobs_types",
                moments=("due_at", "lease_until", "created_at", "started_at", "completed_at"),
                integers=("step", "attempt", "last_attempt"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (step {self.step}, attempt {self.attempt})"

    @property
    def is_parked(self) -> bool:
        """Whether it was due when its name was paused, and rests since."""
        return self.due_at.year > PARKED_YEARS

    @property
    def own_due_at(self) -> datetime:
        """`due_at`; of a parked job the moment that it was due at."""
        return self.due_at.replace(year=self.due_at.year - PARKED_YEARS) if self.is_parked else self.due_at
