"""The admin: requests with their jobs, the passes, the pauses; read-only but for the verbs. Made for a million rows.

No statement counts beyond a bound, sorts a table, or grows with the rows of a page.
"""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs_app.db.dialect import database_now
from jobs_app.models import PassRun, PausedJob
from requests_app.admin.pauses import PausedJobAdmin
from requests_app.admin.personal_data import PersonalDataAdmin, may_see, take_look
from requests_app.admin.request_actions import VerbsAdmin, may_operate, possible
from requests_app.admin.request_page import RequestPage, history, interventions_of
from requests_app.formatting import badge, clock, span
from requests_app.models import Request
from requests_app.monitoring.pass_health import PASSES
from requests_app.operations.explain import explain
from requests_app.progress import first_line

_MOST_ROWS = 10_000  # that a list counts and pages through

admin.site.register(PausedJob, PausedJobAdmin)


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

    actions: Any = None
    paginator = BoundedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    filter_parameters: ClassVar[tuple[str, ...]] = ()

    class Media:
        css: ClassVar = {"all": ["requests_app/admin.css", "requests_app/verbs.css"]}

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
class RequestAdmin(ReadOnlyAdmin, PersonalDataAdmin, VerbsAdmin):
    actions = VerbsAdmin.actions
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
            page = RequestPage(obj, history(obj), database_now(), is_unmasked=take_look(request, obj))
            context |= {"title": str(obj), "subtitle": None, "why": explain(obj), "page": page}
            context["may_unmask"] = may_see(request)
            context["verbs"] = possible(obj) if may_operate(request) else []
            context["interventions"] = interventions_of(obj)
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


# Passes --------------------------------------------------------------------------------------------------------------
class PassNameFilter(admin.SimpleListFilter):
    """By fixed names: asking the table which there are would read all of it."""

    title = "name"
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in PASSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(name=self.value()) if self.value() in PASSES else queryset


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
