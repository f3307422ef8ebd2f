"""The one factory of rows: a request or a job in any state, as the tables' constraints have it; and what changed since.

Rows are committed or not as the test's own transaction is. Moments are the database's clock plus seconds.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.db import connection, transaction

from jobs_app.db.dialect import database_now
from jobs_app.limit_rules import LimitRule
from jobs_app.models import Answer, Job, Limit
from jobs_app.models.answer import AnswerOutcome
from jobs_app.models.attempts import ENDED, ClaimedJob, JobStatus
from jobs_app.models.pass_run import RunRecord
from jobs_app.passes import run_jobs
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request, RequestStatus
from requests_app.models.status import FINAL
from requests_app.passes import run_inprogress_requests, run_new_requests
from requests_app.recipes.steps import Step, if_fails_of, to_json

Row = dict[str, Any]
Rows = dict[tuple[str, int], Row]
TABLES = ("requests", "jobs")


# Rows ----------------------------------------------------------------------------------------------------------------
def shaped(*jobs_of_steps: Sequence[str]) -> list[Row]:
    """The value of `steps`: one step for each sequence of job names, or of `steps.Job`."""
    steps = [Step(f"step {index}", tuple(jobs)) for index, jobs in enumerate(jobs_of_steps)]
    return list(json.loads(to_json(steps)))


def make_request(
    status: str = "Queuing", *steps: Sequence[str], due_in: float = 0, recipe: bool = False, **columns: Any
) -> Request:
    """A request as it stands in that state. `steps`: its job names (default: one step, `noop`); `recipe`: NULL."""
    now = database_now()
    values: Row = {
        "action": "made_up",
        "steps": None if recipe else shaped(*(steps or [["noop"]])),
        "status": status,
        "created_at": now,
        "due_at": now + timedelta(seconds=due_in),
        "started_at": None if status == RequestStatus.QUEUING else now,
        "completed_at": now if status in FINAL else None,
        "error": "why it failed" if status == RequestStatus.FAILED else "",
    }
    return Request.objects.get(pk=Request.objects.create(**values | columns).pk)


def make_job(
    request: Request,
    name: str = "noop",
    status: str = "new",
    *,
    due_in: float = -1,
    lease: float = 300,
    answer_in: float | None = None,
    **columns: Any,
) -> Job:
    """A job as it stands in that state. In progress it has a claim of its own; its lease ends in `lease` seconds.

    `answer_in`: it asked once to wait for an answer, until so many seconds from now.
    `name`: or a `steps.Job`, which also says how far its failure reaches.
    """
    now = database_now()
    running = status == JobStatus.INPROGRESS
    values: Row = {
        "request": request,
        "step": request.step,
        "name": name,
        "if_fails": if_fails_of(name),
        "status": status,
        "created_at": now,
        "due_at": now + timedelta(seconds=due_in),
        "started_at": None if status in {JobStatus.NEW, JobStatus.CANCELLED} else now,
        "completed_at": now if status in ENDED else None,
        "claimed_by": str(uuid4()) if running else None,
        "lease_until": now + timedelta(seconds=lease) if running else None,
        "error": "why it ended so" if status in {JobStatus.FAILURE, JobStatus.RETRY} else "",
    }
    if answer_in is not None:
        values |= {"answer_by": now + timedelta(seconds=answer_in), "waits_for": "the vendor's answer"}
        values |= {"checks": 1, "started_at": now, "answer_within": round(abs(answer_in))}
    return Job.objects.get(pk=Job.objects.create(**values | columns).pk)


def make_many(count: int, name: str) -> None:
    """So many requests in progress, each with a job of this name that is due."""
    now = database_now()
    request = {"action": "made_up", "status": "Inprogress", "started_at": now, "created_at": now, "due_at": now}
    with transaction.atomic():
        insert_many("requests", [request | {"steps": json.dumps(shaped([name]))}] * count)
        ids = Request.objects.order_by("-id").values_list("id", flat=True)[:count]
        job = {"step": 0, "name": name, "due_at": now - timedelta(seconds=1)}
        insert_many("jobs", [{"request_id": id_} | job for id_ in sorted(ids)])


def make_in_lane(rule: LimitRule, name: str, status: str = "new", **columns: Any) -> Job:
    """A job of a request of its own that waits for a permit of this limit, or runs by one."""
    return make_job(make_request("Inprogress", [name]), name, status, due_at=rule.lane, **columns)


def open_limit(rule: LimitRule, *, opened_in: float = -90, open_in: float = 30, **columns: Any) -> Limit:
    """Its breaker opened and is tried again so many seconds from now, also when nobody knew of it."""
    now = database_now()
    moments = {"opened_at": now + timedelta(seconds=opened_in), "open_until": now + timedelta(seconds=open_in)}
    values = {"lane": rule.lane, "failures": 5, "openings": 1, "reason": "service2 DELETE /user/{id}: answered 503"}
    return Limit.objects.update_or_create(name=rule.name, defaults=values | moments | columns)[0]


def make_waiting(
    request: Request, name: str = "noop", *, within: float = 86_400, check: float = 3600, **columns: Any
) -> Job:
    """A job that waits for an answer for `within` seconds, and looks again after `check`."""
    return make_job(request, name, due_in=min(check, within), answer_in=within, **columns)


def waiting_request(*names: str, **columns: Any) -> Request:
    names = names or ("noop",)
    request = make_request("Inprogress", names, ["noop_1"])
    for name in names:
        make_waiting(request, name, **columns)
    return request


def insert_answer(request: Request | str, job: str = "noop", outcome: str = "completed", **columns: Any) -> int:
    """By one INSERT, as any program does it."""
    token, step = (request, 0) if isinstance(request, str) else (request.token, request.step)
    values = {"token": token, "step": step, "job": job, "outcome": outcome} | columns
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO answers ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
            [json.dumps(value) if isinstance(value, dict) else value for value in values.values()],
        )
        return int(cursor.lastrowid)


def make_answer(request: Request, job: str = "noop", *, came_in: float = -1, **columns: Any) -> Answer:
    """As a service placed it for the request's current step, so many seconds from now."""
    values: Row = {
        "token": request.token,
        "step": request.step,
        "job": job,
        "outcome": AnswerOutcome.COMPLETED,
        "created_at": database_now() + timedelta(seconds=came_in),
    }
    return Answer.objects.create(**values | columns)


def make_answer_to(token: str = "order-1", job: str = "noop", outcome: str = "completed", **columns: Any) -> Answer:  # noqa: S107 - a token of a request is no secret
    """Pending, unless `effect` says what became of it."""
    taken = {"taken_at": "2026-01-01 00:00:00.000000"} if columns.get("effect") else {}
    return Answer.objects.get(pk=insert_answer(token, job, outcome, **columns, **taken))


def held(job: Job, claim: str | None = None) -> ClaimedJob:
    """The job as the process that claimed it holds it; `claim`: another one than the row's."""
    said = claim or job.claimed_by or "a claim that is over"
    place = job.id, job.request_id, job.step, job.name, job.attempt, job.last_attempt
    return ClaimedJob(*place, said, if_fails=job.if_fails)


def insert_raw(action: str = "made_up", **columns: Any) -> int:
    """As a foreign program places a request; values are the columns' texts, so they may be anything. Returns its id."""
    values = {"action": action} | columns
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO requests ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
            [
                value if value is None or isinstance(value, str | int | bytes) else json.dumps(value)
                for value in values.values()
            ],
        )
        return int(cursor.lastrowid)


def insert_many(table: str, rows: Sequence[Row]) -> None:
    """Rows of the same columns, by one statement: `bulk_create` takes thirty times as long over thousands."""
    adapt = connection.ops.adapt_datetimefield_value
    values = [[adapt(one) if isinstance(one, datetime) else one for one in row.values()] for row in rows]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES ({', '.join(['%s'] * len(rows[0]))})", values
        )


def update_raw(table: str, id_: int, **columns: Any) -> None:
    """As somebody with a SQL client does, by one statement; the foreign keys are checked at its end."""
    with transaction.atomic(), connection.cursor() as cursor:
        sets = ", ".join(f"{name} = %s" for name in columns)
        cursor.execute(f"UPDATE {table} SET {sets} WHERE id = %s", [*columns.values(), id_])
        connection.check_constraints()


def let_leases_run_out() -> None:
    Job.objects.filter(status=JobStatus.INPROGRESS).update(lease_until=database_now() - timedelta(seconds=1))


# What they say afterwards ---------------------------------------------------------------------------------------------
def rows() -> Rows:
    """Both tables, every column."""
    found: Rows = {}
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT * FROM {table} ORDER BY id")
            names = [column[0] for column in cursor.description]
            for values in cursor.fetchall():
                row = dict(zip(names, values, strict=True))
                found[table, row["id"]] = row
    return found


def changed(before: Rows, after: Rows | None = None) -> Rows:
    """What differs: of an old row the columns that changed with their new values, of a new row all of it."""
    after = rows() if after is None else after
    assert before.keys() <= after.keys(), "rows are gone"
    found = {
        key: {name: value for name, value in row.items() if before.get(key, {}).get(name, ...) != value}
        for key, row in after.items()
    }
    return {key: row for key, row in found.items() if row}


def changes_by(act: Callable[[], object]) -> Rows:
    before = rows()
    act()
    return changed(before)


def statuses(request: Request) -> dict[tuple[str, int], str]:
    """Of a request's jobs: (name, attempt) -> status."""
    return {(job.name, job.attempt): job.status for job in Job.objects.filter(request=request).order_by("id")}


def seconds_from_now(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - database_now()).total_seconds()


# Passes in this process -----------------------------------------------------------------------------------------------
def pass_new(**options: Any) -> dict[str, int]:
    return _passed(run_new_requests, options)


def pass_jobs(**options: Any) -> dict[str, int]:
    return _passed(run_jobs, options)


def pass_inprogress(**options: Any) -> dict[str, int]:
    return _passed(run_inprogress_requests, options)


def _passed(run_pass: Callable[..., None], options: dict[str, Any]) -> dict[str, int]:
    """Runs one pass; returns what it counted."""
    run = RunRecord(run_pass.__name__)
    run_pass(**{"stop": Stop(), "run": run} | options)
    run.end()
    return run.totals()
