"""Lists of rows with a subject: searched by whole subjects, through an index; masked for whoever may not see them."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from requests_app.admin.masking import masked_subject
from requests_app.admin.personal_data import may_unmask
from requests_app.admin.read_only import ReadOnlyAdmin
from requests_app.models.subjects import is_hash, kept_as
from requests_app.operations.find_requests import find_rows


class SubjectList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        for row in self.result_list:
            row.is_unmasked = may_unmask(request)


class SubjectAdmin(ReadOnlyAdmin):
    """`searched`: columns beside the subject. Each has an index of the table's name and its own, with the id."""

    ordering = ("-id",)
    searched: ClassVar[tuple[str, ...]] = ("token",)
    search_fields = ("token__exact",)  # has the page show the box

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SubjectList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not (term := search_term.strip()):
            return queryset, False
        values = {**{column: [term] for column in self.searched}, "subject": kept_as(term)}
        return queryset.filter(pk__in=find_rows(self.opts.db_table, values)), False

    @admin.display(description="subject")
    def about(self, row: Any) -> str:
        return masked_subject(row.subject, is_hashed=is_hash(row.subject), is_unmasked=row.is_unmasked)
