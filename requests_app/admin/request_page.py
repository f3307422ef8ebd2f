"""What the admin's page of a request shows: the request and every attempt, formatted for its template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models.functions import Left
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs_app.db.columns import json_text
from jobs_app.models import Answer, Job
from jobs_app.models.attempts import JobStatus
from jobs_app.outcomes import MAX_ERROR_CHARACTERS
from jobs_app.printable import first_line, shortened
from requests_app.admin.badges import badge, job_badge
from requests_app.admin.masking import masked, masked_subject
from requests_app.admin.timeline import timeline
from requests_app.formatting import clock, pretty, read_json, short_by, span
from requests_app.models import Intervention, Request, RequestStatus
from requests_app.models.request import JsonTexts
from requests_app.monitoring.deadlines import DeadlineState, deadline_state
from requests_app.recipes.steps import MAX_STEPS_BYTES, Step, StepsError, read_steps

_MOST_ATTEMPTS = 500
_MOST_INTERVENTIONS = 100
_MOST_ANSWERS = 100
_MOST_ERROR_CHARACTERS = 8_000
_MOST_REASON_CHARACTERS = 1_000
_MOST_JSON = MAX_STEPS_BYTES  # characters of each of params, extras and steps; a longer one is not read
_MOST_EXTRAS = 4_000  # characters of each attempt's
_ENDS = (JobStatus.COMPLETED, JobStatus.RETRY, JobStatus.FAILURE, JobStatus.CANCELLED)
LEGEND = {status.value: badge(status, status.label) for status in _ENDS}


def badge_of(request: Request) -> SafeString:
    is_short = request.status == RequestStatus.COMPLETED and request.shortfall
    label = request.get_status_display()
    return badge(request.status, f"{label}, {short_by(request.shortfall)}" if is_short else label)


def history(request: Request) -> list[Job]:
    """All attempts, in the order of step, name and attempt; one more than is shown when there are more."""
    jobs = Job.objects.filter(request_id=request.pk).order_by("step", "name", "attempt")
    shown = jobs.brief(_MOST_ERROR_CHARACTERS).with_extras_text(_MOST_EXTRAS + 1)
    return list(shown[: _MOST_ATTEMPTS + 1])


def answers_of(request: Request) -> list[Answer]:
    """In the order of their index."""
    columns = {
        "shown_reason": Left("reason", _MOST_REASON_CHARACTERS),
        "extras_text": json_text("extras", _MOST_EXTRAS + 1),
    }
    answers = Answer.objects.filter(token=request.token).defer("reason", "extras").annotate(**columns)
    return list(answers.order_by("step", "job", "id")[: _MOST_ANSWERS + 1])


def texts_of(request: Request) -> JsonTexts:
    return Request.objects.json_texts(request.pk, _MOST_JSON + 1)


def interventions_of(request: Request) -> list[tuple[str, Intervention]]:
    """When, and what operators did; the newest first."""
    rows = request.interventions.defer("reason").annotate(said=Left("reason", _MOST_REASON_CHARACTERS))
    return [(clock(row.at), row) for row in rows.order_by("-id")[:_MOST_INTERVENTIONS]]


def deadline_shown(request: Request, now: datetime) -> SafeString:
    state = deadline_state(request, now)
    signs = {DeadlineState.OVERDUE: "failed", DeadlineState.DUE_SOON: "retry"}
    return format_html(
        '<span class="nowrap">{}</span> {}',
        clock(request.deadline_at),
        badge(signs[state], state.label) if state else "",
    )


def subject_shown(request: Request, *, is_unmasked: bool) -> str:
    return masked_subject(request.subject, is_hashed=request.subject_hashed, is_unmasked=is_unmasked)


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One row of the history."""

    step: str
    job: Job
    badge: SafeString
    due: str
    started: str
    completed: str
    took: str
    lease: str
    waits: str
    error: str
    first_error_line: str
    answer: str
    extras: str


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One answer that came to a job of the request. `reason` and `extras`: masked, or not."""

    step: str
    answer: Answer
    outcome: SafeString
    came: str
    taken: str
    reason: str
    extras: str


class RequestPage:
    """A request and its history, formatted for the template.

    `now`: the database's. `is_unmasked`: with the values of params, extras and answers, which may be personal data.
    """

    legend = LEGEND

    def __init__(
        self,
        request: Request,
        jobs: Sequence[Job],
        answers: Sequence[Answer],
        texts: JsonTexts,
        now: datetime,
        *,
        is_unmasked: bool = False,
    ) -> None:
        self.request = request
        self.badge = badge_of(request)
        is_long = first_line(request.error) != request.error.strip()
        self.long_error = shortened(request.error, MAX_ERROR_CHARACTERS) if is_long else ""
        self.steps = _readable_steps(texts.steps)
        self.step = self._step_name(request.step)
        self.due, self.created = clock(request.due_at), clock(request.created_at)
        self.started, self.completed = clock(request.started_at), clock(request.completed_at)
        self.deadline = deadline_shown(request, now) if request.deadline_at else ""
        self.took = span(request.created_at, request.completed_at)
        self.is_unmasked = is_unmasked
        self.subject = subject_shown(request, is_unmasked=is_unmasked)
        self.params, self.extras = self._json(texts.params), self._json(texts.extras)
        self.steps_json = "" if texts.steps is None else _shown(texts.steps, pretty)
        self.is_cut = len(jobs) > _MOST_ATTEMPTS
        self.attempts = [self._line(job) for job in jobs[:_MOST_ATTEMPTS]]
        self.answers = [self._answer(answer) for answer in answers[:_MOST_ANSWERS]]
        self.has_more_answers = len(answers) > _MOST_ANSWERS
        self.timeline = timeline(request, jobs[:_MOST_ATTEMPTS], [step.name for step in self.steps], now)

    def _line(self, job: Job) -> AttemptLine:
        error, answer = job.shown_error, job.shown_answer or ""
        return AttemptLine(
            step=self._step_name(job.step),
            job=job,
            badge=job_badge(job),
            due=job.put_off or clock(job.due_at),
            started=clock(job.started_at),
            completed=clock(job.completed_at),
            took=span(job.created_at if job.answer_by else job.started_at, job.completed_at),
            lease=clock(job.lease_until) if job.lease_until else "",
            waits=_waits(job) if job.answer_by else "",
            error=error,
            first_error_line=first_line(error) if error else "",
            answer=answer if self.is_unmasked or not answer else masked(answer),
            extras=self._json(job.extras_text, _MOST_EXTRAS) if job.extras_text else "",
        )

    def _answer(self, answer: Answer) -> AnswerLine:
        reason, extras = answer.shown_reason or "", answer.extras_text
        return AnswerLine(
            step=self._step_name(answer.step),
            answer=answer,
            outcome=badge(answer.outcome, answer.get_outcome_display()),
            came=clock(answer.created_at),
            taken=f"{answer.get_effect_display()} {clock(answer.taken_at) if answer.taken_at else ''}".rstrip(),
            reason=reason if self.is_unmasked or not reason else masked(reason),
            extras=self._json(extras, _MOST_EXTRAS) if extras else "",
        )

    def _json(self, text: str, most: int = _MOST_JSON) -> str:
        return _shown(text, pretty if self.is_unmasked else masked, most)

    def _step_name(self, index: int) -> str:
        return f"{index} {self.steps[index].name}" if 0 <= index < len(self.steps) else str(index)


def _waits(job: Job) -> str:
    """Also of an attempt that has ended: what it waited for. `checks`: calls of its callback so far that said so."""
    often = f"; said so {job.checks} times" if job.checks > 1 else ""
    waits = "waits" if job.completed_at is None else "waited"
    return f"{waits} for {job.awaited}, until {clock(job.answer_by)}{often}"


def _shown(text: str, write: Callable[[object], str], most: int = _MOST_JSON) -> str:
    try:
        return write(read_json(text, most))
    except ValueError as why:
        return str(why)


def _readable_steps(text: str | None) -> tuple[Step, ...]:
    try:
        return read_steps(text or "null")
    except StepsError:
        return ()
