"""The admin's page of job names: which are paused, since when, by whom and why; and their pausing and resuming.

The permission is `jobs_app.operate_job`. Each pause and resume is in `job_interventions` and in the admin's log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from jobs_app.models import JobIntervention, PausedJob
from jobs_app.registry import definition, names
from jobs_app.worker.pausing import UnknownJob, pause_job, resume_job
from requests_app.admin.forms import ReasonForm
from requests_app.admin.read_only import ReadOnlyAdmin
from requests_app.formatting import clock
from requests_app.monitoring.logins import log_with_admin_account

PERMISSION = "jobs_app.operate_job"
_MOST_SHOWN = 50  # of the history


@dataclass(frozen=True, slots=True)
class JobVerb:
    label: str
    effect: str
    act: Callable[..., bool]
    done: str
    was_so: str  # when there was nothing to do


VERBS = {
    "pause_job": JobVerb(
        "Pause",
        "Jobs of this name wait from now on, in all requests, without using up attempts. What runs now may end.",
        pause_job,
        "is paused.",
        "was paused already.",
    ),
    "resume_job": JobVerb(
        "Resume", "Jobs of this name may run again, the oldest first.", resume_job, "is resumed.", "was not paused."
    ),
}


@dataclass(frozen=True, slots=True)
class JobLine:
    """One name. `pause`: None when it is not paused. `is_known`: whether this release has its callback."""

    name: str
    is_known: bool
    pause: PausedJob | None
    since: str

    @property
    def verb(self) -> str:
        return "resume_job" if self.pause else "pause_job"

    @property
    def verb_label(self) -> str:
        return VERBS[self.verb].label


def job_lines() -> list[JobLine]:
    """All names that have a callback, and all that are paused; the paused ones first."""
    paused = {row.name: row for row in PausedJob.objects.paused()}
    lines = [
        JobLine(name, definition(name) is not None, paused.get(name), clock(paused[name].at) if name in paused else "")
        for name in sorted({*names(), *paused})
    ]
    return sorted(lines, key=lambda line: line.pause is None)


@admin.register(PausedJob)
class PausedJobAdmin(ReadOnlyAdmin):
    def has_operate_permission(self, http: HttpRequest) -> bool:
        return http.user.has_perm(PERMISSION)

    def get_urls(self) -> list[URLPattern]:
        ask = self.admin_site.admin_view(self.ask)
        return [path("verb/<str:verb>/<path:name>/", ask, name="jobs_app_pausedjob_verb"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            "title": "Jobs, and which are paused",
            "opts": self.opts,
            "media": self.media,
            "lines": job_lines(),
            "history": [(row, clock(row.at)) for row in JobIntervention.objects.order_by("-id")[:_MOST_SHOWN]],
            "may_operate": self.has_operate_permission(request),
        }
        shown = self.admin_site.each_context(request) | context
        return TemplateResponse(request, "admin/jobs_app/pausedjob/pauses.html", shown)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **options: Any) -> HttpResponse:
        return HttpResponseRedirect(_listing())  # it shows all that is known of a name

    def ask(self, http: HttpRequest, verb: str, name: str) -> HttpResponse:
        """GET: asks. POST: does it, and leads back to the page."""
        if not (self.has_view_permission(http) and self.has_operate_permission(http)):
            raise PermissionDenied
        if verb not in VERBS:
            raise Http404
        form = ReasonForm(http.POST if http.method == "POST" else None)
        if form.is_valid():
            with log_with_admin_account(http):
                self._do(http, verb, name, form.cleaned_data["reason"])
            return HttpResponseRedirect(_listing())
        context = {
            "crumbs": [(_listing(), "Paused jobs")],
            "title": f"{VERBS[verb].label} {name}",
            "effect": VERBS[verb].effect,
            "submit": VERBS[verb].label,
            "form": form,
            "opts": self.opts,
            "back": _listing(),
        }
        return TemplateResponse(http, "admin/requests_app/confirm.html", self.admin_site.each_context(http) | context)

    def _do(self, http: HttpRequest, verb: str, name: str, reason: str) -> None:
        chosen = VERBS[verb]
        try:
            won = chosen.act(name, by=http.user.get_username(), reason=reason)
        except (UnknownJob, DatabaseAway) as refused:
            self.message_user(http, f"Refused: {refused}", messages.ERROR)
        except DatabaseError as error:
            self.message_user(http, f"Refused: the database refused a statement: {fault_line(error)}", messages.ERROR)
        else:
            if won:
                self.log_change(http, PausedJob(name=name), f"{verb}: {reason}")
            said = f"Done: {name} {chosen.done}" if won else f"Nothing to do: {name} {chosen.was_so}"
            self.message_user(http, said, messages.SUCCESS if won else messages.INFO)


def _listing() -> str:
    return reverse("admin:jobs_app_pausedjob_changelist")
