"""`manage.py show_request TOKEN`: a request with every attempt, and its explanation."""

import json
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from jobs_app.db.transactions import fault_line
from jobs_app.models import Job
from jobs_app.telemetry.printable import first_line, printable
from jobs_app.tracing import traceparent
from requests_app.formatting import iso, span
from requests_app.models import Intervention, Request
from requests_app.operations.explain import explain


class Command(BaseCommand):
    help = "Shows a request: its steps, each job's attempts with times and errors, and what it waits for."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("token", help="the request's public name")
        parser.add_argument("--json", action="store_true", help="everything that is stored, params and extras too")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            request = Request.objects.get(token=options["token"])
            jobs = list(request.jobs.order_by("step", "name", "attempt"))
            explanation = explain(request)
        except Request.DoesNotExist:
            raise CommandError(f"there is no request with token {options['token']}") from None
        except DatabaseError as error:
            raise CommandError(f"the database cannot be read: {fault_line(error)}") from error
        text = _as_json(request, jobs, explanation) if options["json"] else _as_text(request, jobs, explanation)
        self.stdout.write(printable(text))


def _as_text(request: Request, jobs: list[Job], explanation: str) -> str:
    times = [("placed", request.created_at), ("started", request.started_at), ("ended", request.completed_at)]
    lines = [
        f"{request.action}  {request.token}  {request.status}",
        "  ".join(f"{word} {iso(at)}" for word, at in times if at),
        explanation,
    ]
    steps = request.steps if isinstance(request.steps, list) else []
    for index, step in enumerate(steps):
        name = step.get("name") if isinstance(step, dict) else None
        lines += ["", f"step {index}  {name or '?'}{'  <- here' if index == request.step else ''}"]
        lines += _attempts([job for job in jobs if job.step == index]) or ["  not begun"]
    if strays := [job for job in jobs if job.step >= len(steps)]:
        lines += ["", "of no step", *_attempts(strays)]
    if interventions := request.interventions.order_by("id"):
        lines += ["", "by hand"]
        lines += [f"  {iso(i.at)}  {i.verb} {i.job}".rstrip() + f"  {i.by}: {i.reason}" for i in interventions]
    return "\n".join(lines)


def _attempts(jobs: list[Job]) -> list[str]:
    width = max((len(job.name) for job in jobs), default=0)
    lines = []
    for job in jobs:
        due = "paused" if job.is_parked else f"due {iso(job.due_at)}"
        when = f"began {iso(job.started_at)}" if job.started_at else due
        took = span(job.started_at, job.completed_at)
        lines.append(f"  {job.name:<{width}}  attempt {job.attempt:<3} {job.status:<10}  {when}  {took}".rstrip())
        if job.error:
            lines.append(f"  {'':<{width}}  {first_line(job.error)}")
    return lines


def _as_json(request: Request, jobs: list[Job], explanation: str) -> str:
    return json.dumps(
        {
            **_columns(request),
            "why": explanation,
            "jobs": [
                _columns(job, leave_out={"request"})
                | {"due_at": None if job.is_parked else iso(job.due_at)}
                | {"traceparent": traceparent(request.token, job.step, job.name, job.attempt)}
                for job in jobs
            ],
            "interventions": [_columns(row, leave_out={"request"}) for row in request.interventions.order_by("id")],
        },
        ensure_ascii=False,
        indent=2,
    )


def _columns(row: Request | Job | Intervention, leave_out: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
    fields = [field.name for field in row._meta.concrete_fields if field.name not in leave_out]
    values = {name: getattr(row, name) for name in fields}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in values.items()}
