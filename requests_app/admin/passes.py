"""The admin's list of passes: each run, what it did, and its error."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs_app.models import PassRun
from jobs_app.printable import first_line
from requests_app.admin.read_only import ReadOnlyAdmin
from requests_app.formatting import clock, span
from requests_app.monitoring.pass_health import PASSES


class PassNameFilter(admin.SimpleListFilter):
    """By fixed names: to ask the table which names there are would read all of it."""

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
