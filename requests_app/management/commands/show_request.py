"""`manage.py show_request TOKEN`: a request with every attempt, and its explanation; or those about a subject."""

import json
from itertools import groupby
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from django.db.models import QuerySet

from jobs_app.db.columns import json_text
from jobs_app.db.faults import fault_line
from jobs_app.management.command import TaskerCommand
from jobs_app.management.operator_command import log_with_system_account
from jobs_app.models import Answer, Job
from jobs_app.models.attempts import MAX_STEPS_BYTES, IfFails, JobStatus
from jobs_app.printable import first_line, one_line
from jobs_app.tracing import traceparent
from requests_app.formatting import iso, read_json, short_by, span
from requests_app.models import Request, RequestStatus
from requests_app.models.request import JsonTexts
from requests_app.monitoring.events import log_personal_data_shown
from requests_app.operations.explain import explain
from requests_app.operations.find_requests import find
from requests_app.operations.stored_rows import answer_columns, columns_of, job_columns, request_columns

_MOST_ATTEMPTS = 5_000
_MOST_ANSWERS = 1_000
_MOST_REQUESTS = 100  # of a subject
_EXTRAS_TEXT: dict[str, Any] = {"extras_text": json_text("extras")}


class Command(TaskerCommand):
    help = "Shows a request: its steps, each job's attempts with times and errors, and what it waits for."
    output_is_result: ClassVar[bool] = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("token", nargs="?", help="the request's public name")
        which.add_argument(
            "--subject", metavar="S", help="lists the requests about it, or with this token, newest first"
        )
        parser.add_argument("--json", action="store_true", help="everything that is stored, params and extras too")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            if options["subject"] is not None:
                found = _about(options["subject"])
                text = (_list_as_json if options["json"] else _list_as_text)(found)
            else:
                found = [Request.objects.without_json().get(token=options["token"])]
                text = (_as_json if options["json"] else _as_text)(found[0], explain(found[0]))
            if options["json"]:
                with log_with_system_account():
                    for request in found[:_MOST_REQUESTS]:
                        log_personal_data_shown(request)
        except Request.DoesNotExist:
            raise CommandError(f"there is no request with token {one_line(options['token'])}") from None
        except DatabaseError as error:
            raise CommandError(f"the database cannot be read: {fault_line(error)}") from error
        self.stdout.write(text)


# A subject's ----------------------------------------------------------------------------------------------------------
def _about(subject: str) -> list[Request]:
    """One more than is shown when there are more. The message does not repeat it: it may be personal data."""
    found = find(subject, _MOST_REQUESTS + 1)
    if not (requests := list(Request.objects.without_json().filter(pk__in=found).order_by("-id"))):
        raise CommandError("there is no request about this subject, nor with this token")
    return requests


def _list_as_text(requests: list[Request]) -> str:
    shown = requests[:_MOST_REQUESTS]
    width = max(len(one_line(request.token)) for request in shown)
    lines = [
        f"{iso(request.created_at)}  {one_line(request.token):<{width}}  {request.status:<10}  "
        f"{one_line(request.action)}  {first_line(request.error) if request.error else ''}".rstrip()
        for request in shown
    ]
    return "\n".join([*lines, *([f"there are more than these {_MOST_REQUESTS}"] if requests[len(shown) :] else [])])


def _list_as_json(requests: list[Request]) -> str:
    """Without params, extras and steps, which each one's token gives."""
    shown = [columns_of(request, leave_out=JsonTexts._fields) for request in requests[:_MOST_REQUESTS]]
    return json.dumps({"requests": shown, "has_more": len(requests) > len(shown)}, indent=2)


# One ------------------------------------------------------------------------------------------------------------------
def _as_text(request: Request, explanation: str) -> str:
    jobs = list(request.jobs.brief().order_by("step", "name", "attempt")[: _MOST_ATTEMPTS + 1])
    by_step = {step: list(rows) for step, rows in groupby(jobs[:_MOST_ATTEMPTS], key=lambda job: job.step)}
    times = [
        ("placed", request.created_at),
        ("started", request.started_at),
        ("ended", request.completed_at),
        ("deadline", request.deadline_at),
    ]
    by = f" by {one_line(str(request.placed_by))}" if request.placed_by else ""
    lines = [
        f"{one_line(request.action)}  {one_line(request.token)}  {request.status}",
        "  ".join(f"{word} {iso(at)}{by if word == 'placed' else ''}" for word, at in times if at),
        explanation,
    ]
    if request.shortfall:
        lines.append(f"{short_by(request.shortfall)}: {', '.join(_gone_on_without(request, jobs))}")
    steps = _steps(request)
    for index, step in enumerate(steps):
        name = step.get("name") if isinstance(step, dict) else None
        lines += ["", f"step {index}  {one_line(str(name or '?'))}{'  <- here' if index == request.step else ''}"]
        lines += _attempts(by_step.get(index, [])) or ["  not begun"]
    if strays := [job for step, rows in by_step.items() if step >= len(steps) for job in rows]:
        lines += ["", "of no step", *_attempts(strays)]
    if len(jobs) > _MOST_ATTEMPTS:
        lines += ["", f"there are more attempts than these {_MOST_ATTEMPTS}"]
    if answers := list(_answers(request).defer("extras", "reason")[: _MOST_ANSWERS + 1]):
        lines += ["", "answers", *map(_answer, answers[:_MOST_ANSWERS])]
    if len(answers) > _MOST_ANSWERS:
        lines.append(f"  there are more answers than these {_MOST_ANSWERS}")
    if interventions := request.interventions.order_by("id"):
        lines += ["", "by hand"]
        lines += [
            f"  {iso(i.at)}  {i.verb} {i.job}".rstrip() + f"  {one_line(i.by)}: {one_line(i.reason)}"
            for i in interventions
        ]
    return "\n".join(lines)


def _gone_on_without(request: Request, jobs: list[Job]) -> list[str]:
    """The jobs of steps that are passed whose latest attempts failed."""
    latest = {(job.step, job.name): job for job in jobs}
    last = request.step if request.status == RequestStatus.COMPLETED else request.step - 1
    return [
        f"{name} (step {step})"
        for (step, name), job in latest.items()
        if step <= last and job.status == JobStatus.FAILURE and job.if_fails == IfFails.CONTINUE
    ]


def _steps(request: Request) -> list[Any]:
    """Of any shape; what is no list, or cannot be read, counts as none."""
    text = Request.objects.json_texts(request.pk, MAX_STEPS_BYTES + 1).steps
    try:
        steps = read_json(text, MAX_STEPS_BYTES)
    except ValueError:
        return []
    return steps if isinstance(steps, list) else []


def _attempts(jobs: list[Job]) -> list[str]:
    width = max((len(job.name) for job in jobs), default=0)
    lines = []
    for job in jobs:
        due = job.put_off or f"due {iso(job.due_at)}"
        when = f"began {iso(job.started_at)}" if job.started_at else due
        took = span(job.started_at, job.completed_at)
        if job.is_waiting:
            when, took = due, f"waits for {job.awaited} until {iso(job.answer_by)}"
        status = "waiting" if job.is_waiting else job.status
        lines.append(f"  {job.name:<{width}}  attempt {job.attempt:<3} {status:<10}  {when}  {took}".rstrip())
        if job.shown_error:
            lines.append(f"  {'':<{width}}  {first_line(job.shown_error)}")
    return lines


def _answers(request: Request) -> QuerySet[Answer]:
    return Answer.objects.filter(token=request.token).order_by("step", "job", "id").defer("extras")


def _answer(answer: Answer) -> str:
    """Without its reason and extras, which may be personal data."""
    effect = " ".join(filter(None, [answer.get_effect_display(), iso(answer.taken_at)]))
    attempt = "" if answer.attempt is None else f"attempt {answer.attempt}  "
    return (
        f"  {iso(answer.created_at)}  {one_line(answer.job)} (step {answer.step})  {attempt}{answer.outcome}  {effect}"
    )


def _as_json(request: Request, explanation: str) -> str:
    """All that is stored. Of what cannot be read, a sentence that says so."""
    return json.dumps(
        {
            **request_columns(request),
            "why": explanation,
            "jobs": [
                job_columns(job)
                | {"traceparent": traceparent(request.token, job.step, job.name, job.attempt, request.traceparent)}
                for job in request.jobs.with_extras_text().order_by("step", "name", "attempt")
            ],
            "answers": [
                answer_columns(answer) for answer in _answers(request).annotate(**_EXTRAS_TEXT)[:_MOST_ANSWERS]
            ],
            "interventions": [columns_of(row) for row in request.interventions.order_by("id")],
        },
        indent=2,
    )
