"""Answers `GET /requests/TOKEN`: how far a request is. Never what it is about: no params, extras, subject or error."""

import hashlib
import json
from datetime import datetime
from typing import Any

import structlog
from django.db import Error
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import get_conditional_response

from jobs_app.api.middleware import ApiMiddleware, database_away
from jobs_app.db.faults import fault_line
from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus
from requests_app.models.receipt import utc_text
from requests_app.models.status import RequestStatus
from requests_app.monitoring.logins import client_address
from requests_app.status_http.lookup import Found, Rejected, look_up
from requests_app.status_http.polls import ENVIRON, PATH, LongPoll

log = structlog.stdlib.get_logger(__name__)

_ASK_AGAIN_SECONDS = 5  # of who wanted to wait, and was not held


class StatusMiddleware(ApiMiddleware):
    """Not a path of urls.py: a token may hold anything, also a slash or a line break."""

    path = PATH

    def respond(self, request: HttpRequest) -> HttpResponse:
        return _respond(request)


def _respond(request: HttpRequest) -> HttpResponse:
    if request.META.get(ENVIRON) == LongPoll.AWAY:
        return database_away()
    try:
        return _answer(request, look_up(request))
    except Rejected as refused:
        return _refused(request, refused)
    except Error as error:
        log.warning("status_unavailable", fault=fault_line(error))
        return database_away()


def _answer(request: HttpRequest, found: Found) -> HttpResponse:
    body = json.dumps(_status(found.row)).encode()
    response = HttpResponse(body, content_type="application/json", headers={"Content-Length": str(len(body))})
    response["ETag"] = etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    response = get_conditional_response(request, etag=etag, response=response) or response
    if found.wait and not found.is_final and request.META.get(ENVIRON) != LongPoll.HELD:
        response["Retry-After"] = str(_ASK_AGAIN_SECONDS)
    return response


def _status(row: dict[str, Any]) -> dict[str, Any]:
    """docs/openapi.yaml says what each name means."""
    is_started = row["started_at"] is not None  # before that its steps may be anything
    return {
        "token": row["token"],
        "action": row["action"],
        "status": row["status"],
        "step": row["step"],
        "steps": row["how_many_steps"] if is_started else None,
        "waiting_until": utc_text(_waiting_until(row)),
        "shortfall": row["shortfall"],
        "error_kind": row["error_kind"] or None,
        "created_at": utc_text(row["created_at"]),
        "started_at": utc_text(row["started_at"]),
        "ended_at": utc_text(row["completed_at"]),
        "deadline_at": utc_text(row["deadline_at"]),
    }


def _waiting_until(row: dict[str, Any]) -> datetime | None:
    """By when at the latest each job that waits for an answer has one, or has ended without."""
    if row["status"] != RequestStatus.INPROGRESS:
        return None
    jobs = Job.objects.filter(request=row["id"], step=row["step"], status=JobStatus.NEW)
    until: datetime | None = jobs.aggregate(until=Max("answer_by"))["until"]
    return until


def _refused(request: HttpRequest, refused: Rejected) -> HttpResponse:
    response = JsonResponse({"reason": refused.reason}, status=refused.status, headers=refused.headers)
    if refused.status == 401:
        log.warning("status_refused", address=client_address(request))  # never the bearer: it may be one letter wrong
        response._has_been_logged = True  # type: ignore[attr-defined] # else Django says it a second time
    return response
