"""Receives the answers that services POST to a signed URL (answer_urls.py), and stores each as a row of `answers`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import structlog
from django.core.exceptions import MiddlewareNotUsed
from django.db import Error
from django.db.models import Count, Max, Subquery, Value
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.views.defaults import page_not_found

from jobs_app.answer_urls import PATH, AnswerAddress, are_on, read_path
from jobs_app.api.middleware import ApiMiddleware, database_away
from jobs_app.db.faults import fault_line
from jobs_app.db.transactions import DatabaseAway, run_transaction
from jobs_app.models import Job
from jobs_app.models.answer import Answer, AnswerOutcome, Effect
from jobs_app.outcomes import Json, json_object, storable, storable_text
from jobs_app.telemetry.events import log_answer_kept

log = structlog.stdlib.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024


class PostedAnswer(NamedTuple):
    outcome: str
    extras: Json | None
    reason: str | None


class AnswerMiddleware(ApiMiddleware):
    """Without both settings there is no such path."""

    path = PATH

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        if not are_on():
            raise MiddlewareNotUsed
        super().__init__(get_response)

    def respond(self, request: HttpRequest) -> HttpResponse:
        return _respond(request)


def _respond(request: HttpRequest) -> HttpResponse:
    address = read_path(request.path_info)
    if address is None:
        return page_not_found(request, Http404())
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    body = request.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        return _refused(400, f"the body is longer than {MAX_BODY_BYTES} bytes")
    try:
        answer = read_answer(body)
    except ValueError as error:
        return _refused(400, str(error))
    return _keep(address, answer)


def _keep(address: AnswerAddress, answer: PostedAnswer) -> HttpResponse:
    try:
        kept = run_transaction(partial(keep_answer, address, answer))
    except (DatabaseAway, Error) as error:
        log.warning("answer_not_kept", fault=fault_line(error))
        return database_away(kept=False)
    if kept.is_new:
        log_answer_kept(*address, outcome=answer.outcome, caller_trace=kept.caller_trace)
    return JsonResponse({"kept": True}, status=202)


def _refused(status: int, reason: str) -> JsonResponse:
    return JsonResponse({"kept": False, "reason": reason}, status=status)


# The body -------------------------------------------------------------------------------------------------------------
def read_answer(body: bytes) -> PostedAnswer:
    """Raises ValueError with a sentence for whoever posted it."""
    try:
        given = json_object(body.decode(), unique_keys=True)
    except UnicodeDecodeError:
        raise ValueError("the body is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"the body is not a JSON object: {error}") from None
    outcome, extras, reason = (given.pop(name, None) for name in PostedAnswer._fields)
    if given:
        raise ValueError(f"a key that is none of {', '.join(PostedAnswer._fields)}")
    if outcome not in AnswerOutcome.values:
        raise ValueError(f"outcome: one of {', '.join(AnswerOutcome.values)} is needed")
    if not isinstance(extras, dict | None):
        raise ValueError("extras: an object or null is needed")
    if not isinstance(reason, str | None):
        raise ValueError("reason: a string or null is needed")
    _demand_storable(extras, reason)
    return PostedAnswer(outcome, extras, reason)


def _demand_storable(extras: Json | None, reason: str | None) -> None:
    try:
        storable(extras)
    except ValueError as error:
        raise ValueError(f"extras: {error}") from None
    if any("\0" in text or storable_text(text) != text for text in _texts([extras, reason])):
        raise ValueError("a text holds NUL or half a surrogate pair, which cannot be stored")


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            yield from _texts([*value.keys(), *value.values()])
        case list():
            for item in value:
                yield from _texts(item)


# The row --------------------------------------------------------------------------------------------------------------
class Kept(NamedTuple):
    """`caller_trace`: of a new one, its request's column `traceparent`."""

    is_new: bool
    caller_trace: str


def keep_answer(address: AnswerAddress, answer: PostedAnswer) -> Kept:
    """Places it, unless it stands there already: a service may repeat its POST.

    A late one does not count as such a row: after a retry by hand the same answer may be in time. Two that come at the
    same time may both be placed; the first one taken counts.
    """
    same = Answer.objects.filter(**address._asdict(), outcome=answer.outcome).exclude(effect=Effect.LATE)
    same = same.filter(extras__isnull=True) if answer.extras is None else same.filter(extras=answer.extras)
    request = Job.objects.filter(request__token=address.token).values("request__traceparent")[:1]
    # In one statement; MAX of no rows is NULL, in whose place comes the default.
    found = same.aggregate(count=Count("id"), caller_trace=Max(Value(""), default=Subquery(request)))
    if found["count"]:
        return Kept(is_new=False, caller_trace="")
    Answer.objects.create(**address._asdict(), **answer._asdict())
    return Kept(is_new=True, caller_trace=found["caller_trace"] or "")
