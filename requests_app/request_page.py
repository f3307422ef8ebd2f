"""What the admin's page of a request shows: the request and every attempt, as texts for its template."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models.functions import Left
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs_app.models import Job
from requests_app.models import Request
from requests_app.progress import first_line
from requests_app.steps import Step, StepsError, parse_steps

_MOST_ATTEMPTS = 500
_MOST_CHARACTERS = 100_000  # of one JSON value
_MOST_ERROR_CHARACTERS = 8_000


def history(request: Request) -> list[Job]:
    """All attempts, in the order of step, name and attempt; one more than is shown when there are more."""
    jobs = Job.objects.filter(request_id=request.pk).defer("error").order_by("step", "name", "attempt")
    shown = jobs.annotate(shown_error=Left("error", _MOST_ERROR_CHARACTERS))
    return list(shown[: _MOST_ATTEMPTS + 1])


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
    error: str
    first_error_line: str
    extras: str


class RequestPage:
    """A request and its history, as the template writes them down."""

    def __init__(self, request: Request, jobs: Sequence[Job]) -> None:
        self.request = request
        self.badge = badge(request.status, request.get_status_display())
        self.long_error = request.error if first_line(request.error) != request.error.strip() else ""
        self.steps = _readable_steps(request.steps)
        self.step = self._step_name(request.step)
        self.due, self.created = clock(request.due_at), clock(request.created_at)
        self.started, self.completed = clock(request.started_at), clock(request.completed_at)
        self.took = span(request.created_at, request.completed_at)
        self.params, self.extras = pretty(request.params), pretty(request.extras)
        self.steps_json = "" if request.steps is None else pretty(request.steps)
        self.is_cut = len(jobs) > _MOST_ATTEMPTS
        self.attempts = [self._line(job) for job in jobs[:_MOST_ATTEMPTS]]

    def _line(self, job: Job) -> AttemptLine:
        error: str = getattr(job, "shown_error", "")
        return AttemptLine(
            step=self._step_name(job.step),
            job=job,
            badge=badge(job.status, job.get_status_display()),
            due=clock(job.due_at),
            started=clock(job.started_at),
            completed=clock(job.completed_at),
            took=span(job.started_at, job.completed_at),
            lease=clock(job.lease_until) if job.lease_until else "",
            error=error,
            first_error_line=first_line(error) if error else "",
            extras=pretty(job.extras) if job.extras else "",
        )

    def _step_name(self, index: int) -> str:
        return f"{index} {self.steps[index].name}" if 0 <= index < len(self.steps) else str(index)


def _readable_steps(steps: object) -> tuple[Step, ...]:
    try:
        return parse_steps(steps)
    except StepsError:
        return ()


# Texts ---------------------------------------------------------------------------------------------------------------
def badge(status: str, text: str) -> SafeString:
    return format_html('<span class="tasker-status tasker-{}">{}</span>', status.lower(), text)


def clock(moment: datetime | None) -> str:
    """In UTC, like everything here."""
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"


def span(start: datetime | None, end: datetime | None) -> str:
    """How long it took; empty when it has not ended."""
    if start is None or end is None:
        return ""
    seconds = max(0.0, (end - start).total_seconds())
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds) % 60} s"


def pretty(value: object) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "\n… (cut)"
