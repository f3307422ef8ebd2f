"""Requests that failed alike in the admin: their list, and *Retry all of this kind*.

A web request does a few seconds' worth; its page then says what is left and asks to go on. What is done is committed
batch by batch, and the pace is kept in the database, so nothing is lost when the process is killed in between.
"""

import re
import time
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from jobs_app.db.dialect import database_now
from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway
from requests_app.admin.filters import KIND
from requests_app.admin.forms import ReasonForm
from requests_app.admin.request_actions import VERBS, VerbsAdmin
from requests_app.formatting import clock, iso, parse_pace
from requests_app.models import Request
from requests_app.models.bulk_retry import RetriedBatch, Selection, Summary
from requests_app.models.fingerprints import fingerprint
from requests_app.operations.bulk_retry import DEFAULT_PACE, Taken, bulk_retry

_MOST_SECONDS = 5.0  # of one web request; after it the operator is asked to go on
_MOST_SUMMARIZED = 10_000
_MOST_ACTIONS = 5
_MOST_ERROR_CHARACTERS = 2_000
_IS_KIND = re.compile(r"[0-9a-f]{8}")


class PaceForm(ReasonForm):
    """`until`: when the page was asked for; what failed later, as a second time, is not meant."""

    pace = forms.CharField(
        initial=DEFAULT_PACE,
        max_length=20,
        help_text="How many go on a second (10/s), a minute (90/m) or an hour (100/h).",
    )
    until = forms.DateTimeField(widget=forms.HiddenInput)
    field_order = ("reason", "pace", "until")

    def clean_pace(self) -> float:
        try:
            return parse_pace(self.cleaned_data["pace"].strip())
        except ValueError as error:
            raise ValidationError(f"{error}.") from error


class BulkRetryAdmin(VerbsAdmin):
    """Adds `kind/<error kind>/retry/`, and what leads there."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.bulk_retry)
        return [path("kind/<str:kind>/retry/", view, name="requests_app_request_bulk_retry"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"bulk_retry_url": self.bulk_retry_url(request, request.GET.get(KIND, "")), **(extra_context or {})}
        return super().changelist_view(request, context)

    def bulk_retry_url(self, http: HttpRequest, kind: str) -> str:
        """Empty for those who may not, and when there is no kind."""
        may = _IS_KIND.fullmatch(kind) and self.has_operate_permission(http)
        return reverse("admin:requests_app_request_bulk_retry", args=[kind]) if may else ""

    def bulk_retry(self, http: HttpRequest, kind: str) -> HttpResponse:
        """GET: asks. POST: does as many as it has time for; asks to go on with the rest, or leads back to the list."""
        self._demand(http)
        form = PaceForm(http.POST if http.method == "POST" else None, initial={"until": iso(database_now())})
        taken = Taken()
        if not form.is_valid():
            return self._confirm_bulk_retry(http, kind, form, taken)
        said = form.cleaned_data
        try:
            is_done = self._take_up(http, Selection(kind, said["until"]), said["pace"], said["reason"], taken)
        except (DatabaseAway, DatabaseError) as error:
            why = str(error) if isinstance(error, DatabaseAway) else fault_line(error)
            self.message_user(http, f"Stopped after {_requests(taken.retried)}: {why}", messages.ERROR)
            is_done = False
        if is_done:
            self.message_user(http, *_done_message(taken))
            return HttpResponseRedirect(kind_listing(kind))
        return self._confirm_bulk_retry(http, kind, form, taken)

    def _take_up(self, http: HttpRequest, selection: Selection, pace: float, reason: str, taken: Taken) -> bool:
        """Whether it came to the end in time."""
        began = time.monotonic()
        for batch in bulk_retry(selection, pace, by=http.user.get_username(), reason=reason):
            taken.add(batch)
            _log(http, batch, reason)
            if time.monotonic() - began > _MOST_SECONDS:
                return False
        return True

    def _confirm_bulk_retry(self, http: HttpRequest, kind: str, form: PaceForm, taken: Taken) -> HttpResponse:
        until = form.cleaned_data.get("until") if form.is_bound else None
        selection = Selection(kind, until or database_now())
        left = Request.objects.summarize_kind(selection, _MOST_SUMMARIZED)
        if not left.actions:
            self.message_user(http, *_done_message(taken))
            return HttpResponseRedirect(kind_listing(kind))
        context = {
            "crumbs": [(kind_listing(), "Requests"), (kind_listing(kind), "Failed alike")],
            "title": "Retry all of this kind",
            "submit": "Go on" if taken.retried else "Retry all",
            "explanation": f"{_sentence(left, taken)} {_error_of(selection)}",
            "back": kind_listing(kind),
        }
        return self._confirm(http, VERBS["retry_request"], form, context)


def kind_listing(kind: str = "") -> str:
    return reverse("admin:requests_app_request_changelist") + (f"?{KIND}={kind}" if kind else "")


def _sentence(left: Summary, taken: Taken) -> str:
    number = sum(left.actions.values())
    actions = ", ".join(f"{action} {of_it:,}" for action, of_it in left.actions.most_common(_MOST_ACTIONS))
    said = f"{_requests(taken.retried)} taken up, the last of them due at {clock(taken.due_until)} UTC. Left: "
    more = "more than " if number == _MOST_SUMMARIZED else ""
    return (
        f"{said if taken.retried else ''}{more}{_requests(number)} ({actions}) that failed alike, "
        f"from {clock(left.first)} to {clock(left.last)} UTC:"
    )


def _error_of(selection: Selection) -> str:
    first = Request.objects.filter(pk__in=Request.objects.ids_of_kind(selection, 1))
    return fingerprint(first.values_list(Left("error", _MOST_ERROR_CHARACTERS), flat=True).first() or "")


def _done_message(taken: Taken) -> tuple[str, int]:
    if not taken.retried and not taken.locked:
        return "Nothing to do: no failed request of this kind is left.", messages.WARNING
    due = f"; the last is due at {clock(taken.due_until)} UTC" if taken.retried else ""
    done = f"Done: retry_request of {_requests(taken.retried)}{due}."
    if not taken.locked:
        return done, messages.SUCCESS
    return f"{done} Left: {_requests(taken.locked)}, locked by another session.", messages.WARNING


def _requests(number: int) -> str:
    return f"{number:,} request{'' if number == 1 else 's'}"


def _log(http: HttpRequest, batch: RetriedBatch, reason: str) -> None:
    done = [Request(id=request.id, token=request.token, action=request.action) for request in batch.requests]
    if done:
        line = f"retry_request: {reason}"
        LogEntry.objects.log_actions(cast("Any", http.user.pk), cast("Any", done), CHANGE, change_message=line)
