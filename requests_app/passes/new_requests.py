"""The pass over the requests that wait for their pick-up."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from django.conf import settings
from django.db import transaction

from jobs_app.db.transactions import BATCH
from jobs_app.models import tally
from jobs_app.models.attempts import ClaimOnInsert
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import storable_error
from jobs_app.registry import names
from jobs_app.worker.shutdown import Stop
from requests_app.callers import refusal
from requests_app.models import Request, RequestStatus, subjects
from requests_app.models.start_moves import QueuedRow
from requests_app.monitoring import events, tallies
from requests_app.passes.step_jobs import again_if_rows_exist, insert_step
from requests_app.recipes import Recipe, known_actions, params_check, recipe_of, recipes
from requests_app.recipes.steps import MAX_STEPS_BYTES, Step, StepsError, quoted, read_steps, to_json

CHECKED_BATCH = 100  # where there are params to check: of the largest allowed, one takes up to a quarter of a second


def run_new_requests(stop: Stop, run: RunRecord, *, limit: int | None = None) -> None:
    """One pass over the requests that wait for their pick-up, in batches, each in one transaction.

    1. Locks due `Queuing` requests, oldest first; what another pass has locked is skipped.
    2. Reads each one's steps, or its action's recipe.
    3. A good one becomes `Inprogress` and gets its first step's jobs. 4. A bad one becomes `Failed` with the reason.
    """
    left, batch = limit, CHECKED_BATCH if _checked_actions() else BATCH
    if not run.transact(Request.objects.has_due):
        return
    while not stop and left != 0:
        size = batch if left is None else min(batch, left)
        taken = start_due(run, size)
        run.transact(run.heartbeat)
        left = None if left is None else left - taken
        if taken < size:
            run.add({"locked": run.transact(partial(Request.objects.count_due, BATCH))})
            return


def start_due(run: RunRecord, limit: int, *, claim: ClaimOnInsert | None = None) -> int:
    """Starts or refuses up to `limit` due requests; returns how many. `claim`: for the jobs that it inserts."""

    def work(*, may_exist: bool = False) -> dict[str, int]:
        with transaction.atomic():
            rows = Request.objects.lock_due(limit, _subject_keys(), _checked_actions())
            if not rows:
                return {}
            first_steps, errors = _read_all(rows)
            Request.objects.empty([row.id for row in rows if not row.is_sound])
            named = _subjects_of(rows)
            started = _start(rows, list(first_steps), named)
            refused = Request.objects.refuse(errors, named)
            insert_step({id_: (0, step.jobs) for id_, step in first_steps.items()}, claim, may_exist=may_exist)
            counts = {"started": started, "refused": refused}
            good, bad = [row for row in rows if row.id in first_steps], [row for row in rows if row.id in errors]
            told = [row if _knows_receiver(row) else row._replace(notify="") for row in bad]
            Request.objects.place_notifications(failed=told)
            tally.add(
                tallies.count_started(row.action for row in good)
                + tallies.count_ended_requests((row.action for row in bad), RequestStatus.FAILED)
            )
            events.log_started(good)
            events.log_ended_requests(bad, RequestStatus.FAILED)
            return counts

    counts = again_if_rows_exist(run, work)
    run.add(counts)
    return sum(counts.values())


def _read_all(rows: Sequence[QueuedRow]) -> tuple[dict[int, Step], dict[int, str]]:
    """By request id: the first step of the good ones, the reason of the bad ones."""
    first_steps: dict[int, Step] = {}
    errors: dict[int, str] = {}
    known = frozenset(names())
    for row in rows:
        try:
            first_steps[row.id] = _steps_of(row, known)[0]
        except StepsError as error:
            errors[row.id] = storable_error(str(error))
    return first_steps, errors


def _steps_of(row: QueuedRow, known: frozenset[str]) -> tuple[Step, ...]:
    if not row.is_sound:
        raise StepsError("written without the table's CHECKs: no JSON, or a moment before 1970; place it anew")
    has_steps = row.steps_bytes is not None
    if not row.is_ours and (why := refusal(settings.WRK_CALLERS, row.placed_by, row.action, has_steps=has_steps)):
        raise StepsError(why)
    if not _knows_receiver(row):
        receivers = ", ".join(sorted(settings.WRK_NOTIFY)) or "none"
        raise StepsError(f"notify: unknown receiver {quoted(row.notify)}; known: {receivers}; WRK_NOTIFY names them")
    if not row.params_are_object:
        raise StepsError('params: not a JSON object; write an object, for example {"id": 7}')
    recipe = recipe_of(row.action)
    if recipe and (faults := _params_faults(recipe, row.params)):
        raise StepsError(faults)
    if row.steps is not None:
        return read_steps(row.steps, known)
    if row.steps_bytes is not None:
        raise StepsError(f"steps: {row.steps_bytes} bytes; at most {MAX_STEPS_BYTES} are read")
    if recipe is None:
        raise StepsError(
            f"action: unknown action {quoted(row.action)}; known: {known_actions()}; or give the request its own steps"
        )
    return read_steps(to_json(recipe.steps), known)


def _params_faults(recipe: Recipe, text: str | None) -> str:
    """Of a request with steps of its own too: they are the action's. `text`: as of QueuedRow."""
    if (check := params_check(recipe)) is None or not (faults := check.faults_in_text(text)):
        return ""
    return f"{'; '.join(faults)}. Place it anew, under another token; or mend the recipe and retry_request"


def _knows_receiver(row: QueuedRow) -> bool:
    return not row.notify or row.notify in settings.WRK_NOTIFY


def _start(rows: Sequence[QueuedRow], ids: Collection[int], named: Mapping[int, str]) -> int:
    """Writes what their recipes say into them: the steps where they came without, deadline and receipt in any case."""
    found = {row.action: recipe for row in rows if (recipe := recipe_of(row.action))}
    without_steps = {row.action for row in rows if row.steps_bytes is None}
    steps = {action: to_json(recipe.steps) for action, recipe in found.items() if action in without_steps}
    seconds = {action: recipe.deadline_seconds for action, recipe in found.items()}
    deadlines = {action: number for action, number in seconds.items() if number is not None}
    receipts = [action for action, recipe in found.items() if recipe.receipt]
    return Request.objects.start(ids, steps, deadlines, receipts, named)


def _checked_actions() -> list[str]:
    return [recipe.action for recipe in recipes() if recipe.params is not None]


def _subject_keys() -> dict[str, str]:
    return {recipe.action: recipe.subject for recipe in recipes() if recipe.subject}


def _subjects_of(rows: Iterable[QueuedRow]) -> dict[int, str]:
    """By id, as they are to be kept, where that is not what the row has: the caller's own, else that in params."""
    found, keys = {}, _subject_keys()
    for row in rows:
        if row.subject_hashed:  # retried by hand since
            continue
        # The servers' CASE ignores spaces at an action's end.
        in_params = row.in_params if row.action in keys else None
        subject = subjects.kept(subjects.cleaned(row.subject) or subjects.subject_in(in_params))
        if subject != row.subject:
            found[row.id] = subject
    return found
