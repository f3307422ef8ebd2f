"""The table `jobs`. Every move of a job stands in a mixin of JobQuerySet or in inserts.py, and nowhere else.

A mixin stands in a file of its own; docs/moves.md has the lock order. The schema's arrow (a job points at its request)
runs against the arrow of imports (requests_app imports jobs_app): the foreign key is a string, and SQL here names the
table `requests`.
"""

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Left

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow, json_text, one_of
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models.attempts import ENDED, OPEN, IfFails, JobStatus
from jobs_app.models.claims import Claims
from jobs_app.models.completions import Completions
from jobs_app.models.operator_moves import OperatorMoves
from jobs_app.models.pause import PARKED_FROM, PauseMoves
from jobs_app.models.permit_claims import PermitClaims
from jobs_app.models.retention import RetentionMoves
from jobs_app.printable import first_line


class JobQuerySet(  # type: ignore[override] # django-stubs gives each mixin an as_manager() of its own type
    Claims["Job"],
    Completions["Job"],
    OperatorMoves["Job"],
    PauseMoves["Job"],
    PermitClaims["Job"],
    RetentionMoves["Job"],
    models.QuerySet["Job"],
):
    """All that is done to jobs. No mixin calls another."""

    def open(self) -> Self:
        return self.filter(status__in=OPEN)

    def brief(self, error_characters: int = 600) -> Self:
        """To be shown: the beginnings of `error` and `answer` (`shown_error`, `shown_answer`).

        No extras, which may be large or unreadable.
        """
        return self.defer("error", "answer", "extras").annotate(
            shown_error=Left("error", error_characters), shown_answer=Left("answer", error_characters)
        )

    def with_extras_text(self, characters: int | None = None) -> Self:
        """With extras as JSON text (`extras_text`), or so many characters of it."""
        return self.defer("extras").annotate(extras_text=json_text("extras", characters))


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
    error = models.TextField(blank=True, db_default="")  # our own sentence, and where a bug is
    # What a service said, or the exception of a bug: personal data.
    answer = models.TextField(null=True, blank=True)  # noqa: DJ001 - a default of a text has MySQL copy the whole table
    extras = models.JSONField(null=True, blank=True)
    due_at = models.DateTimeField(db_default=UtcNow())
    if_fails = ByteCharField(max_length=8, choices=IfFails, db_default=IfFails.STOP.value)
    # A `new` job with `answer_by` waits: its callback said until when an answer may come, and `waits_for` what.
    answer_by = models.DateTimeField(null=True, blank=True)
    answer_within = models.IntegerField(null=True, blank=True)  # seconds, as its first Wait said
    waits_for = models.TextField(null=True, blank=True)  # noqa: DJ001 - as of `answer`
    checks = models.IntegerField(db_default=0)  # how often the callback of this attempt has said so
    claimed_by = ByteCharField(max_length=36, null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=UtcNow())
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    shown_error = shown_answer = ""  # of `brief()`
    extras_text: str | None = None  # of `with_extras_text()`

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
                moments=("due_at", "answer_by", "lease_until", "created_at", "started_at", "completed_at"),
                integers=("step", "attempt", "last_attempt", "checks"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (step {self.step}, attempt {self.attempt})"

    @property
    def is_waiting(self) -> bool:
        """Whether its callback asked to wait for an answer. No status of its own: it is `new`."""
        return self.status == JobStatus.NEW and self.answer_by is not None

    @property
    def shown_status(self) -> str:
        return "waiting" if self.is_waiting else JobStatus(self.status).label

    @property
    def awaited(self) -> str:
        """What it waits for, to stand within a sentence."""
        return first_line(self.waits_for or "an answer").rstrip(".")

    @property
    def is_parked(self) -> bool:
        """Whether it was due when its name was paused, and has not been brought back since."""
        return PARKED_FROM <= self.due_at < LANES_FROM

    @property
    def is_in_lane(self) -> bool:
        """Whether it is due, and waits for a permit of its limit or runs by one."""
        return self.due_at >= LANES_FROM

    @property
    def put_off(self) -> str:
        """What stands in place of its due time, which is far away, while it is paused or needs a permit; else empty."""
        if self.is_parked:
            return "paused"
        if not self.is_in_lane:
            return ""
        said = {JobStatus.NEW: "waits for a permit", JobStatus.INPROGRESS: "has a permit"}
        return said.get(JobStatus(self.status), "waited for a permit")
