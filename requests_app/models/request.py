"""The table `requests`. Every move of a request stands in RequestQuerySet or a mixin of it, and nowhere else.

Which moves there are, their guards and their lock order: docs/moves.md.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from django.db import models, transaction
from django.db.models import Q

from jobs_app.db.columns import ByteCharField, CurrentUser, EmptyObject, NewUuid, SqliteTypes, UtcNow, json_text, one_of
from jobs_app.db.dialect import EARLIEST, case, dialect, marks, numbers
from jobs_app.db.statements import fetch_all, fetch_ids
from requests_app.models.fingerprints import error_kind
from requests_app.models.guarded_update import update_guarded
from requests_app.models.notifications import Notifications
from requests_app.models.operator_moves import OperatorMoves
from requests_app.models.receipt_moves import RECEIPT_IS_DUE, ReceiptMoves, ReceiptState
from requests_app.models.retention import OldRequestQuerySet
from requests_app.models.retry_alike import AlikeMoves
from requests_app.models.status import FINAL, UNFINISHED, RequestStatus
from requests_app.models.subjects import MOST_JSON_CHARACTERS, are_hashed
from requests_app.recipes import NOTIFY
from requests_app.recipes.params import MAX_PARAMS_BYTES
from requests_app.recipes.steps import MAX_STEPS_BYTES

_YEAR_9000 = "'9000-01-01'"  # what was placed later has no deadline of a recipe: it could be after the year 9999
_MOMENTS = ("due_at", "created_at", "started_at", "completed_at", "scrubbed_at")


_IS_SOUND = (
    "JSON_VALID(params) AND JSON_VALID(extras) AND (steps IS NULL OR JSON_VALID(steps)) "
    f"AND due_at >= '{EARLIEST:%Y-%m-%d}' AND created_at >= '{EARLIEST:%Y-%m-%d}' "
    f"AND (deadline_at IS NULL OR deadline_at >= '{EARLIEST:%Y-%m-%d}')"
)

# A notification that we placed: no caller's grant lets it write extras.
_IS_OURS = f"action = '{NOTIFY}' AND steps IS NULL AND LENGTH(extras) > LENGTH('{{}}')"


class QueuedRow(NamedTuple):
    """A locked request that waits for its pick-up. `steps`: JSON text; None when it is NULL, or too long to read.

    `in_params`: JSON text of what its action's recipe says to be the subject, or the beginning of it.
    `params`: as JSON text, where they are to be checked and not too long for it.
    `is_sound`: not of one that the table's CHECKs refuse, which any session of MariaDB may switch off for itself.
    `is_ours`: a notification that we placed, by whichever account.
    """

    id: int
    token: str
    action: str
    params_are_object: bool
    steps: str | None
    steps_bytes: int | None
    is_sound: bool
    notify: str
    placed_by: str
    is_ours: bool
    subject: str | bytes
    subject_hashed: bool
    in_params: str | None
    params: str | None


class Position(NamedTuple):
    """A request's place among those of its status. `due_at` as the driver gives it (`Dialect.exact`)."""

    due_at: Any
    id: int


class JsonTexts(NamedTuple):
    """The three columns as they stand in the table, or their beginnings. Not `steps` while it is NULL."""

    params: str
    extras: str
    steps: str | None


class Page(NamedTuple):
    """Requests in progress. `settled`: those whose current step has no open job. `last`: None when no more follow."""

    settled: list[int]
    last: Position | None


class RequestQuerySet(  # type: ignore[override] # as of JobQuerySet
    OldRequestQuerySet["Request"],
    AlikeMoves["Request"],
    OperatorMoves["Request"],
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

    def has_due(self) -> bool:
        """Whether a pick-up would find anything, in one statement that locks nothing."""
        sql = dialect()
        [[has_due]] = fetch_all(
            f"SELECT EXISTS(SELECT 1 FROM requests {sql.force('requests_status_due')} "
            f"WHERE status = 'Queuing' AND due_at <= {sql.now})"
        )
        return bool(has_due)

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

    def count_due(self, most: int) -> int:
        """How many wait for their pick-up, up to `most`. Right after a pick-up: what other sessions have locked.

        Not notifications: that pick-up may have placed them itself.
        """
        return self.filter(status=RequestStatus.QUEUING, due_at__lte=UtcNow()).exclude(action=NOTIFY)[:most].count()

    def scan_in_progress(self, limit: int, after: Position | None = None) -> Page:
        """So many requests in progress, oldest first. Read without locks: who moves them on guards again."""
        sql = dialect()
        due_at = sql.exact.format("due_at")
        further = "AND (due_at > %s OR (due_at = %s AND id > %s)) " if after else ""
        rows = fetch_all(
            # Not in WHERE: MariaDB would turn EXISTS into a table of its own, made from all jobs, at every scan.
            f"SELECT {due_at}, id, NOT EXISTS "
            f"(SELECT 1 FROM jobs j {sql.force('jobs_attempt')} WHERE j.request_id = r.id AND j.step = r.step "
            "AND j.status IN ('new', 'inprogress')) "
            f"FROM requests r {sql.force('requests_status_due')} WHERE status = 'Inprogress' {further}"
            "ORDER BY due_at, id LIMIT %s",
            [*((after.due_at, *after) if after else ()), limit],
        )
        settled = [id_ for _, id_, is_settled in rows if is_settled]
        return Page(settled, Position(*rows[-1][:2]) if len(rows) == limit else None)

    # Locks, inside the caller's transaction --------------------------------------------------------------------------
    def lock_due(
        self, limit: int, subject_keys: Mapping[str, str] | None = None, checked: Collection[str] = ()
    ) -> list[QueuedRow]:
        """Due `Queuing` requests, oldest first, locked; those that another pass has locked are skipped.

        What may be huge stays in the database: of params only whether they are an object, of steps what is readable.
        `subject_keys`: action -> the key of params that holds its subject. `checked`: actions whose params are read.
        """
        sql, keys = dialect(), subject_keys or {}
        whens = " ".join([f"WHEN %s THEN {sql.json_part.format('params')}"] * len(keys))
        in_params = f"SUBSTR(CASE action {whens} END, 1, {MOST_JSON_CHARACTERS})" if keys else "NULL"
        is_read = f"action IN ({marks(checked)}) AND LENGTH(params) <= {MAX_PARAMS_BYTES}"
        params = f"CASE WHEN {is_read} THEN params END" if checked else "NULL"
        rows = fetch_all(
            "SELECT id, token, action, LOWER(JSON_TYPE(params)) = 'object', "
            f"CASE WHEN LENGTH(steps) <= %s THEN steps END, LENGTH(steps), {_IS_SOUND}, notify, "
            f"placed_by, {_IS_OURS}, subject, subject_hashed, {in_params}, {params} "
            f"FROM requests {sql.force('requests_status_due')} WHERE status = 'Queuing' AND due_at <= {sql.now} "
            f"ORDER BY due_at, id LIMIT %s {sql.skip_locked}",
            [
                MAX_STEPS_BYTES,
                *(part for action, key in keys.items() for part in (action, f'$."{key}"')),
                *checked,
                limit,
            ],
        )
        return [*map(QueuedRow._make, rows)]

    # Moves -----------------------------------------------------------------------------------------------------------
    def start(
        self,
        ids: Collection[int],
        recipes: Mapping[str, str],
        deadlines: Mapping[str, int] | None = None,
        receipts: Collection[str] = (),
        subjects: Mapping[int, str] | None = None,
    ) -> int:
        """`Queuing` -> `Inprogress`. `recipes`: action -> steps as JSON text, for those whose steps are NULL.

        `deadlines`: action -> seconds from created_at, for those without a deadline of their own. `receipts`: actions
        whose requests get a receipt of their end. `subjects`: id -> as it is to be kept, where it changes.
        """
        sql, deadlines = dialect(), deadlines or {}
        whens = " ".join(["WHEN %s THEN %s"] * len(recipes))
        steps = f"steps = COALESCE(steps, CASE action {whens} END), " if recipes else ""
        ends = " ".join(f"WHEN %s THEN {sql.plus.format('created_at', seconds)}" for seconds in deadlines.values())
        ends = f"CASE WHEN created_at < {_YEAR_9000} THEN CASE action {ends} END END"
        deadline = f"deadline_at = COALESCE(deadline_at, {ends}), " if deadlines else ""
        wanted = f"CASE WHEN action IN ({marks(receipts)}) THEN {ReceiptState.WANTED} ELSE {ReceiptState.NONE} END"
        receipt = f"receipt = {wanted}, " if receipts else ""
        subject, names = _set_subjects(subjects or {}, ids)
        return update_guarded(
            f"{steps}{deadline}{receipt}{subject}status = 'Inprogress', step = 0, shortfall = 0, "
            f"started_at = {sql.now}",
            [*(part for recipe in recipes.items() for part in recipe), *deadlines, *receipts, *names],
            ids,
            "Queuing",
        )

    def empty(self, ids: Collection[int]) -> int:
        """Of `Queuing` ones that are not sound: else each UPDATE of them, and of many with them, would be refused."""
        now = dialect().now
        sound = (
            f"params = '{{}}', extras = '{{}}', steps = NULL, deadline_at = NULL, due_at = {now}, created_at = {now}"
        )
        return update_guarded(sound, [], ids, "Queuing")

    def refuse(self, errors: Mapping[int, str], subjects: Mapping[int, str] | None = None) -> int:
        """`Queuing` -> `Failed`, each with its reason. `subjects`: as of `start`."""
        return self._end_failed(errors, "Queuing", subjects)

    def advance(self, ids: Collection[int], short: Mapping[int, int]) -> int:
        """To the next step. The caller holds the requests' locks and inserts the step's jobs.

        `short`: by request id, how many jobs of the step failed and are gone on without.
        """
        return self._leave_step("step = step + 1", ids, short)

    def complete(self, ids: Collection[int], short: Mapping[int, int]) -> int:
        """`Inprogress` -> `Completed`, under their locks. `short`: as of `advance`."""
        now = dialect().now
        return self._leave_step(f"status = 'Completed', completed_at = {now}, {RECEIPT_IS_DUE}", ids, short)

    def fail(self, errors: Mapping[int, str]) -> int:
        """`Inprogress` -> `Failed`, each with its reason, under their locks."""
        return self._end_failed(errors, "Inprogress")

    def _leave_step(self, assignments: str, ids: Collection[int], short: Mapping[int, int]) -> int:
        more = f", shortfall = shortfall + {case(short, '0')}" if short else ""
        return update_guarded(f"{assignments}{more}", [*short.values()], ids, "Inprogress")

    def _end_failed(self, errors: Mapping[int, str], status: str, subjects: Mapping[int, str] | None = None) -> int:
        subject, names = _set_subjects(subjects or {}, errors)
        return update_guarded(
            f"{subject}status = 'Failed', error = {case(errors, 'error')}, error_kind = {case(errors)}, "
            f"completed_at = {dialect().now}, {RECEIPT_IS_DUE}",
            [*names, *errors.values(), *map(error_kind, errors.values())],
            [*errors],
            status,
        )


def _set_subjects(subjects: Mapping[int, str], ids: Collection[int]) -> tuple[str, list[str]]:
    """The part of an UPDATE of `ids` that writes their subjects, for those in `subjects`, and its values."""
    named = {id_: subjects[id_] for id_ in ids if id_ in subjects}
    if not named:
        return "", []
    hashed = f"subject_hashed = subject_hashed OR id IN ({numbers(named)}), " if are_hashed() else ""
    return f"subject = {case(named, 'subject')}, {hashed}", [*named.values()]


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
