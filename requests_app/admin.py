"""The admin: requests with their jobs, and the passes; to look at, nothing can be edited. Made for a million rows.

No statement counts beyond a bound, sorts a table, or grows with the rows of a page.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs_app.models import Job, PassRun
from requests_app.models import Request
from requests_app.progress import first_line
from requests_app.steps import Step, StepsError, parse_steps
from requests_app.why import explain

_MOST_ROWS = 10_000  # that a list counts and pages through
_MOST_ATTEMPTS = 500  # that a request's page shows
_MOST_CHARACTERS = 100_000  # of one JSON value
_MOST_ERROR_CHARACTERS = 8_000
_PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests", "run_worker")

admin.site.site_header = admin.site.site_title = "Tasker Worker"
admin.site.index_title = "What it works on"
admin.site.site_url = None  # the site is the admin
admin.site.enable_nav_sidebar = False  # tables are wide, models are few


# Read-only, and bounded ----------------------------------------------------------------------------------------------
class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to a bound and has no pages beyond it. `is_cut`: there are more rows."""

    @cached_property
    def _count_to_bound(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: _MOST_ROWS + 1].count())

    @cached_property
    def count(self) -> int:
        return min(self._count_to_bound, _MOST_ROWS)

    @property
    def is_cut(self) -> bool:
        return self._count_to_bound > _MOST_ROWS


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """To look at. `filter_parameters`: the only lookups that a query string may hold; others could scan the table."""

    actions = None
    paginator = BoundedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    filter_parameters: ClassVar[tuple[str, ...]] = ()

    class Media:
        css: ClassVar = {"all": ["requests_app/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in self.filter_parameters


# Requests ------------------------------------------------------------------------------------------------------------
class RequestList(ChangeList):
    """In an index's order: newest first, or of one status the latest due first. Without the large columns."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-due_at", "-id"] if "status__exact" in self.params else ["-id"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        return super().get_queryset(request, exclude_parameters).defer("params", "extras", "steps", "error")


@admin.register(Request)
class RequestAdmin(ReadOnlyAdmin):
    list_display = ("token", "state", "action", "step", "due", "completed")
    list_filter = ("status",)
    filter_parameters = ("status__exact",)
    search_fields = ("token__exact",)
    search_help_text = "A request's whole token."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RequestList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The token as one word: stock admin would look for each of its parts."""
        token = search_term.strip()
        return (queryset.filter(token=token) if token else queryset), False

    def get_fieldsets(self, request: HttpRequest, obj: object = None) -> list[Any]:
        return []  # the template shows it all

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Request | None = None,
    ) -> HttpResponse:
        if obj is not None:
            page = RequestPage(obj, history(obj))
            context |= {"title": str(obj), "subtitle": None, "why": explain(obj), "page": page}
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.display(description="status")
    def state(self, request: Request) -> SafeString:
        return badge(request.status, request.get_status_display())

    @admin.display(description="due")
    def due(self, request: Request) -> str:
        return clock(request.due_at)

    @admin.display(description="completed")
    def completed(self, request: Request) -> str:
        return clock(request.completed_at)


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


# Passes --------------------------------------------------------------------------------------------------------------
class PassNameFilter(admin.SimpleListFilter):
    """By fixed names: asking the table which there are would read all of it."""

    title = "name"
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in _PASSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(name=self.value()) if self.value() in _PASSES else queryset


@admin.register(PassRun)
class PassRunAdmin(ReadOnlyAdmin):
    list_display = ("name", "started", "took", "what", "fault", "process")
    list_filter = (PassNameFilter,)
    filter_parameters = ("name",)
    ordering = ("-id",)
    fields = ("name", "process", "started", "seen", "ended", "took", "what", "error_text")
    readonly_fields = fields

    @admin.display(description="started")
    def started(self, run: PassRun) -> str:
        return clock(run.started_at)

    @admin.display(description="seen")
    def seen(self, run: PassRun) -> str:
        return clock(run.seen_at)

    @admin.display(description="ended")
    def ended(self, run: PassRun) -> str:
        return clock(run.ended_at)

    @admin.display(description="took")
    def took(self, run: PassRun) -> str:
        return span(run.started_at, run.ended_at) or "runs, or was killed"

    @admin.display(description="counts")
    def what(self, run: PassRun) -> str:
        return " ".join(f"{name}={count}" for name, count in run.counts.items()) or "nothing to do"

    @admin.display(description="error")
    def fault(self, run: PassRun) -> str:
        return first_line(run.error) if run.error else ""

    @admin.display(description="error")
    def error_text(self, run: PassRun) -> SafeString:
        return format_html('<pre class="tasker-pre">{}</pre>', run.error or "none")


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
