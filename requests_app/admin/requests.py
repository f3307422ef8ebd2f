"""The admin's list of requests, and the page of one: read-only but for the verbs."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import database_now
from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus
from requests_app.admin.personal_data import PersonalDataAdmin, may_unmask, unmask_once
from requests_app.admin.read_only import ReadOnlyAdmin, SearchByTokenAdmin
from requests_app.admin.request_actions import VerbsAdmin, possible
from requests_app.admin.request_page import (
    RequestPage,
    answers_of,
    badge_of,
    deadline_shown,
    history,
    interventions_of,
    texts_of,
)
from requests_app.admin.retry_alike import ErrorKindFilter, RetryAlikeAdmin
from requests_app.formatting import badge, clock
from requests_app.models import Request, RequestStatus
from requests_app.models.request import JsonTexts
from requests_app.monitoring.awaited_answers import awaiting_requests
from requests_app.monitoring.deadlines import DeadlineState, ids_by_deadline
from requests_app.operations.explain import explain

_MOST_BY_DEADLINE = 2_000  # that a list shows; on a million rows about 100 ms


class WaitingFilter(admin.SimpleListFilter):
    """Requests of which a job waits for an answer: up to 500, found by a statement of their own."""

    title = "waiting"
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("answer", "For an answer"), ("past", "Past its time")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"answer", "past"}:
            return queryset
        return queryset.filter(pk__in=awaiting_requests(only_past=self.value() == "past"))


class ShortFilter(admin.SimpleListFilter):
    """Requests that were completed although a job had failed. No index of its own: reads the completed ones."""

    title = "shortfall"
    parameter_name = "short"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "short")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        is_short = {"status": RequestStatus.COMPLETED, "shortfall__gt": 0}
        return queryset.filter(**is_short) if self.value() else queryset


class RequestList(ChangeList):
    """In an index's order: newest first, or of one status the latest due first. Without the large columns.

    By deadline the earliest first, and no more than the _MOST_BY_DEADLINE earliest.
    """

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        if DeadlineFilter.parameter_name in self.params:
            return ["deadline_at", "id"]
        if ErrorKindFilter.parameter_name in self.params:
            return ["-id"]
        of_one_status = {"status__exact", ShortFilter.parameter_name} & set(self.params)
        return ["-due_at", "-id"] if of_one_status and WaitingFilter.parameter_name not in self.params else ["-id"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = super().get_queryset(request, exclude_parameters).defer("error")
        with_now: QuerySet[Any] = rows.annotate(now=UtcNow())
        return with_now

    def get_results(self, request: HttpRequest) -> None:
        """With which of the rows on this page wait, by one statement."""
        super().get_results(request)
        jobs = Job.objects.filter(request_id__in=[row.pk for row in self.result_list])
        waiting = set(jobs.filter(status=JobStatus.NEW, answer_by__isnull=False).values_list("request_id", "step"))
        for row in self.result_list:
            row.has_waiting_job = (row.pk, row.step) in waiting


class DeadlineFilter(admin.SimpleListFilter):
    title = "deadline"
    parameter_name = "deadline"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return DeadlineState.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By ids: the index has to be named, else the optimizers would read all requests to find the few."""
        state = self.value()
        if state is None or state not in DeadlineState:
            return queryset
        return queryset.filter(id__in=ids_by_deadline(DeadlineState(state), _MOST_BY_DEADLINE))


@admin.register(Request)
class RequestAdmin(SearchByTokenAdmin, ReadOnlyAdmin, PersonalDataAdmin, RetryAlikeAdmin):
    actions = VerbsAdmin.actions
    list_display = ("token", "state", "action", "step", "due", "deadline", "completed")
    list_filter = ("status", DeadlineFilter, WaitingFilter, ShortFilter, ErrorKindFilter)
    filter_parameters = (
        "status__exact",
        DeadlineFilter.parameter_name,
        WaitingFilter.parameter_name,
        ShortFilter.parameter_name,
        ErrorKindFilter.parameter_name,
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        return super().get_queryset(request).defer(*JsonTexts._fields)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RequestList

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
            context["alike_url"] = self.alike_url(request, obj.error_kind)
            context["interventions"] = interventions_of(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.display(description="status")
    def state(self, request: Request) -> SafeString:
        waits = getattr(request, "has_waiting_job", False)
        return format_html("{} {}", badge_of(request), badge("waiting", "waiting")) if waits else badge_of(request)

    @admin.display(description="due")
    def due(self, request: Request) -> str:
        return clock(request.due_at)

    @admin.display(description="deadline")
    def deadline(self, request: Any) -> str:
        return deadline_shown(request, request.now)

    @admin.display(description="completed")
    def completed(self, request: Request) -> str:
        return clock(request.completed_at)
