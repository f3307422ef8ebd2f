"""The table `answers`: what a service, or a person, answered to a job that waits. Placed by one INSERT of any program.

`token`, `step` and `job` are the parts of the Idempotency-Key that the service was given. No foreign key to requests:
a program that inserts two answers unsorted would deadlock with a batch of ours.
"""

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple, Self

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import RTrim

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow, json_text, one_of
from jobs_app.db.dialect import dialect
from jobs_app.db.statements import fetch_all
from jobs_app.models.attempts import ClaimedJob
from jobs_app.models.retention import SCRUBBED
from jobs_app.outcomes import MAX_ERROR_CHARACTERS, MAX_EXTRAS_BYTES

# Extras are measured as we write them; who escapes all that is no ASCII, or indents, needs some times as much.
MAX_EXTRAS_CHARACTERS = 4 * MAX_EXTRAS_BYTES


class AnswerOutcome(models.TextChoices):
    COMPLETED = "completed", "completed"
    FAILURE = "failure", "failure"
    RETRY = "retry", "retry"


class Effect(models.TextChoices):
    NONE = "", "not taken yet"
    TAKEN = "taken", "taken"
    LATE = "late", "came too late"


class PendingAnswer(NamedTuple):
    """An answer that nobody has taken. `extras`: JSON text, or its beginning; `reason`: or its beginning."""

    id: int
    token: str
    step: int
    job: str
    attempt: int | None
    outcome: str
    extras: str | None
    reason: str | None


# Whoever may answer may write megabytes, on SQLite also bytes where a text belongs; and the servers' CHECK of outcomes
# ignores spaces at the end. Of a reason twice what is kept: a credential that is cut in two would not be masked.
_READ: dict[str, Any] = {
    "outcome": RTrim("outcome"),
    "extras": json_text("extras", MAX_EXTRAS_CHARACTERS + 1),
    "reason": json_text("reason", 2 * MAX_ERROR_CHARACTERS),
}

# Of an answer to a later step: whether the text of that step seems not to name its job. JSON spells a name in several
# ways, so the steps themselves are read before anything is decided. REPLACE also makes a text of whatever SQLite holds.
_IS_NOT_NAMED = (
    "CASE WHEN JSON_VALID(r.steps) THEN COALESCE(INSTR("
    """JSON_EXTRACT(r.steps, REPLACE('$[at].jobs', 'at', a.step)), REPLACE('"at"', 'at', a.job)), 0) = 0 END"""
)


class AnswerQuerySet(models.QuerySet["Answer"]):
    """Locks, in this order: the answers' requests, their jobs, then the answers, each by id."""

    def pending(self) -> "AnswerQuerySet":
        return self.filter(effect=Effect.NONE)

    def of(self, tokens: Collection[str]) -> Self:
        """All answers to these requests."""
        return self.filter(token__in=tokens)

    def to_decide(self, limit: int, after: int = 0) -> list[tuple[int, int | None]]:
        """(id, id of its request) of answers that have an effect now, or never will, oldest first; None: no request.

        What came early is left out: its request is not picked up, its step has not come, its job runs or has not waited
        yet. `after`: only those with higher ids. Read without locks: who takes them decides again.
        """
        sql = dialect()
        return fetch_all(
            f"SELECT a.id, r.id FROM answers a {sql.force('answers_effect')} "
            "LEFT JOIN requests r ON r.token = a.token "
            f"LEFT JOIN jobs j {sql.force('jobs_attempt')} ON j.request_id = r.id AND j.step = a.step "
            "AND j.name = a.job AND j.status IN ('new', 'inprogress') "
            "WHERE a.effect = '' AND a.id > %s AND (r.id IS NULL "
            "OR r.status IN ('Completed', 'Failed', 'Cancelled') "
            f"OR (r.status = 'Inprogress' AND (a.step < r.step OR (a.step > r.step AND {_IS_NOT_NAMED}) "
            "OR (a.step = r.step AND (j.id IS NULL "
            "OR (a.attempt < j.attempt AND a.outcome <> 'completed') "
            "OR (j.status = 'new' AND j.answer_by IS NOT NULL "
            "AND (a.attempt IS NULL OR a.attempt <= j.attempt OR a.outcome = 'completed')))))))"
            " ORDER BY a.id LIMIT %s",
            [after, limit],
        )

    def rows(self, ids: Collection[int]) -> list[PendingAnswer]:
        """Which of them are pending, oldest first. Under their requests' locks nobody takes one meanwhile."""
        columns = [_READ.get(name, name) for name in PendingAnswer._fields]
        return [PendingAnswer(*row) for row in self.pending().filter(id__in=ids).order_by("id").values_list(*columns)]

    def lock_pending(self, ids: Collection[int]) -> set[int]:
        """Locks them by id; what another session has locked is left out."""
        rows = self.pending().filter(id__in=ids).order_by("id").select_for_update(skip_locked=True)
        return set(rows.values_list("id", flat=True))

    def pending_for(self, jobs: Collection[ClaimedJob]) -> set[int]:
        """Ids of the given attempts for which an answer is there. Under their requests' locks."""
        if not jobs:  # nearly always
            return set()
        by_key = {(job.token, job.step, job.name): job for job in jobs}
        answers = self.pending().filter(token__in={job.token for job in jobs})
        columns = "token", "step", "job", "attempt", _READ["outcome"]
        return {
            job.id
            for token, step, name, attempt, outcome in answers.values_list(*columns)
            if (job := by_key.get((token, step, name)))
            and (outcome == AnswerOutcome.COMPLETED or attempt in {None, job.attempt})
        }

    def mark(self, ids: Collection[int], effect: Effect) -> int:
        """Pending -> taken or late; under their locks."""
        return self.pending().filter(id__in=ids).update(effect=effect, taken_at=UtcNow()) if ids else 0

    def refuse(self) -> int:
        """Pending -> late, without what the table's CHECKs refuse: any session of MariaDB may switch them off for
        itself, and then every other UPDATE of its row is refused.
        """
        known = When(one_of("outcome", AnswerOutcome.values), then=F("outcome"))
        outcome = Case(known, default=Value(AnswerOutcome.FAILURE.value), output_field=models.CharField())
        return self.pending().update(effect=Effect.LATE, taken_at=UtcNow(), extras=None, outcome=outcome)

    def scrub(self) -> int:
        """Empties what may be personal; what was answered, and when, stays."""
        said = When(reason__gt="", then=Value(SCRUBBED))
        return self.update(extras=None, reason=Case(said, default=F("reason"), output_field=models.TextField()))


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

    objects: ClassVar[AnswerQuerySet] = AnswerQuerySet.as_manager()  # type: ignore[assignment]
    shown_reason: str | None = None  # of a page: their beginnings, as text
    extras_text: str | None = None

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
            SqliteTypes(name="answers_types", moments=("created_at", "taken_at"), integers=("step", "attempt")),
            SqliteTypes(name="answers_texts", texts=("token", "job", "extras", "reason")),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} for {self.job} (step {self.step})"
