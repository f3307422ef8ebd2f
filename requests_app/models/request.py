"""The table `requests`. Every move of a request stands in RequestQuerySet or a mixin of it, and nowhere else.

Which moves there are, their guards and their lock order: docs/moves.md.
"""

from collections.abc import Collection
from typing import ClassVar, NamedTuple, Self

from django.db import models, transaction
from django.db.models import Q

from jobs_app.db.columns import ByteCharField, CurrentUser, EmptyObject, NewUuid, SqliteTypes, UtcNow, json_text, one_of
from jobs_app.db.dialect import EARLIEST, dialect, marks, numbers
from jobs_app.db.statements import fetch_ids
from requests_app.models.bulk_retry import BulkRetryMoves
from requests_app.models.notifications import Notifications
from requests_app.models.operator_moves import OperatorMoves
from requests_app.models.progress_moves import ProgressMoves
from requests_app.models.receipt_moves import ReceiptMoves, ReceiptState
from requests_app.models.retention import OldRequestQuerySet
from requests_app.models.start_moves import StartMoves
from requests_app.models.status import FINAL, UNFINISHED, RequestStatus

_MOMENTS = ("due_at", "created_at", "started_at", "completed_at", "scrubbed_at")


class JsonTexts(NamedTuple):
    """The three columns as they stand in the table, or their beginnings. Not `steps` while it is NULL."""

    params: str
    extras: str
    steps: str | None


class RequestQuerySet(  # type: ignore[override] # as of JobQuerySet
    OldRequestQuerySet["Request"],
    BulkRetryMoves["Request"],
    OperatorMoves["Request"],
    StartMoves["Request"],
    ProgressMoves["Request"],
    Notifications["Request"],
    ReceiptMoves["Request"],
    models.QuerySet["Request"],
):
    """All that is done to requests. Each mixin stands in a file of its own, and calls none but those it is made of."""

    # Filters ---------------------------------------------------------------------------------------------------------
    def without_json(self) -> Self:
        """For verbs and pages: what may be huge, or no JSON to Python, is read where it is needed (`json_texts`)."""
        return self.defer(*JsonTexts._fields)

    def json_texts(self, id_: int, characters: int | None = None) -> JsonTexts:
        """`characters`: of each column no more. Of a request that was purged meanwhile, what a scrubbed one has."""
        columns = (json_text(column, characters) for column in JsonTexts._fields)
        return JsonTexts(*(self.filter(id=id_).values_list(*columns).first() or ("{}", "{}", None)))

    def ended_of(self, ids: Collection[int]) -> set[int]:
        """Which of these requests are in a final state."""
        if not ids:
            return set()
        where = f"id IN ({numbers(ids)}) AND status IN ({marks(FINAL)})"
        return {*fetch_ids(f"SELECT id FROM requests {dialect().by_id} WHERE {where}", [*FINAL])}

    def is_locked(self, id_: int) -> bool:
        """Whether another session holds its row now. Locks it for a moment, and waits for nobody."""
        with transaction.atomic():
            return not self.filter(pk=id_).select_for_update(skip_locked=True).values_list("pk").first()


class Request(models.Model):
    """One operation to be carried out in several services, step by step."""

    id = models.BigAutoField(primary_key=True)
    token = ByteCharField(max_length=64, unique=True, db_default=NewUuid())
    action = ByteCharField(max_length=100)
    params = models.JSONField(db_default=EmptyObject())
    extras = models.JSONField(db_default=EmptyObject())
    steps = models.JSONField(null=True, blank=True)
    step = models.IntegerField(db_default=0)
    status = ByteCharField(max_length=10, choices=RequestStatus, db_default=RequestStatus.QUEUING.value)
    error = models.TextField(blank=True, db_default="")
    error_kind = ByteCharField(max_length=8, blank=True, db_default="")  # of a Failed one: its error's fingerprint
    subject = ByteCharField(max_length=100, blank=True, db_default="")  # whom it is about
    # Who inserted it. No grant lets a caller write it; 384: MariaDB's longest user and host, and the @.
    placed_by = ByteCharField(max_length=384, blank=True, db_default=CurrentUser())
    subject_hashed = models.BooleanField(db_default=False)  # by us, at its pick-up: never twice
    notify = ByteCharField(max_length=50, blank=True, db_default="")  # which receiver of WRK_NOTIFY is told of its end
    # Its caller's place in a trace (W3C). What is none is ignored: a CHECK could not be added to a table in use.
    traceparent = ByteCharField(max_length=55, blank=True, db_default="")
    due_at = models.DateTimeField(db_default=UtcNow())
    deadline_at = models.DateTimeField(null=True, blank=True)  # ends nothing; who is late is told of
    shortfall = models.IntegerField(db_default=0)  # jobs that failed and that it went on without
    receipt = models.SmallIntegerField(choices=ReceiptState, db_default=ReceiptState.NONE.value)
    created_at = models.DateTimeField(db_default=UtcNow())
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    scrubbed_at = models.DateTimeField(null=True, blank=True)  # when purge_requests removed what may be personal

    objects: ClassVar[RequestQuerySet] = RequestQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "requests"
        permissions: ClassVar = [
            ("view_personal_data", "Can see the values of params, extras and answers"),
            ("operate_request", "Can retry, complete and cancel by hand"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "due_at", "id"], name="requests_status_due"),
            models.Index(fields=["status", "deadline_at", "id"], name="requests_deadline"),
            models.Index(fields=["subject", "id"], name="requests_subject"),
            models.Index(fields=["error_kind", "id"], name="requests_error_kind"),
            models.Index(fields=["placed_by", "id"], name="requests_placed_by"),
            # The admin's filters, in the order of its list.
            models.Index(fields=["action", "created_at", "id"], name="requests_action"),
            models.Index(fields=["created_at", "id"], name="requests_created"),
            models.Index(fields=["shortfall", "id"], name="requests_short"),
            models.Index(fields=["receipt", "id"], name="requests_receipt"),
            # Retention's: what has ended and is not scrubbed yet. What is, is never looked at again.
            models.Index(fields=["scrubbed_at", "completed_at", "id"], name="requests_unscrubbed"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=one_of("status", RequestStatus.values), name="requests_status_known"),
            models.CheckConstraint(condition=Q(step__gte=0), name="requests_step"),
            models.CheckConstraint(
                condition=(one_of("status", FINAL) & Q(completed_at__isnull=False))
                | (one_of("status", UNFINISHED) & Q(completed_at__isnull=True)),
                name="requests_completed_at",
            ),
            # 0000-00-00, 0001-01-01: what a caller writes that has no moment. It would be the first in every queue.
            models.CheckConstraint(
                condition=Q(**{f"{moment}__gte": EARLIEST for moment in _MOMENTS}), name="requests_moments"
            ),
            models.CheckConstraint(condition=Q(deadline_at__gte=EARLIEST), name="requests_deadline_moment"),
            SqliteTypes(
                name="requests_types",
                moments=(*_MOMENTS, "deadline_at"),
                integers=("step", "shortfall"),
            ),
            SqliteTypes(
                name="requests_texts",
                texts=("token", "action", *JsonTexts._fields, "subject", "notify", "traceparent"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.token}"
