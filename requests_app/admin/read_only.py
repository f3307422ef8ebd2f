"""What all models' lists and pages have in common: they are read-only and bounded. Made for a million rows.

No statement counts beyond a bound, sorts a table, or grows with the rows of a page.
"""

from typing import Any, ClassVar

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

_MOST_ROWS = 10_000  # that a list counts and pages through


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
    """`filter_parameters`: the only lookups that a query string may hold; others could scan the table."""

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


class SearchByTokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    search_fields = ("token__exact",)
    search_help_text = "A request's whole token."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The token as one word: stock admin would look for each of its parts."""
        token = search_term.strip()
        return (queryset.filter(token=token) if token else queryset), False
