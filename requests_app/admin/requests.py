"""The admin's list of requests, and the page of one: read-only but for the verbs."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import database_now
from requests_app.admin.badges import badge
from requests_app.admin.bulk_retry import BulkRetryAdmin
from requests_app.admin.filters import FILTERS, ColumnFilter, PlacedByFilter, RequestFilter, ordering_of, together
from requests_app.admin.personal_data import PersonalDataAdmin, may_unmask, unmask_once
from requests_app.admin.read_only import ReadOnlyAdmin, SearchByTokenAdmin
from requests_app.admin.receipts import ReceiptsAdmin
from requests_app.admin.request_actions import VerbsAdmin, possible
from requests_app.admin.request_page import (
    RequestPage,
    answers_of,
    badge_of,
    deadline_shown,
    history,
    interventions_of,
    subject_shown,
    texts_of,
)
from requests_app.formatting import clock, span
from requests_app.models import Request
from requests_app.models.request import JsonTexts
from requests_app.operations.explain import explain
from requests_app.operations.find_requests import MOST_FOUND, MOST_READ, find, find_together
from requests_app.operations.wait_reasons import open_jobs, waits_for
from requests_app.recipes import NOTIFY


class RequestList(ChangeList):
    """In an index's order (filters.py says which), without the large columns. `note`: that there may be more."""

    note = ""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return [*ordering_of(self._on(), is_search=bool(self.query.strip()))]

    def _on(self) -> list[RequestFilter]:
        return [one for one in self.filter_specs if isinstance(one, RequestFilter) and one.is_on()]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Of several filters the ids are found first: one index alone could have a million rows for nothing."""
        rows = super().get_queryset(request, exclude_parameters).defer("error")
        on = self._on()
        if (
            len(filters := together(on)) > 1
            and not self.query.strip()
            and all(isinstance(one, ColumnFilter) for one in on)
        ):
            rows = rows.filter(pk__in=find_together(filters))
            self.note = f"Found among the newest {MOST_READ:,} of each filter, and up to {MOST_FOUND}."
        with_now: QuerySet[Any] = rows.annotate(now=UtcNow())
        return with_now

    def get_results(self, request: HttpRequest) -> None:
        """With what the rows on this page wait for, by one statement."""
        super().get_results(request)
        if self.query and self.result_count >= MOST_FOUND:
            self.note = f"Only the newest {MOST_FOUND} are looked at."
        jobs, is_unmasked = open_jobs(self.result_list), may_unmask(request)
        for row in self.result_list:
            row.open_jobs, row.is_unmasked = jobs.get(row.pk), is_unmasked


@admin.register(Request)
class RequestAdmin(SearchByTokenAdmin, ReadOnlyAdmin, PersonalDataAdmin, ReceiptsAdmin, BulkRetryAdmin):
    actions = VerbsAdmin.actions
    list_display = ("token", "state", "action", "subject_", "placed", "step", "waits", "age", "deadline", "completed")
    list_filter = FILTERS
    filter_parameters = tuple(one.parameter_name for one in FILTERS)
    search_help_text = "A request's whole token, or whom it is about."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        return super().get_queryset(request).defer(*JsonTexts._fields)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RequestList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (queryset.filter(pk__in=find(search_term)) if search_term.strip() else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """A search that finds one request opens it; notifications of its end do not count."""
        response = super().changelist_view(request, extra_context)
        found = (response.context_data or {}).get("cl") if isinstance(response, TemplateResponse) else None
        if request.method == "GET" and found and found.query.strip():
            rows = [row for row in found.result_list if row.action != NOTIFY] or found.result_list
            if len(rows) == 1 and not found.multi_page:
                return HttpResponseRedirect(found.url_for_result(rows[0]))
        return response

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
            is_unmasked = unmask_once(request, obj)
            rows = (obj, history(obj), answers_of(obj), texts_of(obj))
            page = RequestPage(*rows, database_now(), is_unmasked=is_unmasked)
            context |= {"title": str(obj), "subtitle": None, "explanation": explain(obj), "page": page}
            context["may_unmask"] = may_unmask(request)
            context["verbs"] = possible(obj) if self.has_operate_permission(request) else []
            context["bulk_retry_url"] = self.bulk_retry_url(request, obj.error_kind)
            context["interventions"] = interventions_of(obj)
            context["receipt_url"] = self.receipt_url(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.display(description="status")
    def state(self, request: Any) -> SafeString:
        awaits = request.open_jobs and request.open_jobs["answer"]
        return format_html("{} {}", badge_of(request), badge("waiting", "waiting")) if awaits else badge_of(request)

    @admin.display(description="subject")
    def subject_(self, request: Any) -> str:
        return subject_shown(request, is_unmasked=request.is_unmasked)

    @admin.display(description="placed by")
    def placed(self, request: Request) -> str:
        """With a link to all of that account."""
        by = request.placed_by
        return format_html('<a href="?{}">{}</a>', urlencode({PlacedByFilter.parameter_name: by}), by) if by else ""

    @admin.display(description="waits for")
    def waits(self, request: Any) -> str:
        return waits_for(request, request.open_jobs, request.now)

    @admin.display(description="age")
    def age(self, request: Any) -> str:
        return span(request.created_at, request.now)

    @admin.display(description="deadline")
    def deadline(self, request: Any) -> str:
        return deadline_shown(request, request.now)

    @admin.display(description="completed")
    def completed(self, request: Request) -> str:
        return clock(request.completed_at)
