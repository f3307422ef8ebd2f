"""The admin's list of answers: to which job, with which outcome, and what became of it; and the page of one."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from jobs_app.db.columns import json_text
from jobs_app.models import Answer
from jobs_app.models.answer import Effect
from requests_app.admin.badges import badge
from requests_app.admin.masking import masked
from requests_app.admin.personal_data import PersonalDataAdmin, may_unmask, unmask_once
from requests_app.admin.read_only import ReadOnlyAdmin, SearchByTokenAdmin
from requests_app.formatting import clock, pretty, read_json

_MOST_EXTRAS = 64 * 1024  # characters; a longer one is not read
_MOST_REASON = 4_000


class EffectFilter(admin.SimpleListFilter):
    title = "effect"
    parameter_name = "effect"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(effect.value or "pending", effect.label) for effect in Effect]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if (chosen := self.value()) is None:
            return queryset
        return queryset.filter(effect="" if chosen == "pending" else chosen)


@admin.register(Answer)
class AnswerAdmin(PersonalDataAdmin, SearchByTokenAdmin, ReadOnlyAdmin):
    list_display = ("token", "step", "job", "answered", "effect", "created", "taken")
    list_filter = (EffectFilter,)
    filter_parameters = ("effect",)
    ordering = ("-id",)
    fields = ("token", "step", "job", "attempt", "answered", "effect", "created", "taken")
    readonly_fields = fields
    change_form_template = "admin/jobs_app/answer/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Answer]:
        """Extras may be huge, or no JSON to Python."""
        return super().get_queryset(request).defer("extras", "reason")

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Answer | None = None,
    ) -> HttpResponse:
        if obj is not None:
            is_unmasked = unmask_once(request, obj)
            context |= _values_of(obj, pretty if is_unmasked else masked)
            context |= {"is_unmasked": is_unmasked, "may_unmask": may_unmask(request)}
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.display(description="outcome")
    def answered(self, answer: Answer) -> SafeString:
        return badge(answer.outcome, answer.outcome)

    @admin.display(description="created")
    def created(self, answer: Answer) -> str:
        return clock(answer.created_at)

    @admin.display(description="taken")
    def taken(self, answer: Answer) -> str:
        return clock(answer.taken_at)


def _values_of(answer: Answer, write: Callable[[object], str]) -> dict[str, str]:
    columns = json_text("extras", _MOST_EXTRAS + 1), Left("reason", _MOST_REASON)
    extras, reason = Answer.objects.filter(pk=answer.pk).values_list(*columns).first() or (None, None)
    try:
        shown = write(read_json(extras, _MOST_EXTRAS))
    except ValueError as why:
        shown = str(why)
    return {"extras": shown, "reason": write(reason)}
