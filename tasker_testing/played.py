"""What a played request came to, as values: they stay when its rows are gone."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any

from django.core.management import call_command

from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus
from requests_app.models import Request
from requests_app.operations.explain import explain


@dataclass(frozen=True, slots=True)
class PlayedAttempt:
    """One row of `jobs`. `answer`: what a service said, or an exception. `checks`: how often it asked to wait."""

    step: int
    job: str
    attempt: int
    status: str
    error: str
    answer: str | None
    extras: Any
    checks: int


@dataclass(frozen=True, slots=True)
class PlayedRequest:
    """A request at its end. `sentence`: what became of it. `timeline`: what `manage.py show_request` prints of it."""

    token: str
    action: str
    status: str
    error: str
    step: int
    shortfall: int
    params: Mapping[str, Any]
    extras: Mapping[str, Any]
    attempts: tuple[PlayedAttempt, ...]
    sentence: str
    timeline: str

    def attempts_of(self, job: str) -> list[PlayedAttempt]:
        return [attempt for attempt in self.attempts if attempt.job == job]

    @property
    def completed_jobs(self) -> set[tuple[int, str]]:
        """(step, job)"""
        return {(one.step, one.job) for one in self.attempts if one.status == JobStatus.COMPLETED}


def read_played(token: str) -> PlayedRequest:
    request = Request.objects.get(token=token)
    attempts = tuple(map(_attempt, request.jobs.order_by("step", "name", "attempt")))
    counts = request.status, request.error, request.step, request.shortfall
    said = explain(request), printed_timeline(token)
    return PlayedRequest(token, request.action, *counts, request.params, request.extras, attempts, *said)


def printed_timeline(token: str) -> str:
    printed = StringIO()
    call_command("show_request", token, stdout=printed)
    return printed.getvalue()


def _attempt(job: Job) -> PlayedAttempt:
    return PlayedAttempt(job.step, job.name, job.attempt, job.status, job.error, job.answer, job.extras, job.checks)
