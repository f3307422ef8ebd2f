"""What is open and what waits, read by a fixed number of statements, each bounded and served by an index.

The overview and the metrics count by the same statement, up to the same bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import dialect, from_driver, literal
from jobs_app.db.statements import fetch_all
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models.pause import PARKED_FROM
from requests_app.models import RequestStatus
from requests_app.monitoring.awaited_answers import AwaitedAnswers, read_awaited

MOST_COUNTED = 50_000  # entries of an index, for each number; about 8 ms
_MOST_WAITING = 5  # of each kind of waiting


# Counts --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Backlog:
    """Numbers of rows, each up to MOST_COUNTED; `now` is the database's clock.

    Jobs that are `new` are due, to be due later, paused, or due and in lanes, where they wait for permits of limits;
    those `inprogress` are running, and of these `lost` have a lease that ran out. The oldest due times are None when
    there is no such row. `awaited`: of those that wait for an answer; before they are due they count nowhere else.
    """

    requests: dict[RequestStatus, int]
    due: int
    later: int
    paused: int
    in_lanes: int
    running: int
    lost: int
    awaited: AwaitedAnswers
    oldest_request: datetime | None
    oldest_job: datetime | None
    now: datetime

    @property
    def new(self) -> int:
        return min(MOST_COUNTED, self.due + self.later + self.paused + self.in_lanes)


def read_backlog(connection: BaseDatabaseWrapper, statuses: Sequence[RequestStatus]) -> Backlog:
    """One statement of subqueries, each a range of one index, and one of jobs that wait for an answer.

    `statuses`: of which requests are counted.
    """
    sql = dialect()
    requests, jobs = f"requests {sql.force('requests_status_due')}", f"jobs {sql.force('jobs_status_due')}"
    parts = [
        *(_count(requests, f"status = '{status}'") for status in statuses),
        _count(jobs, f"status = 'new' AND due_at <= {sql.now}"),
        _count(jobs, f"status = 'new' AND due_at > {sql.now} AND due_at < {literal(PARKED_FROM)}"),
        _count(jobs, f"status = 'new' AND due_at >= {literal(PARKED_FROM)} AND due_at < {literal(LANES_FROM)}"),
        _count(jobs, f"status = 'new' AND due_at >= {literal(LANES_FROM)}"),
        _count(jobs, "status = 'inprogress'"),
        _count(f"jobs {sql.force('jobs_status_lease')}", f"status = 'inprogress' AND lease_until < {sql.now}"),
        f"(SELECT MIN(due_at) FROM {requests} WHERE status = 'Queuing')",
        f"(SELECT MIN(due_at) FROM {jobs} WHERE status = 'new')",
        sql.now,
    ]
    [[*counts, oldest_request, oldest_job, now]] = fetch_all(f"SELECT {', '.join(parts)}", on=connection)
    due, later, paused, in_lanes, running, lost = counts[len(statuses) :]
    awaited = read_awaited(connection)
    return Backlog(
        requests=dict(zip(statuses, counts, strict=False)),
        due=due,
        later=max(0, later - awaited.later),
        paused=paused,
        in_lanes=in_lanes,
        running=running,
        lost=lost,
        awaited=awaited,
        oldest_request=from_driver(oldest_request) if oldest_request else None,
        oldest_job=from_driver(oldest_job) if oldest_job else None,
        now=from_driver(now),
    )


def _count(table: str, where: str) -> str:
    return f"(SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT {MOST_COUNTED}) AS counted)"


# What waits longest --------------------------------------------------------------------------------------------------
class BacklogItem(NamedTuple):
    """A request or a job that waits, `since` it was due. `what`: a key of WAITS_FOR. `job`: empty for a request."""

    what: str
    request_id: int
    token: str
    action: str
    job: str
    since: datetime


WAITS_FOR = {
    "queued": "its pick-up by run_new_requests",
    "due": "run_jobs",
    "lost": "run_jobs: its worker is gone",
    "progress": "its end; it is in progress",
    "answer": "an answer",
    "permit": "a permit of its limit",
}


def read_waiting() -> list[BacklogItem]:
    """The longest-waiting of each kind, the longest first."""
    sql = dialect()
    requests, jobs = f"requests r {sql.force('requests_status_due')}", f"jobs j {sql.force('jobs_status_due')}"
    leases = f"jobs j {sql.force('jobs_status_lease')}"
    has_new = (
        f"EXISTS (SELECT 1 FROM jobs j {sql.force('jobs_attempt')} WHERE j.request_id = r.id AND j.step = r.step "
        "AND j.status = 'new' AND "
    )
    progress = (
        f"CASE WHEN {has_new} j.answer_by IS NOT NULL) THEN 'answer' "
        f"WHEN {has_new} j.due_at >= {literal(LANES_FROM)}) THEN 'permit' ELSE 'progress' END"
    )
    parts = [
        _longest("'queued'", requests, f"status = 'Queuing' AND due_at <= {sql.now}", "due_at"),
        _longest(progress, requests, "status = 'Inprogress'", "due_at"),
        _longest("'due'", jobs, f"status = 'new' AND due_at <= {sql.now}", "due_at"),
        _longest("'lost'", leases, f"status = 'inprogress' AND lease_until < {sql.now}", "lease_until"),
    ]
    rows = [BacklogItem(*row)._replace(since=from_driver(row[-1])) for row in fetch_all(" UNION ALL ".join(parts))]
    return sorted(rows, key=lambda row: row.since)


def _longest(what: str, table: str, where: str, column: str) -> str:
    request, job = ("id", "''") if table.startswith("requests") else ("request_id", "name")
    return (
        f"SELECT {what}, r.id, r.token, r.action, longest.job, longest.since FROM "
        f"(SELECT {request} AS request_id, {job} AS job, {column} AS since FROM {table} WHERE {where} "
        f"ORDER BY {column}, id LIMIT {_MOST_WAITING}) AS longest JOIN requests r ON r.id = longest.request_id"
    )
