"""Inserts jobs, as `new` or claimed at once. The caller holds their requests' locks: docs/moves.md says why."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs_app.db.dialect import dialect, literal
from jobs_app.db.statements import execute
from jobs_app.models.attempts import ClaimOnInsert, IfFails, NewJob
from jobs_app.registry import limits_of

_ROWS_PER_INSERT = 2000


def insert_jobs(jobs: Sequence[NewJob], claim: ClaimOnInsert | None = None) -> None:
    """With `claim`, as many as it allows are claimed as they are inserted: nobody else ever sees them as `new`.

    What is due now and needs a permit waits for it from the beginning.
    """
    if rules := limits_of(job.name for job in jobs):
        for rule in {*rules.values()}:
            in_lane = [job for job in jobs if rules.get(job.name) == rule and not job.delay_seconds]
            _insert_rows(in_lane, "status", "'new'", {}, due_at=literal(rule.lane))
        jobs = [job for job in jobs if job.name not in rules or job.delay_seconds]
    left = jobs
    if claim and jobs:
        allowed = [job for job in jobs if job.name not in claim.paused]
        claimed = allowed[: claim.limit]
        left = [*allowed[claim.limit :], *(job for job in jobs if job.name in claim.paused)]
        claim.steps |= {(job.request_id, job.step) for job in claimed}
        claim.count = len(claimed)
        sql = dialect()
        _insert_rows(
            claimed,
            "status, claimed_by, started_at, lease_until",
            f"'inprogress', %(claim)s, {sql.now}, {sql.later.format('%(seconds)s')}",
            {"claim": claim.id, "seconds": claim.lease_seconds},
        )
    _insert_rows(left, "status", "'new'", {})


def _insert_rows(jobs: Sequence[NewJob], columns: str, values: str, bound: Mapping[str, Any], due_at: str = "") -> None:
    """What rows have in common is given once; each name is bound once, however many rows have it."""
    sql = dialect()
    for start in range(0, len(jobs), _ROWS_PER_INSERT):
        part = jobs[start : start + _ROWS_PER_INSERT]
        marks = {name: f"name_{n}" for n, name in enumerate({job.name for job in part})}
        # A delay and a reach, which few rows have; else the columns' defaults.
        has_more = any(job.delay_seconds or job.if_fails != IfFails.STOP for job in part)
        rows = [
            f"{sql.row}({job.request_id:d}, {job.step:d}, %({marks[job.name]})s, {job.attempt:d}, "
            f"{job.last_attempt:d}{_more(job) if has_more else ''})"
            for job in part
        ]
        given = "request_id, step, name, attempt, last_attempt"
        more, due = (", if_fails", sql.later.format("delay")) if has_more else ("", sql.now)
        execute(
            f"INSERT INTO jobs ({given}{more}, due_at, {columns}) "
            f"WITH new ({given}{more}{', delay' if has_more else ''}) "
            f"AS (VALUES {', '.join(rows)}) SELECT {given}{more}, {due_at or due}, {values} FROM new",
            {**{mark: name for name, mark in marks.items()}, **bound},
        )


def _more(job: NewJob) -> str:
    return f", '{IfFails(job.if_fails).value}', {job.delay_seconds:.6f}"
