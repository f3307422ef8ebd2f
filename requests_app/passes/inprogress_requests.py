"""The pass over the requests in progress. Moving some of them on is part of a worker's transaction as well."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from django.db import transaction

from jobs_app.db.transactions import BATCH
from jobs_app.models import Job, tally
from jobs_app.models.attempts import Attempt, ClaimOnInsert, LockedRequest, Result
from jobs_app.models.locks import lock_requests
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.answers import take_answers
from jobs_app.worker.recording import Progressed
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request, RequestStatus
from requests_app.models.progress_moves import Position
from requests_app.monitoring import events, tallies
from requests_app.passes.receipts import write_receipts
from requests_app.passes.step_jobs import again_if_rows_exist, insert_step
from requests_app.recipes import progress
from requests_app.recipes.progress import Advance, Complete, Decision, Fail, Stay
from requests_app.recipes.steps import StepsError, read_steps

SCANNED = 5000  # requests in progress that one statement looks at


def run_inprogress_requests(stop: Stop, run: RunRecord, *, limit: int | None = None) -> None:
    """One pass over the answers, then over the requests in progress, in batches.

    Answers: each ends the attempt that waits for it, and its request is moved on immediately. Then it
    1. Scans for those whose current step has no open job. 2. Locks them; reads their steps and the step's job rows.
    3. Decides by the latest attempt of every job of the step. 4. One failed, and not with the reach `continue`: the
    request is `Failed`. All others completed: the next step's jobs are inserted, or it is `Completed`.
    Anything else is left alone; `show_request` says what does not add up. At last the receipts of what has ended.
    `limit`: so many answers, then so many requests; receipts have none.
    """
    take_answers(stop, run, progress_locked, limit=limit)
    left, after = limit, None
    while not stop and left != 0:
        moved, after = progress_page(run, after, left)
        left = None if left is None else left - moved
        if after is None:
            break
    write_receipts(stop, run)


def progress_page(
    run: RunRecord,
    after: Position | None = None,
    limit: int | None = None,
) -> tuple[int, Position | None]:
    """Scans one page of the requests in progress and moves on what is settled, at most `limit` of them.

    Returns how many it moved, and where the next page begins; None after the last one.
    """
    page = run.transact(partial(Request.objects.scan_in_progress, SCANNED, after))
    moved = start = 0
    while start < len(page.settled) and moved != limit:
        size = BATCH if limit is None else min(BATCH, limit - moved)  # what does not move takes nobody's place
        moved += progress_requests(run, page.settled[start : start + size])
        start += size
    run.transact(run.heartbeat)
    return moved, page.last


def progress_requests(run: RunRecord, ids: Sequence[int]) -> int:
    """Moves these requests on as far as their current step's jobs allow; returns how many moved."""

    def work(*, may_exist: bool = False) -> Mapping[str, int]:
        with transaction.atomic():
            locked = lock_requests(ids)
            progressed = progress_locked(locked.values(), may_exist=may_exist)
            tally.add(progressed.tallies)
            return {**progressed.counts, "locked": len(ids) - len(locked)}

    counts = again_if_rows_exist(run, work)
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
        waits = progress.decide((), row.step, attempts) == Stay()
        return Stay() if waits else Fail(f"its steps cannot be read any more: {error}")
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
    insert_step(advance, claim, may_exist=may_exist)
    Request.objects.place_notifications(completed, failed=failed)
    events.log_ended_requests(completed, RequestStatus.COMPLETED)
    events.log_ended_requests(failed, RequestStatus.FAILED)
    return Progressed(
        +moved,
        tallies.count_ended_requests((row.action for row in completed), RequestStatus.COMPLETED)
        + tallies.count_ended_requests((row.action for row in failed), RequestStatus.FAILED)
        + tallies.count_short(row.action for row in completed if row.shortfall + short.get(row.id, 0)),
    )
