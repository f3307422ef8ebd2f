"""Rows of requests and jobs in any state, as tests of interleavings need them; and what the tables say afterwards."""

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection

from jobs_app.db.dialect import dialect
from jobs_app.models import Job
from jobs_app.models.attempts import ClaimedJob
from requests_app.models import Request


def add_request(
    *steps: Sequence[str], status: str = "Inprogress", step: int = 0, error: str = "", extras: str = "{}"
) -> int:
    """A request whose steps have these jobs; without any, one step of `records` and `records_1`."""
    now = dialect("default").now
    shapes = [{"name": f"step {i}", "jobs": jobs} for i, jobs in enumerate(steps or [["records", "records_1"]])]
    started = "NULL" if status == "Queuing" else now
    ended = now if status in {"Completed", "Failed", "Cancelled"} else "NULL"
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO requests (action, status, step, error, extras, steps, started_at, completed_at) "
            f"VALUES ('x', %s, %s, %s, %s, %s, {started}, {ended})",
            [status, step, error, extras, json.dumps(shapes)],
        )
        return int(cursor.lastrowid)


def add_job(request_id: int, name: str, status: str = "new", *, lease: float = 300, **columns: Any) -> ClaimedJob:
    """A job row. In progress it is held under its id's claim, its lease `lease` seconds from now (below 0: over)."""
    sql = dialect("default")
    claim = f"claim of {request_id} {name} {columns.get('attempt', 1)}"
    values = {"step": 0, "attempt": 1, "last_attempt": 10} | columns
    running, ended = status == "inprogress", status not in {"new", "inprogress"}
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO jobs (request_id, name, status, {', '.join(values)}, started_at, completed_at, claimed_by, "
            f"lease_until) VALUES (%s, %s, %s, {', '.join(['%s'] * len(values))}, "
            f"{'NULL' if status in {'new', 'cancelled'} else sql.now}, {sql.now if ended else 'NULL'}, %s, "
            f"{sql.now_plus if running else 'NULL'})",
            [request_id, name, status, *values.values(), claim if running else None, *([lease] if running else [])],
        )
        id_ = int(cursor.lastrowid)
    return ClaimedJob(id_, request_id, values["step"], name, values["attempt"], values["last_attempt"], claim)


def let_leases_run_out() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE jobs SET lease_until = {dialect('default').now_plus} WHERE status = 'inprogress'", [-1])


def statuses(request_id: int) -> dict[str, list[str]]:
    """Of a request's jobs: by name, its attempts' statuses in order. Of later steps: by `name@step`."""
    found: dict[str, list[str]] = {}
    for step, name, status in (
        Job.objects.filter(request_id=request_id)
        .order_by("step", "name", "attempt")
        .values_list("step", "name", "status")
    ):
        found.setdefault(name if step == 0 else f"{name}@{step}", []).append(status)
    return found


def status_of(request_id: int) -> str:
    return str(Request.objects.get(pk=request_id).status)
