"""Time that jumps to what a request waits for: all its moments move into the past by as much."""

import math
from datetime import datetime

from django.db import connection

from jobs_app.db.dialect import database_now, dialect
from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus
from jobs_app.models.pause import PARKED_FROM
from requests_app.models import Request, RequestStatus

# What is parked, or in a limit's lane, has a moment of its own, which is none of the calendar's.
_MOMENTS = {
    "requests": ("id", ("due_at", "deadline_at", "created_at", "started_at", "completed_at")),
    "jobs": ("request_id", ("due_at", "answer_by", "lease_until", "created_at", "started_at", "completed_at")),
    "answers": ("token", ("created_at", "taken_at")),
}


def jump(request: Request) -> None:
    """To the next moment at which anything of it is due: pick-up, attempt, look, the end of a wait or of a lease."""
    now, moments = database_now(), _awaited(request)
    if moments and (seconds := (min(moments) - now).total_seconds()) >= 0:
        _shift(request, math.ceil(seconds * 1000 + 1) / 1000)


def end_wait(job: Job) -> None:
    """Of a job that nobody is to answer: it does not look again, its time for an answer is next."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET due_at = answer_by WHERE id = %s", [job.id])


def _awaited(request: Request) -> list[datetime]:
    if request.status == RequestStatus.QUEUING:
        return [request.due_at]
    moments = [job.lease_until if job.status == JobStatus.INPROGRESS else job.due_at for job in request.jobs.open()]
    return [moment for moment in moments if moment and moment < PARKED_FROM]


def _shift(request: Request, seconds: float) -> None:
    keys = {"id": request.id, "request_id": request.id, "token": request.token}
    with connection.cursor() as cursor:
        for table, (key, columns) in _MOMENTS.items():
            moved = {column: dialect(connection.alias).plus.format(column, "%s") for column in columns}
            sets = ", ".join(
                f"{column} = CASE WHEN {column} < '{PARKED_FROM:%Y-%m-%d}' THEN {earlier} ELSE {column} END"
                for column, earlier in moved.items()
            )
            cursor.execute(f"UPDATE {table} SET {sets} WHERE {key} = %s", [*[-seconds] * len(columns), keys[key]])
