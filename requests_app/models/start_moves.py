"""The moves of requests that wait for their pick-up: lock, start, refuse. Part of RequestQuerySet (request.py)."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeVar

from django.db import models

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import EARLIEST, case, dialect, marks, numbers
from jobs_app.db.statements import fetch_all
from requests_app.models.guarded_update import end_failed, update_guarded
from requests_app.models.receipt_moves import ReceiptState
from requests_app.models.status import RequestStatus
from requests_app.models.subjects import MOST_JSON_CHARACTERS, are_hashed
from requests_app.recipes import NOTIFY
from requests_app.recipes.params import MAX_PARAMS_BYTES
from requests_app.recipes.steps import MAX_STEPS_BYTES

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one

_YEAR_9000 = "'9000-01-01'"  # what was placed later has no deadline of a recipe: it could be after the year 9999
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


class StartMoves(models.QuerySet[Row]):
    def has_due(self) -> bool:
        """Whether a pick-up would find anything, in one statement that locks nothing."""
        sql = dialect()
        [[has_due]] = fetch_all(
            f"SELECT EXISTS(SELECT 1 FROM requests {sql.force('requests_status_due')} "
            f"WHERE status = 'Queuing' AND due_at <= {sql.now})"
        )
        return bool(has_due)

    def count_due(self, most: int) -> int:
        """How many wait for their pick-up, up to `most`. Right after a pick-up: what other sessions have locked.

        Not notifications: that pick-up may have placed them itself.
        """
        return self.filter(status=RequestStatus.QUEUING, due_at__lte=UtcNow()).exclude(action=NOTIFY)[:most].count()

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
        subject, names = _set_subjects(subjects or {}, errors)
        return end_failed(errors, "Queuing", subject, names)


def _set_subjects(subjects: Mapping[int, str], ids: Collection[int]) -> tuple[str, list[str]]:
    """The part of an UPDATE of `ids` that writes their subjects, for those in `subjects`, and its values."""
    named = {id_: subjects[id_] for id_ in ids if id_ in subjects}
    if not named:
        return "", []
    hashed = f"subject_hashed = subject_hashed OR id IN ({numbers(named)}), " if are_hashed() else ""
    return f"subject = {case(named, 'subject')}, {hashed}", [*named.values()]
