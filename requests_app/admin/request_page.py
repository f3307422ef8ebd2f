"""What the admin's page of a request shows: the request and every attempt, formatted for its template."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models.functions import Left
from django.utils.safestring import SafeString

from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus
from jobs_app.telemetry.printable import first_line
from requests_app.admin.masking import masked
from requests_app.admin.timeline import timeline
from requests_app.formatting import badge, clock, pretty, span
from requests_app.models import Intervention, Request
from requests_app.steps import Step, StepsError, parse_steps

_MOST_ATTEMPTS = 500
_MOST_INTERVENTIONS = 100
_MOST_ERROR_CHARACTERS = 8_000
_ENDS = (JobStatus.COMPLETED, JobStatus.RETRY, JobStatus.FAILURE, JobStatus.CANCELLED)
LEGEND = {status.value: badge(status, status.label) for status in _ENDS}


def history(request: Request) -> list[Job]:
    """All attempts, in the order of step, name and attempt; one more than is shown when there are more."""
    jobs = Job.objects.filter(request_id=request.pk).defer("error").order_by("step", "name", "attempt")
    shown = jobs.annotate(shown_error=Left("error", _MOST_ERROR_CHARACTERS))
    return list(shown[: _MOST_ATTEMPTS + 1])


def interventions_of(request: Request) -> list[tuple[str, Intervention]]:
    """When, and what operators did; the newest first."""
    return [(clock(row.at), row) for row in request.interventions.order_by("-id")[:_MOST_INTERVENTIONS]]


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
    """A request and its history, formatted for the template.

    `now`: the database's. `is_unmasked`: with the values of params and extras, which may be personal data.
    """

    legend = LEGEND

    def __init__(self, request: Request, jobs: Sequence[Job], now: datetime, *, is_unmasked: bool = False) -> None:
        self.request = request
        self.badge = badge(request.status, request.get_status_display())
        self.long_error = request.error if first_line(request.error) != request.error.strip() else ""
        self.steps = _readable_steps(request.steps)
        self.step = self._step_name(request.step)
        self.due, self.created = clock(request.due_at), clock(request.created_at)
        self.started, self.completed = clock(request.started_at), clock(request.completed_at)
        self.took = span(request.created_at, request.completed_at)
        self.is_unmasked = is_unmasked
        self.params, self.extras = self._json(request.params), self._json(request.extras)
        self.steps_json = "" if request.steps is None else pretty(request.steps)
        self.is_cut = len(jobs) > _MOST_ATTEMPTS
        self.attempts = [self._line(job) for job in jobs[:_MOST_ATTEMPTS]]
        self.timeline = timeline(request, jobs[:_MOST_ATTEMPTS], [step.name for step in self.steps], now)

    def _line(self, job: Job) -> AttemptLine:
        error: str = getattr(job, "shown_error", "")
        return AttemptLine(
            step=self._step_name(job.step),
            job=job,
            badge=badge(job.status, job.get_status_display()),
            due="paused" if job.is_parked else clock(job.due_at),
            started=clock(job.started_at),
            completed=clock(job.completed_at),
            took=span(job.started_at, job.completed_at),
            lease=clock(job.lease_until) if job.lease_until else "",
            error=error,
            first_error_line=first_line(error) if error else "",
            extras=self._json(job.extras) if job.extras else "",
        )

    def _json(self, value: object) -> str:
        return pretty(value) if self.is_unmasked else masked(value)

    def _step_name(self, index: int) -> str:
        return f"{index} {self.steps[index].name}" if 0 <= index < len(self.steps) else str(index)


def _readable_steps(steps: object) -> tuple[Step, ...]:
    try:
        return parse_steps(steps)
    except StepsError:
        return ()
