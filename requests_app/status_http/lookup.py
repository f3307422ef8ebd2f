"""Finds the request that a poll asks for, if its bearer may. Also for the web server, which may hold the poll."""

from collections.abc import Collection
from typing import Any, NamedTuple

from django.db import close_old_connections
from django.http import HttpRequest

from jobs_app.db.columns import ListLength
from requests_app.callers import is_named
from requests_app.models import Request, StatusBearer
from requests_app.models.status import FINAL
from requests_app.status_http.polls import PATH, PollToHold, wait_of

METHODS = ("GET", "HEAD")
_COLUMNS = ("id", "token", "action", "status", "step", "error_kind", "shortfall", "placed_by")
_MOMENTS = ("deadline_at", "created_at", "started_at", "completed_at")
_REALM = 'Bearer realm="requests"'


class Rejected(Exception):
    """With what is answered: the status, a sentence, headers."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        self.status, self.reason = status, reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Found(NamedTuple):
    """`row`: columns of the request. `wait`: for how many seconds the poll wants to wait for its end."""

    row: dict[str, Any]
    wait: int

    @property
    def is_final(self) -> bool:
        return self.row["status"] in FINAL


def look_up(request: HttpRequest) -> Found:
    """Raises Rejected. One statement for the bearer, one for the request."""
    if request.method not in METHODS:
        raise Rejected(405, "only GET and HEAD", Allow=", ".join(METHODS))
    caller = _caller_of(request)
    try:
        wait = wait_of(request)
    except ValueError as error:
        raise Rejected(400, str(error)) from None
    return Found(_row(caller, request.path_info.removeprefix(PATH)), wait)


def _caller_of(request: HttpRequest) -> str:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        needed = "an Authorization header is needed: Bearer and what you were given"
        raise Rejected(401, needed, WWW_Authenticate=_REALM)
    if (caller := StatusBearer.objects.caller_of(secret.strip())) is None:
        # RFC 6750, section 3.1
        challenge = f'{_REALM}, error="invalid_token"'
        raise Rejected(401, "the bearer is unknown, revoked or expired", WWW_Authenticate=challenge)
    return caller


def _row(caller: str, token: str) -> dict[str, Any]:
    """Somebody else's is looked up like one's own, and refused like one that is missing."""
    found = Request.objects.filter(token=token).annotate(how_many_steps=ListLength("steps"))
    row: dict[str, Any] | None = found.values(*_COLUMNS, *_MOMENTS, "how_many_steps").first()
    # The servers ignore spaces at a token's end.
    if row is None or row["token"] != token or not is_named(caller, row["placed_by"]):
        raise Rejected(404, "there is no such request of yours")
    return row


# For the web server ---------------------------------------------------------------------------------------------------
def to_be_held(request: HttpRequest) -> PollToHold | None:
    """None: it is to be answered immediately. Raises django.db.Error."""
    close_old_connections()  # as Django does before a request
    try:
        found = look_up(request)
    except Rejected:  # which is said when it is answered
        return None
    return None if found.is_final or not found.wait else PollToHold(found.row["id"], found.wait)


def ended(ids: Collection[int]) -> set[int]:
    """Which of these requests have ended, by one statement. Raises django.db.Error."""
    close_old_connections()
    return Request.objects.ended_of(ids)
