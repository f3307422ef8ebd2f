"""The table `answers`: what a service, or a person, answered to a job that waits. Placed by one INSERT of any program.

`token`, `step` and `job` are the parts of the Idempotency-Key that the service was given. No foreign key to requests:
a program that inserts two answers unsorted would deadlock with a batch of ours.
"""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow, one_of


class AnswerOutcome(models.TextChoices):
    COMPLETED = "completed", "completed"
    FAILURE = "failure", "failure"
    RETRY = "retry", "retry"


class Effect(models.TextChoices):
    NONE = "", "not taken yet"
    TAKEN = "taken", "taken"
    LATE = "late", "came too late"


class Answer(models.Model):
    """One answer. The first one taken ends the attempt that waits; a late one changes nothing."""

    id = models.BigAutoField(primary_key=True)
    token = ByteCharField(max_length=64)
    step = models.IntegerField()
    job = ByteCharField(max_length=100)
    attempt = models.IntegerField(null=True, blank=True)  # who names it ends, by failure or retry, that one alone
    outcome = ByteCharField(max_length=10, choices=AnswerOutcome)
    extras = models.JSONField(null=True, blank=True)
    reason = models.TextField(null=True, blank=True)  # noqa: DJ001 - a caller need not give one
    created_at = models.DateTimeField(db_default=UtcNow())
    taken_at = models.DateTimeField(null=True, blank=True)
    effect = ByteCharField(max_length=5, choices=Effect, blank=True, db_default=Effect.NONE.value)

    class Meta:
        db_table = "answers"
        indexes: ClassVar = [
            models.Index(fields=["effect", "id"], name="answers_effect"),
            models.Index(fields=["token", "step", "job"], name="answers_job"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=one_of("outcome", AnswerOutcome.values), name="answers_outcome_known"),
            models.CheckConstraint(
                condition=Q(effect="", taken_at__isnull=True)
                | (one_of("effect", [Effect.TAKEN.value, Effect.LATE.value]) & Q(taken_at__isnull=False)),
                name="answers_effect_known",
            ),
            SqliteTypes(name="answers_types", moments=("created_at", "taken_at"), integers=("step",)),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} for {self.job} (step {self.step})"
