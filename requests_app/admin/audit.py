"""The admin's list of audit events: who logged in, saw personal data, did a verb, removed or exported something."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from jobs_app.models import AuditEvent
from requests_app.admin.subject_lists import SubjectAdmin
from requests_app.formatting import clock
from requests_app.monitoring.events import AUDITED


class EventFilter(admin.SimpleListFilter):
    """By fixed names: to ask the table which there are would read all of it."""

    title = parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in AUDITED]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(event=self.value()) if self.value() in AUDITED else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(SubjectAdmin):
    list_display = ("moment", "event", "account", "address", "token", "about", "detail")
    list_filter = (EventFilter,)
    filter_parameters = ("event",)
    searched = ("account", "token")
    search_help_text = "A whole account, a request's whole token, or a person's subject."

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **options: Any) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:jobs_app_auditevent_changelist"))  # it shows all that is known

    @admin.display(description="when")
    def moment(self, event: AuditEvent) -> str:
        return clock(event.at)
