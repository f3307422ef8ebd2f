"""Writes the receipts of requests that have ended: in batches, after the end, never in the transaction of the end.

What stands in a receipt is decided by `_body`: names, numbers and moments, and nothing that a caller, a service or an
operator wrote.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import structlog
from django.db import DatabaseError, transaction

from jobs_app.db.dialect import dialect, numbers
from jobs_app.db.faults import Fault, fault_line, sort_fault
from jobs_app.db.statements import fetch_all
from jobs_app.db.transactions import BATCH
from jobs_app.models.attempts import OPEN
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import storable_text
from jobs_app.worker.shutdown import Stop
from requests_app.models import Receipt, ReceiptHead, Request
from requests_app.models.receipt import Head, ReceiptRow, utc_text
from requests_app.models.receipt_moves import EndedRequest
from requests_app.recipes import recipes
from requests_app.recipes.steps import Step, StepsError, read_steps

log = structlog.stdlib.get_logger(__name__)

_ENDS_BY_HAND = {"complete_job", "fail_job"}  # the verbs whose attempts are born ended
_MOST_ATTEMPTS = 20_000  # rows of jobs that one transaction reads, unless one request alone has more


class AttemptRow(NamedTuple):
    request_id: int
    step: int
    name: str
    attempt: int
    status: str
    created_at: Any
    started_at: Any
    completed_at: Any


class ByHand(NamedTuple):
    request_id: int
    verb: str
    job: str
    by: str
    at: Any


Row = TypeVar("Row", AttemptRow, ByHand)


def write_receipts(stop: Stop, run: RunRecord) -> None:
    """All that are due. Requests that other sessions hold, or whose jobs still run, are left to the next pass."""
    after: int | None = 0
    while not stop and after is not None:
        after = write_page(run, after)
        run.transact(run.heartbeat)


def write_page(run: RunRecord, after: int, limit: int = BATCH) -> int | None:
    """The receipts of up to `limit` requests above `after`, by id.

    Returns where the next page begins; None after the last one, and while another process writes.
    """
    due = run.transact(partial(Request.objects.receipts_due, limit, after))
    attempts = accumulate(number for _, number in due)
    ids = [id_ for (id_, _), sum_ in zip(due, attempts, strict=True) if sum_ <= _MOST_ATTEMPTS]
    ids = ids or [id_ for id_, _ in due[:1]]
    if not ids or (written := _write(run, ids)) is None:
        return None
    run.add({"receipts": written})
    return ids[-1] if len(due) == limit or len(ids) < len(due) else None


def _write(run: RunRecord, ids: Sequence[int]) -> int | None:
    """How many; None: another process writes. One that the database refuses is not to hold up the others."""
    write = partial(_write_batch, ids)
    try:
        written = run.transact(write)
        if written is None and run.transact(ReceiptHead.objects.open):
            return run.transact(write)
        return written
    except (DatabaseError, TypeError, ValueError) as error:
        if isinstance(error, DatabaseError) and sort_fault(error) is not Fault.DATA:
            raise
        if len(ids) == 1:
            fault = fault_line(error) if isinstance(error, DatabaseError) else type(error).__name__
            log.warning("receipt_not_written", request_id=ids[0], fault=fault)
            return 0
        return sum(_write(run, [id_]) or 0 for id_ in ids)


def _write_batch(ids: Sequence[int]) -> int | None:
    with transaction.atomic():
        if (head := ReceiptHead.objects.lock()) is None:
            return None
        requests = Request.objects.lock_for_receipt(ids)
        attempts = _attempts([request.id for request in requests])
        requests = [request for request in requests if not _is_open(attempts.get(request.id, []))]
        if not requests:
            return 0
        by_hand = _by_hand([request.id for request in requests])
        bodies = [_body(one, attempts.get(one.id, []), by_hand.get(one.id, [])) for one in requests]
        rows = _chained(head, requests, bodies)
        Receipt.objects.append([(row, one.completed_at, head.now) for row, one in zip(rows, requests, strict=True)])
        Request.objects.receipt_written([request.id for request in requests])
        ReceiptHead.objects.move(rows[-1])
        return len(rows)


def _attempts(ids: Sequence[int]) -> dict[int, list[AttemptRow]]:
    columns = ", ".join(AttemptRow._fields)
    order = f"{dialect().force('jobs_attempt')} WHERE request_id IN ({numbers(ids)})"
    sql = f"SELECT {columns} FROM jobs {order} ORDER BY request_id, step, name, attempt"
    return _by_request(map(AttemptRow._make, _rows(sql, ids)))


def _by_hand(ids: Sequence[int]) -> dict[int, list[ByHand]]:
    columns = "request_id, verb, job, i.by, at"  # a word of SQL
    sql = f"SELECT {columns} FROM interventions i WHERE request_id IN ({numbers(ids)}) ORDER BY request_id, id"
    return _by_request(map(ByHand._make, _rows(sql, ids)))


def _rows(sql: str, ids: Sequence[int]) -> Sequence[Any]:
    """In SQL of ours: models would take half of the time of a whole receipt to read its moments."""
    return fetch_all(sql) if ids else []


def _by_request(rows: Iterable[Row]) -> dict[int, list[Row]]:
    return {id_: list(of_request) for id_, of_request in groupby(rows, key=itemgetter(0))}


def _is_open(attempts: Iterable[AttemptRow]) -> bool:
    """A cancelled request's job may still run: its end belongs into the receipt."""
    return any(attempt.status in OPEN for attempt in attempts)


def _chained(head: Head, requests: Sequence[EndedRequest], bodies: Sequence[Mapping[str, Any]]) -> list[ReceiptRow]:
    rows: list[ReceiptRow] = []
    previous, written_at = head.digest, utc_text(head.now) or ""
    for id_, (request, body) in enumerate(zip(requests, bodies, strict=True), start=head.next_id):
        names = (request.token, request.action, request.subject, request.status)
        row = ReceiptRow(id_, *names, utc_text(request.completed_at) or "", body, "", previous, written_at)
        rows.append(row._replace(digest=row.computed_digest()))
        previous = rows[-1].digest
    return rows


# What stands in it ----------------------------------------------------------------------------------------------------
def _body(request: EndedRequest, attempts: Sequence[AttemptRow], by_hand: Sequence[ByHand]) -> dict[str, Any]:
    by_step = {step: list(of_step) for step, of_step in groupby(attempts, key=lambda attempt: attempt.step)}
    steps, done_by_hand = _steps(request.steps), {one.job for one in by_hand if one.verb in _ENDS_BY_HAND}
    return {
        "created_at": utc_text(request.created_at),
        "started_at": utc_text(request.started_at),
        "shortfall": request.shortfall,
        "steps": [
            _step(steps[index] if index < len(steps) else None, by_step.get(index, []), done_by_hand)
            for index in range(max(len(steps), *(step + 1 for step in by_step), 0))
        ],
        "by_hand": [
            {"verb": one.verb, "job": one.job, "by": storable_text(one.by), "at": utc_text(one.at)} for one in by_hand
        ],
    }


def _step(step: Step | None, attempts: Iterable[AttemptRow], done_by_hand: Collection[str]) -> dict[str, Any]:
    """With the jobs that it names and that never began as well: nobody is to take them for done.

    The name of a step that is of no recipe was made up by a caller, and may be anything.
    """
    ours = {step.name for recipe in recipes() for step in recipe.steps}
    by_name = {name: list(of_job) for name, of_job in groupby(attempts, key=lambda attempt: attempt.name)}
    names = {**dict.fromkeys(map(str, step.jobs if step else ())), **by_name}
    jobs = {name: [_attempt(one, done_by_hand) for one in of_job or ()] for name, of_job in names.items()}
    return {
        "name": step.name if step and step.name in ours else "",
        "jobs": [{"name": name, "attempts": listed} for name, listed in jobs.items()],
    }


def _attempt(attempt: AttemptRow, done_by_hand: Collection[str]) -> dict[str, Any]:
    """`by_hand`: no service was called, somebody said how it ended. Such a row has one moment for all."""
    at_once = attempt.created_at == attempt.started_at == attempt.completed_at
    return {
        "attempt": attempt.attempt,
        "status": attempt.status,
        "by_hand": at_once and attempt.name in done_by_hand,
        "started_at": utc_text(attempt.started_at),
        "ended_at": utc_text(attempt.completed_at),
    }


def _steps(text: str | None) -> tuple[Step, ...]:
    try:
        return read_steps(text or "null")
    except StepsError:
        return ()
