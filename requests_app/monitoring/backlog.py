"""What the admin's first page shows, read by a fixed number of statements, each bounded and served by an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection

from jobs_app.db.dialect import dialect
from jobs_app.models.attempts import JobStatus
from jobs_app.models.pause import PARKED_FROM
from requests_app.admin.charts import Chart, Column, chart
from requests_app.formatting import clock, duration
from requests_app.models import RequestStatus
from requests_app.monitoring.pass_health import aware

MOST_COUNTED = 10_000  # of each status
_MOST_ENDS = 50_000  # of each kind of end; the newest
_MOST_WAITING = 5  # of each kind of waiting
_SLOT = 300  # seconds
_HOUR_SLOTS, _DAY_HOURS = 12, 24
ENDS = (JobStatus.COMPLETED, JobStatus.RETRY, JobStatus.FAILURE)


# Counts --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Counts:
    """Up to MOST_COUNTED each; `requests` by status. Jobs: due, to be due, paused, running, with a lost lease."""

    requests: dict[RequestStatus, int]
    due: int
    later: int
    paused: int
    running: int
    lost: int
    now: datetime


def read_counts() -> Counts:
    sql = dialect("default")
    requests, jobs = f"requests {sql.force('requests_status_due')}", f"jobs {sql.force('jobs_status_due')}"
    parts = [
        *(_count(requests, f"status = '{status}'") for status in RequestStatus),
        _count(jobs, f"status = 'new' AND due_at <= {sql.now}"),
        _count(jobs, f"status = 'new' AND due_at > {sql.now} AND due_at < '{PARKED_FROM:%Y-%m-%d}'"),
        _count(jobs, f"status = 'new' AND due_at >= '{PARKED_FROM:%Y-%m-%d}'"),
        _count(jobs, "status = 'inprogress'"),
        _count(f"jobs {sql.force('jobs_status_lease')}", f"status = 'inprogress' AND lease_until < {sql.now}"),
        sql.now,
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", [])
        *numbers, now = cursor.fetchone()
    due, later, paused, running, lost = numbers[len(RequestStatus) :]
    return Counts(dict(zip(RequestStatus, numbers, strict=False)), due, later, paused, running, lost, aware(now))


def _count(table: str, where: str) -> str:
    return f"(SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT {MOST_COUNTED + 1}) AS counted)"


def number(count: int) -> str:
    return f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"


# What waits ----------------------------------------------------------------------------------------------------------
class Waiting(NamedTuple):
    """`what`: a key of WAITS_FOR. `job`: empty, when it is the request as a whole. `since`: when it was due."""

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
}


def read_waiting() -> list[Waiting]:
    """The longest-waiting of each kind, the longest first."""
    sql = dialect("default")
    requests, jobs = f"requests r {sql.force('requests_status_due')}", f"jobs j {sql.force('jobs_status_due')}"
    leases = f"jobs j {sql.force('jobs_status_lease')}"
    parts = [
        _longest("queued", requests, f"status = 'Queuing' AND due_at <= {sql.now}", "due_at"),
        _longest("progress", requests, "status = 'Inprogress'", "due_at"),
        _longest("due", jobs, f"status = 'new' AND due_at <= {sql.now}", "due_at"),
        _longest("lost", leases, f"status = 'inprogress' AND lease_until < {sql.now}", "lease_until"),
    ]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), [])
        rows = [Waiting(*row)._replace(since=aware(row[-1])) for row in cursor.fetchall()]
    return sorted(rows, key=lambda row: row.since)


def _longest(what: str, table: str, where: str, column: str) -> str:
    request, job = ("id", "''") if table.startswith("requests") else ("request_id", "name")
    return (
        f"SELECT '{what}', r.id, r.token, r.action, longest.job, longest.since FROM "
        f"(SELECT {request} AS request_id, {job} AS job, {column} AS since FROM {table} WHERE {where} "
        f"ORDER BY {column}, id LIMIT {_MOST_WAITING}) AS longest JOIN requests r ON r.id = longest.request_id"
    )


# What ended ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Ends:
    """Attempts that ended, by when they were due: begin of five minutes (unix seconds) -> kind -> how many.

    `since`: None when all of the last day was read, else up to when back.
    """

    slots: dict[int, dict[str, int]]
    since: datetime | None


def read_ends() -> Ends:
    """Of the last day. By their due times, since that is what an index has; they ended soon after."""
    sql = dialect("default")
    begin = sql.unix_seconds.format("due_at")
    slot = f"{begin} - {begin} %% {_SLOT}"
    newest = (
        f"SELECT %s, slot, COUNT(*) FROM (SELECT {slot} AS slot FROM jobs {sql.force('jobs_status_due')} "
        f"WHERE status = %s AND due_at > {sql.now_plus} ORDER BY due_at DESC LIMIT {_MOST_ENDS}) AS newest "
        "GROUP BY slot"
    )
    seconds = -(_DAY_HOURS + 1) * 3600
    with connection.cursor() as cursor:
        bound = [value for status in ENDS for value in (status.value, status.value, seconds)]
        cursor.execute(" UNION ALL ".join([newest] * len(ENDS)), bound)
        return _ends(cursor.fetchall())


def _ends(rows: Sequence[Any]) -> Ends:
    slots: dict[int, dict[str, int]] = {}
    first, totals = dict.fromkeys(ENDS, 0), dict.fromkeys(ENDS, 0)
    for name, slot, count in rows:
        status = JobStatus(name)
        slots.setdefault(slot, dict.fromkeys(ENDS, 0))[status] = count
        first[status] = min(first[status] or slot, slot)
        totals[status] += count
    cut = [first[status] for status in ENDS if totals[status] >= _MOST_ENDS]
    return Ends(slots, datetime.fromtimestamp(max(cut), UTC) if cut else None)


def charts(ends: Ends, now: datetime) -> tuple[Chart, Chart]:
    """Of the last hour in five minutes each, and of the last day in hours."""
    seconds = int(now.timestamp())
    last, last_hour = seconds - seconds % _SLOT, seconds - seconds % 3600
    hour = [_column(ends, last - _SLOT * back, _SLOT) for back in reversed(range(_HOUR_SLOTS))]
    day = [_column(ends, last_hour - 3600 * back, 3600) for back in reversed(range(_DAY_HOURS))]
    return chart("The last hour", hour, 3), chart("The last day", day, 4)


def _column(ends: Ends, first: int, seconds: int) -> Column:
    begin = datetime.fromtimestamp(first, UTC)
    parts = [ends.slots.get(slot, {}) for slot in range(first, first + seconds, _SLOT)]
    counts = {kind.label: sum(part.get(kind, 0) for part in parts) for kind in ENDS}
    said = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return Column(f"{begin:%H:%M}", f"{clock(begin)}, {duration(seconds)}: {said}", counts)
