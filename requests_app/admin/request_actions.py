"""The verbs of interventions.py in the admin: on a request's page and on many rows of the list.

A verb is asked for by a link, confirmed with a reason on a page of its own, and done by one POST. Who may, has the
permission `requests_app.operate_request`. Each leaves a row in `interventions` and one in the admin's log.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway, Locked
from jobs_app.models import Job
from requests_app.admin.badges import badge
from requests_app.admin.forms import MOST_AT_ONCE, CompleteForm, JobForm, ManyForm, ReasonForm, choices_of, is_id
from requests_app.models import Request, RequestStatus
from requests_app.models.status import UNFINISHED
from requests_app.monitoring.logins import log_with_admin_account
from requests_app.operations.explain import explain
from requests_app.operations.interventions import (
    Refused,
    cancel_request,
    complete_job,
    fail_job,
    retry_now,
    retry_request,
)

PERMISSION = "requests_app.operate_request"
CONFIRM = "admin/requests_app/confirm.html"
_MOST_REASONS = 3  # of refusals that one message quotes


@dataclass(frozen=True, slots=True)
class Verb:
    """`effect`: what will happen, in one sentence. `done`: how a sentence about a request ends afterwards."""

    name: str
    label: str
    effect: str
    done: str
    act: Callable[..., None]
    form: type[ReasonForm] = ReasonForm


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "retry_request",
            "Retry",
            "The failed step is taken up again: what is done stays done, every other job of the step gets a new "
            "attempt and a fresh budget of attempts. A request that was refused is queued again.",
            "is taken up again",
            retry_request,
        ),
        Verb(
            "retry_now",
            "Retry now",
            "Jobs that wait for their next attempt are due at once; one that waits for an answer looks again now. Jobs "
            "whose name is paused go on waiting.",
            "does not wait any longer",
            retry_now,
        ),
        Verb(
            "complete_job",
            "Complete a job",
            "The job counts as done, as if it had returned these extras, and is not called. The request goes on. So "
            "is an approval given, and an answer in place of a service.",
            "goes on without that job",
            complete_job,
            CompleteForm,
        ),
        Verb(
            "fail_job",
            "Fail a job",
            "The job counts as failed and is not called any more, as if it had failed itself: unless it has another "
            "reach (if_fails), nothing more of the request is started. So is an approval refused.",
            "takes that job as failed",
            fail_job,
            JobForm,
        ),
        Verb(
            "cancel_request",
            "Cancel",
            "Nothing more is started. What runs now may end and is recorded. A cancelled request stays cancelled.",
            "is cancelled",
            cancel_request,
        ),
    )
}
FOR_MANY = tuple(VERBS[name] for name in ("retry_request", "retry_now", "cancel_request"))


def possible(request: Request) -> list[Verb]:
    """The verbs that the request's state allows now. The moves check again, under their locks."""
    is_open = request.status in {RequestStatus.FAILED, RequestStatus.INPROGRESS}
    allowed = {
        "retry_request": request.status == RequestStatus.FAILED,
        "retry_now": request.status == RequestStatus.INPROGRESS and Job.objects.waiting(request.pk).exists(),
        "complete_job": is_open and Job.objects.may_be_completed(request.pk, request.step).exists(),
        "fail_job": request.status == RequestStatus.INPROGRESS
        and Job.objects.may_be_failed(request.pk, request.step).exists(),
        "cancel_request": request.status in UNFINISHED,
    }
    return [verb for name, verb in VERBS.items() if allowed[name]]


def perform(act: Callable[[], None]) -> str:
    """Does it; returns why it was refused, or an empty text. Raises DatabaseAway."""
    try:
        act()
    except Request.DoesNotExist:
        return "it is not there any more"
    except (Refused, Locked) as refused:
        return str(refused)
    except DatabaseError as error:
        return f"the database refused a statement: {fault_line(error)}"
    return ""


def _action(verb: Verb) -> Callable[..., HttpResponse]:
    """An action of the list; the list's form sends its name."""

    @admin.action(permissions=["operate"], description=f"{verb.label} the chosen requests")
    def action(model_admin: "VerbsAdmin", http: HttpRequest, chosen: Any) -> HttpResponse:
        ids = list(chosen.order_by("id").values_list("id", flat=True)[: MOST_AT_ONCE + 1])
        return model_admin.confirm_many(http, verb, ids)

    action.__name__ = verb.name
    return action


class VerbsAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Adds `<id>/verb/<verb>/`, `verb/<verb>/` for many, and the list's actions."""

    actions: Any = tuple(map(_action, FOR_MANY))

    def has_operate_permission(self, http: HttpRequest) -> bool:
        return http.user.has_perm(PERMISSION)

    def get_urls(self) -> list[URLPattern]:
        one, many = (self.admin_site.admin_view(view) for view in (self.one, self.many))
        return [
            path("<path:object_id>/verb/<str:verb>/", one, name="requests_app_request_verb"),
            path("verb/<str:verb>/", many, name="requests_app_request_verb_many"),
            *super().get_urls(),
        ]

    def response_action(self, request: HttpRequest, queryset: Any, *where: Any) -> HttpResponse | None:
        """Django has the database look for whatever was sent as the chosen rows."""
        if not all(map(is_id, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            self.message_user(request, "These are no ids.", messages.ERROR)
            return None
        return super().response_action(request, queryset, *where)

    # One request -----------------------------------------------------------------------------------------------------
    def one(self, http: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """GET: asks. POST: does it, and leads back to the request's page with a message that says the result."""
        request: Request | None = self.get_object(http, object_id)
        if request is None or verb not in VERBS:
            raise Http404
        self._demand(http, request)
        form = VERBS[verb].form(http.POST if http.method == "POST" else None, choices=choices_of(request, verb))
        if form.is_valid():
            with log_with_admin_account(http):
                self._do(http, request, VERBS[verb], form.cleaned_data)
        elif VERBS[verb] in possible(request):
            return self._confirm_one(http, request, VERBS[verb], form)
        else:
            self.message_user(http, f"Refused: {verb} is not possible now. {explain(request)}", messages.ERROR)
        return HttpResponseRedirect(_page_of(request))

    def _demand(self, http: HttpRequest, request: Request | None = None) -> None:
        if not (self.has_view_permission(http, request) and self.has_operate_permission(http)):
            raise PermissionDenied

    def _do(self, http: HttpRequest, request: Request, verb: Verb, said: dict[str, Any]) -> None:
        by = http.user.get_username()
        try:
            problem = perform(lambda: verb.act(request.token, by=by, **said))
        except DatabaseAway as away:
            problem = str(away)
        if problem:
            self.message_user(http, f"Refused: {problem}", messages.ERROR)
            return
        self.log_change(http, request, _log_line(verb, said))
        self.message_user(http, f"Done: {request} {verb.done}.", messages.SUCCESS)

    def _confirm_one(self, http: HttpRequest, request: Request, verb: Verb, form: ReasonForm) -> HttpResponse:
        context = {
            "crumbs": [(reverse("admin:requests_app_request_changelist"), "Requests"), (_page_of(request), request)],
            "title": f"{verb.label}: {request}",
            "badge": badge(request.status, request.get_status_display()),
            "explanation": explain(request),
            "back": _page_of(request),
        }
        return self._confirm(http, verb, form, context)

    # Many ------------------------------------------------------------------------------------------------------------
    def many(self, http: HttpRequest, verb: str) -> HttpResponse:
        """POST: does it to each, one after another, and leads back to the list."""
        self._demand(http)
        if verb not in {known.name for known in FOR_MANY}:
            raise Http404
        form = ManyForm(http.POST if http.method == "POST" else None)
        if form.is_valid():
            with log_with_admin_account(http):
                self._do_many(http, VERBS[verb], form.cleaned_data["ids"], form.cleaned_data["reason"])
        elif form.is_bound and "ids" not in form.errors:
            return self.confirm_many(http, VERBS[verb], form.cleaned_data["ids"], form)
        return HttpResponseRedirect(reverse("admin:requests_app_request_changelist"))

    def confirm_many(
        self, http: HttpRequest, verb: Verb, ids: Sequence[int], form: ManyForm | None = None
    ) -> HttpResponse:
        taken = ids[:MOST_AT_ONCE]
        listing = reverse("admin:requests_app_request_changelist")
        context = {
            "crumbs": [(listing, "Requests")],
            "title": f"{verb.label} {len(taken)} request{'' if len(taken) == 1 else 's'}",
            "is_cut": len(ids) > MOST_AT_ONCE,
            "most": MOST_AT_ONCE,
            "action": reverse("admin:requests_app_request_verb_many", args=[verb.name]),
            "back": listing,
        }
        return self._confirm(http, verb, form or ManyForm(initial={"ids": ",".join(map(str, taken))}), context)

    def _do_many(self, http: HttpRequest, verb: Verb, ids: Sequence[int], reason: str) -> None:
        by, done, refused = http.user.get_username(), [], []
        for request in Request.objects.filter(pk__in=ids).only("id", "token", "action").order_by("id"):
            try:
                problem = perform(lambda token=request.token: verb.act(token, by=by, reason=reason))  # type: ignore[misc]
            except DatabaseAway as away:  # which took seconds, and would for each of the others
                refused.append(f"{request.token}, and those after it were not tried: {away}")
                break
            if problem:
                refused.append(f"{request.token}: {problem}")
            else:
                done.append(request)
        if done:
            line = _log_line(verb, {"reason": reason})
            LogEntry.objects.log_actions(cast("Any", http.user.pk), cast("Any", done), CHANGE, change_message=line)
        self.message_user(http, *_summary(verb, len(done), refused))

    # Both ------------------------------------------------------------------------------------------------------------
    def _confirm(self, http: HttpRequest, verb: Verb, form: ReasonForm, context: dict[str, Any]) -> HttpResponse:
        shown = self.admin_site.each_context(http) | {"verb": verb, "effect": verb.effect, "submit": verb.label}
        return TemplateResponse(http, CONFIRM, shown | {"form": form, "opts": self.opts} | context)


def _page_of(request: Request) -> str:
    return reverse("admin:requests_app_request_change", args=[request.pk])


def _log_line(verb: Verb, said: dict[str, Any]) -> str:
    """Without extras: they may be personal data."""
    return f"{verb.name}{' ' + said['job'] if 'job' in said else ''}: {said['reason']}"


def _summary(verb: Verb, done: int, refused: Sequence[str]) -> tuple[str, int]:
    line = f"Done: {verb.name} of {done} request{'' if done == 1 else 's'}."
    if not refused:
        return line, messages.SUCCESS
    return f"{line} Refused: {len(refused)}. {_first(refused)}", messages.WARNING if done else messages.ERROR


def _first(sentences: Iterable[str]) -> str:
    found = list(sentences)
    more = f" And {len(found) - _MOST_REASONS} more." if len(found) > _MOST_REASONS else ""
    return " ".join(found[:_MOST_REASONS]) + more
