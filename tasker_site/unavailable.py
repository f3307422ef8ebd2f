"""The page in place of one that the database could not serve: 503 and a sentence; of any other fault Django's own 500.

What the sentence says may be read by anybody; the log says more.
"""

import sys

import structlog
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.defaults import server_error

from jobs_app.db.faults import MIGRATE, Fault, fault_line, is_read_only, sort_fault
from jobs_app.db.transactions import DatabaseAway, Locked

log = structlog.stdlib.get_logger(__name__)

_RETRY_AFTER_SECONDS = 30
_READ_ONLY = (
    "The database is read-only: nothing was changed, and nobody can log in or out. "
    "Whoever is logged in can read the pages."
)
_LOCKED = "What was to be changed is locked by another session of the database. Nothing was changed."
_OLD = "The database's tables are missing or old."
_AWAY = "The database does not answer."


def server_fault(request: HttpRequest) -> HttpResponse:
    """handler500: called while the exception is handled."""
    error = sys.exc_info()[1]
    if error is None or not (sentence := _sentence(error)):
        return server_error(request)
    log.warning("page_unavailable", fault=fault_line(error))
    page = render_to_string("503.html", {"sentence": sentence})
    response = HttpResponse(page, status=503, headers={"Retry-After": str(_RETRY_AFTER_SECONDS)})
    response._has_been_logged = True  # type: ignore[attr-defined] # Django's own line would hold the path
    return response


def _sentence(error: BaseException) -> str:
    """Empty: it is no fault of the database."""
    if isinstance(error, DatabaseAway):
        return _LOCKED if isinstance(error, Locked) else _AWAY
    if not isinstance(error, Error):
        return ""
    if is_read_only(error):
        return _READ_ONLY
    if fault_line(error) == MIGRATE:
        return _OLD
    return {Fault.CONTENTION: _LOCKED, Fault.LOST: _AWAY}.get(sort_fault(error), "")
