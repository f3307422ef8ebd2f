"""The two passes over the requests: run_new_requests picks up, run_inprogress_requests moves on."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction

from jobs_app.db.transactions import RECONNECT_SECONDS, fault_line, run_transaction
from jobs_app.models import Job, tally
from jobs_app.models.attempts import Attempt, ClaimOnInsert, LockedRequest, NewJob, Result
from jobs_app.models.inserts import insert_jobs
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.request_locks import lock_requests
from jobs_app.outcomes import storable_error
from jobs_app.registry import max_attempts, names
from jobs_app.worker.answers import take_answers
from jobs_app.worker.completer import Progressed
from jobs_app.worker.shutdown import Stop
from requests_app.callers import refusal
from requests_app.models import Request, RequestStatus, subjects
from requests_app.models.request import Position, QueuedRow
from requests_app.monitoring import events, tallies
from requests_app.operations.receipts import write_receipts
from requests_app.recipes import Recipe, known_actions, params_check, progress, recipe_of, recipes
from requests_app.recipes.progress import Advance, Complete, Decision, Fail, Wait
from requests_app.recipes.steps import MAX_STEPS_BYTES, Step, StepsError, if_fails_of, quoted, read_steps, to_json

log = structlog.stdlib.get_logger(__name__)

BATCH = 500  # requests in one transaction
CHECKED_BATCH = 100  # where there are params to check: of the largest allowed, one takes up to a quarter of a second
SCANNED = 5000  # requests in progress that one statement looks at


# run_new_requests ----------------------------------------------------------------------------------------------------
def run_new_requests(stop: Stop, run: RunRecord, *, limit: int | None = None) -> None:
    """One pass over the requests that wait for their pick-up, in batches, each in one transaction.

    1. Locks due `Queuing` requests, oldest first; what another pass has locked is skipped.
    2. Reads each one's steps, or its action's recipe.
    3. A good one becomes `Inprogress` and gets its first step's jobs. 4. A bad one becomes `Failed` with the reason.
    """
    left, batch = limit, CHECKED_BATCH if _checked_actions() else BATCH
    if not run_transaction(Request.objects.has_due, seconds=RECONNECT_SECONDS):
        return
    while not stop and left != 0:
        size = batch if left is None else min(batch, left)
        taken = start_due(run, size)
        run_transaction(run.heartbeat, seconds=RECONNECT_SECONDS)
        left = None if left is None else left - taken
        if taken < size:
            run.add({"locked": run_transaction(partial(Request.objects.count_due, BATCH), seconds=RECONNECT_SECONDS)})
            return


def start_due(
    run: RunRecord, limit: int, *, reconnect_seconds: float = RECONNECT_SECONDS, claim: ClaimOnInsert | None = None
) -> int:
    """Starts or refuses up to `limit` due requests; returns how many. `claim`: for the jobs that it inserts."""

    def work(*, may_exist: bool = False) -> dict[str, int]:
        with transaction.atomic():
            rows = Request.objects.lock_due(limit, _subject_keys(), _checked_actions())
            if not rows:
                return {}
            first_steps, errors = _read_all(rows)
            Request.objects.empty([row.id for row in rows if not row.is_sound])
            named = _subjects_of(rows)
            of_recipes = _recipes_of(rows), _deadlines_of(rows), _receipts_of(rows)
            started = Request.objects.start(list(first_steps), *of_recipes, subjects=named)
            refused = Request.objects.refuse(errors, named)
            _insert_step({id_: (0, step.jobs) for id_, step in first_steps.items()}, claim, may_exist=may_exist)
            counts = {"started": started, "refused": refused}
            good, bad = [row for row in rows if row.id in first_steps], [row for row in rows if row.id in errors]
            told = [row if _knows_receiver(row) else row._replace(notify="") for row in bad]
            Request.objects.place_notifications(failed=told)
            tally.add(
                tallies.count_started(row.action for row in good)
                + tallies.count_ended((row.action for row in bad), RequestStatus.FAILED)
            )
            events.log_started(good)
            events.log_ended(bad, RequestStatus.FAILED)
            return counts

    counts = _again_if_rows_exist(work, reconnect_seconds)
    run.add(counts)
    return sum(counts.values())


def _again_if_rows_exist(work: Callable[..., Mapping[str, int]], reconnect_seconds: float) -> Mapping[str, int]:
    """A duplicate key says that somebody inserted a step's rows already: look which, and insert the others."""
    try:
        return run_transaction(work, seconds=reconnect_seconds)
    except IntegrityError as error:
        log.warning("step_is_there_already", fault=fault_line(error))
        return run_transaction(partial(work, may_exist=True), seconds=reconnect_seconds)


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


def _recipes_of(rows: Iterable[QueuedRow]) -> dict[str, str]:
    """The recipes to write into requests that came without steps: action -> JSON text."""
    actions = {row.action for row in rows if row.steps_bytes is None}
    return {action: to_json(recipe.steps) for action in actions if (recipe := recipe_of(action))}


def _deadlines_of(rows: Iterable[QueuedRow]) -> dict[str, int]:
    """Of those with steps of their own too: action -> seconds from created_at, where its recipe has a deadline."""
    found = {action: recipe_of(action) for action in {row.action for row in rows}}
    return {
        action: seconds
        for action, recipe in found.items()
        if recipe and (seconds := recipe.deadline_seconds) is not None
    }


def _receipts_of(rows: Iterable[QueuedRow]) -> list[str]:
    """The actions among theirs whose requests get a receipt, also with steps of their own."""
    return sorted(action for action in {row.action for row in rows} if (recipe := recipe_of(action)) and recipe.receipt)


def _insert_step(
    steps: dict[int, tuple[int, tuple[str, ...]]], claim: ClaimOnInsert | None, *, may_exist: bool = False
) -> None:
    """`new` jobs: request id -> (step, job names). A name that this release lacks waits for one that has it."""
    there = Job.objects.existing(list(steps)) if may_exist else set()
    budgets = {name: max_attempts(name) for name in {name for _, job_names in steps.values() for name in job_names}}
    jobs = [
        NewJob(request_id, step, name, budgets[name], if_fails=if_fails_of(name))
        for request_id, (step, job_names) in steps.items()
        for name in job_names
        if (request_id, step, name) not in there
    ]
    insert_jobs(jobs, claim)


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


# run_inprogress_requests ---------------------------------------------------------------------------------------------
def run_inprogress_requests(stop: Stop, run: RunRecord, *, limit: int | None = None) -> None:
    """One pass over the answers, then over the requests in progress, in batches.

    Answers: each ends the attempt that waits for it, and its request is moved on immediately. Then it
    1. Scans for those whose current step has no open job. 2. Locks them; reads their steps and the step's job rows.
    3. Decides by the latest attempt of every job of the step. 4. One failed, and not with the reach `continue`: the
    request is `Failed`. All others completed: the next step's jobs are inserted, or it is `Completed`.
    Anything else is left alone; `show_request` says what does not add up. At last the receipts of what has ended.
    `limit`: so many answers, then so many requests; receipts have none.
    """
    take_answers(stop, run, progress_locked, reconnect_seconds=RECONNECT_SECONDS, limit=limit)
    left, after = limit, None
    while not stop and left != 0:
        moved, after = progress_page(run, after, left)
        left = None if left is None else left - moved
        if after is None:
            break
    write_receipts(stop, run, reconnect_seconds=RECONNECT_SECONDS)


def progress_page(
    run: RunRecord,
    after: Position | None = None,
    limit: int | None = None,
    *,
    reconnect_seconds: float = RECONNECT_SECONDS,
) -> tuple[int, Position | None]:
    """Scans one page of the requests in progress and moves on what is settled, at most `limit` of them.

    Returns how many it moved, and where the next page begins; None after the last one.
    """
    page = run_transaction(partial(Request.objects.scan_in_progress, SCANNED, after), seconds=reconnect_seconds)
    moved = start = 0
    while start < len(page.settled) and moved != limit:
        size = BATCH if limit is None else min(BATCH, limit - moved)  # what does not move takes nobody's place
        moved += progress_requests(run, page.settled[start : start + size], reconnect_seconds=reconnect_seconds)
        start += size
    run_transaction(run.heartbeat, seconds=reconnect_seconds)
    return moved, page.last


def progress_requests(run: RunRecord, ids: Sequence[int], *, reconnect_seconds: float = RECONNECT_SECONDS) -> int:
    """Moves these requests on as far as their current step's jobs allow; returns how many moved."""

    def work(*, may_exist: bool = False) -> Mapping[str, int]:
        with transaction.atomic():
            locked = lock_requests(ids)
            progressed = progress_locked(locked.values(), may_exist=may_exist)
            tally.add(progressed.tallies)
            return {**progressed.counts, "locked": len(ids) - len(locked)}

    counts = _again_if_rows_exist(work, reconnect_seconds)
    run.add(counts)
    return sum(counts.values()) - counts["locked"]


def progress_locked(
    requests: Iterable[LockedRequest],
    results: Iterable[Result] = (),
    claim: ClaimOnInsert | None = None,
    *,
    may_exist: bool = False,
) -> Progressed:
    """As `progress_requests`, in the caller's transaction and under its locks.

    `results`: what that transaction has recorded; an attempt that ran is its job's latest, so a request whose step they
    complete needs no further read. `claim`: for the jobs that are inserted.
    """
    going = {request.id: request for request in requests if request.status == RequestStatus.INPROGRESS}
    recorded: dict[int, list[Attempt]] = {id_: [] for id_ in going}
    for result in results:
        job = result.job
        if job.request_id in going and job.step == going[job.request_id].step:
            recorded[job.request_id].append(Attempt(job.name, job.attempt, result.status, "", job.if_fails))
    decisions = {id_: _decide(request, recorded[id_]) for id_, request in going.items()}
    unsettled = {id_: going[id_].step for id_, how in decisions.items() if not isinstance(how, Advance | Complete)}
    attempts = Job.objects.attempts_at(unsettled)
    decisions |= {id_: _decide(going[id_], attempts[id_]) for id_ in unsettled}
    return _apply([(going[id_], how) for id_, how in decisions.items()], claim, may_exist=may_exist)


def _decide(row: LockedRequest, attempts: Sequence[Attempt]) -> Decision:
    try:
        steps = read_steps(row.steps or "null")
    except StepsError as error:
        # Nothing of ours writes such steps. While jobs are open the request waits for them all the same.
        waits = progress.decide((), row.step, attempts) == Wait()
        return Wait() if waits else Fail(f"its steps cannot be read any more: {error}")
    return progress.decide(steps, row.step, attempts)


def _apply(
    decisions: Sequence[tuple[LockedRequest, Decision]], claim: ClaimOnInsert | None, *, may_exist: bool
) -> Progressed:
    """Writes what was decided."""
    advance = {row.id: (row.step + 1, how.jobs) for row, how in decisions if isinstance(how, Advance)}
    completed = [row for row, how in decisions if isinstance(how, Complete)]
    failed = [row for row, how in decisions if isinstance(how, Fail)]
    errors = {row.id: how.error for row, how in decisions if isinstance(how, Fail)}
    short = {row.id: how.short for row, how in decisions if isinstance(how, Advance | Complete) and how.short}
    moved = Counter(
        advanced=Request.objects.advance(list(advance), short),
        requests_completed=Request.objects.complete([row.id for row in completed], short),  # `completed` counts jobs
        requests_failed=Request.objects.fail(errors),
    )
    _insert_step(advance, claim, may_exist=may_exist)
    Request.objects.place_notifications(completed, failed=failed)
    events.log_ended(completed, RequestStatus.COMPLETED)
    events.log_ended(failed, RequestStatus.FAILED)
    return Progressed(
        +moved,
        tallies.count_ended((row.action for row in completed), RequestStatus.COMPLETED)
        + tallies.count_ended((row.action for row in failed), RequestStatus.FAILED)
        + tallies.count_short(row.action for row in completed if row.shortfall + short.get(row.id, 0)),
    )
