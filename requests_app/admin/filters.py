"""The filters of the list of requests, and the order in which each shows its rows: that of an index, never sorted."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from jobs_app.db.dialect import EARLIEST
from requests_app.models import RequestStatus
from requests_app.monitoring.awaited_answers import awaiting_requests
from requests_app.monitoring.deadlines import DeadlineState, ids_by_deadline
from requests_app.operations.find_requests import Filter
from requests_app.recipes import recipes

_MOST_BY_DEADLINE = 2_000  # that a list shows; on a million rows about 100 ms
KIND = "error_kind"
_DAYS = 7  # that are offered; any other may stand in the address


class RequestFilter(admin.SimpleListFilter):
    """`ordering`: of the list, where nothing else is asked for."""

    ordering: tuple[str, ...] = ("-id",)

    def is_on(self) -> bool:
        """Not where nothing sensible is asked for."""
        raise NotImplementedError

    def condition(self) -> Q:
        """Asked for only while it is on."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(self.condition()) if self.is_on() else queryset


class ColumnFilter(RequestFilter):
    """Of a column that has an index. Several of them are looked for together, by RequestList."""

    def found_by(self) -> Filter:
        """The condition in SQL."""
        raise NotImplementedError


class StatusFilter(ColumnFilter):
    title, parameter_name = "status", "status__exact"
    ordering = ("-due_at", "-id")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(RequestStatus.choices)

    def is_on(self) -> bool:
        return self.value() in RequestStatus

    def condition(self) -> Q:
        return Q(status=self.value())

    def found_by(self) -> Filter:
        return Filter("status = %s", (self.value(),), "requests_status_due", "due_at DESC, id DESC")


class ActionFilter(ColumnFilter):
    """Those with a recipe are offered; any other may stand in the address."""

    title = parameter_name = "action"
    ordering = ("-created_at", "-id")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        actions = [recipe.action for recipe in recipes()]
        if (asked := self.value()) and asked not in actions:
            actions.append(asked)
        return [(action, action) for action in actions]

    def is_on(self) -> bool:
        return bool(self.value())

    def condition(self) -> Q:
        return Q(action=self.value())

    def found_by(self) -> Filter:
        return Filter("action = %s", (self.value(),), "requests_action", "created_at DESC, id DESC")


class PlacedByFilter(ColumnFilter):
    """Of one account of the database, which each row's cell links to; shown only then."""

    title, parameter_name = "placed by", "placed_by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        asked = self.value()
        return [(asked, asked)] if asked else []

    def is_on(self) -> bool:
        return bool(self.value())

    def condition(self) -> Q:
        return Q(placed_by=self.value())

    def found_by(self) -> Filter:
        return Filter("placed_by = %s", (self.value(),), "requests_placed_by", "id DESC")


class DayFilter(ColumnFilter):
    """The day, in UTC, on which requests were placed: one of the last, or any, such as 2026-01-31."""

    title = parameter_name = "day"
    template = "admin/requests_app/request/day_filter.html"
    ordering = ("-created_at", "-id")
    others: dict[str, str] = {}  # noqa: RUF012 - set anew by choices(); the rest of the address, for the template's form

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        today = datetime.now(UTC).date()
        days = [today - timedelta(days=back) for back in range(_DAYS)]
        return [(str(day), "Today" if day == today else f"{day:%a} {day}") for day in days]

    def choices(self, changelist: Any) -> Any:
        self.others = {name: value for name, value in changelist.params.items() if name != self.parameter_name}
        return super().choices(changelist)

    def _bounds(self) -> tuple[datetime, datetime] | None:
        try:
            start = datetime.strptime(self.value() or "", "%Y-%m-%d").replace(tzinfo=UTC)
            return (start, start + timedelta(days=1)) if start >= EARLIEST else None
        except (ValueError, OverflowError):
            return None

    def is_on(self) -> bool:
        return self._bounds() is not None

    def condition(self) -> Q:
        start, end = self._bounds() or (None, None)
        return Q(created_at__gte=start, created_at__lt=end)

    def found_by(self) -> Filter:
        bounds = tuple(f"{bound:%Y-%m-%d %H:%M:%S}" for bound in self._bounds() or ())
        return Filter("created_at >= %s AND created_at < %s", bounds, "requests_created", "created_at DESC, id DESC")


class ShortFilter(ColumnFilter):
    """Requests that were completed although a job had failed; those that most jobs failed of come first."""

    title, parameter_name = "shortfall", "short"
    ordering = ("-shortfall", "-id")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "short")]

    def is_on(self) -> bool:
        return bool(self.value())

    def condition(self) -> Q:
        return Q(status=RequestStatus.COMPLETED, shortfall__gt=0)

    def found_by(self) -> Filter:
        return Filter("status = 'Completed' AND shortfall > 0", (), "requests_short", "shortfall DESC, id DESC")


class ErrorKindFilter(ColumnFilter):
    """Failed alike: of one kind of error, which a link names. Shown only then."""

    title, parameter_name = "error", KIND

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, "Failed alike")] if (kind := self.value()) else []

    def is_on(self) -> bool:
        return bool(self.value())

    def condition(self) -> Q:
        return Q(error_kind=self.value())

    def found_by(self) -> Filter:
        return Filter("error_kind = %s", (self.value(),), "requests_error_kind", "id DESC")


class WaitingFilter(RequestFilter):
    """Requests of which a job waits for an answer: up to 500, found by a statement of their own."""

    title = parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("answer", "For an answer"), ("past", "Past its time")]

    def is_on(self) -> bool:
        return self.value() in {"answer", "past"}

    def condition(self) -> Q:
        return Q(pk__in=awaiting_requests(only_past=self.value() == "past"))


class DeadlineFilter(RequestFilter):
    """The earliest first. By ids: else the optimizers would read all requests to find the few."""

    title = parameter_name = "deadline"
    ordering = ("deadline_at", "id")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return DeadlineState.choices

    def is_on(self) -> bool:
        return self.value() in DeadlineState

    def condition(self) -> Q:
        return Q(pk__in=ids_by_deadline(DeadlineState(self.value() or ""), _MOST_BY_DEADLINE))


FILTERS = (
    StatusFilter,
    ActionFilter,
    PlacedByFilter,
    DayFilter,
    DeadlineFilter,
    WaitingFilter,
    ShortFilter,
    ErrorKindFilter,
)


def ordering_of(on: Sequence[RequestFilter], *, is_search: bool) -> tuple[str, ...]:
    """Of the list with these filters on."""
    if any(isinstance(one, DeadlineFilter) for one in on):
        return DeadlineFilter.ordering
    found_by_ids = is_search or any(isinstance(one, WaitingFilter) for one in on)
    return RequestFilter.ordering if found_by_ids or len(together(on)) != 1 else on[0].ordering


def together(on: Sequence[RequestFilter]) -> list[Filter]:
    """What they demand of columns, each with its index. Of an action and a day it is one."""
    columns = {type(one): one.found_by() for one in on if isinstance(one, ColumnFilter)}
    if (action := columns.get(ActionFilter)) and (day := columns.pop(DayFilter, None)):
        both = Filter(f"{action.where} AND {day.where}", action.values + day.values, action.index, action.order)
        columns[ActionFilter] = both
    return [*columns.values()]
