"""Logins, refused logins and logouts: one audit event each, with the account and the address, and a count."""

from contextlib import AbstractContextManager
from ipaddress import ip_address
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest
from prometheus_client import Counter

from jobs_app.telemetry.audit import audit

log = structlog.stdlib.get_logger(__name__)

_MOST_CHARACTERS = 255
_OUTCOMES = ("accepted", "refused", "locked_out")
_logins = Counter("tasker_logins", "Attempts to log in to the admin, by outcome.", ["outcome"])
for _outcome in _OUTCOMES:
    _logins.labels(_outcome)  # there as 0, so that the first one shows as an increase


def client_address(request: HttpRequest) -> str:
    """Of X-Forwarded-For, which is believed behind a proxy alone, the last one: those before it a client may invent."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "") if settings.BEHIND_TLS_PROXY else ""
    for text in (forwarded.rpartition(",")[2].strip(), request.META.get("REMOTE_ADDR", "")):
        try:
            return str(ip_address(text))
        except ValueError:
            continue
    return ""


def named_account(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str | None:
    """Who is tried to log in as, in so many characters as the table of failed attempts takes: no account has more."""
    name = (credentials or request.POST).get("username")
    return None if name is None else str(name)[:_MOST_CHARACTERS]


def log_with_admin_account(request: HttpRequest) -> AbstractContextManager[object]:
    """Inside it each log event has `account` and `address`: who is logged in to the admin, and from where."""
    who = {"account": request.user.get_username(), "address": client_address(request)}
    return structlog.contextvars.bound_contextvars(**who)


@receiver(user_logged_in)
def _accepted(request: HttpRequest, user: Any, **_: object) -> None:
    _logins.labels("accepted").inc()
    audit(log.info, "login", account=user.get_username(), address=client_address(request))


@receiver(user_login_failed)
def _refused(credentials: dict[str, Any], request: HttpRequest | None = None, **_: object) -> None:
    outcome = "locked_out" if getattr(request, "axes_locked_out", False) else "refused"
    _logins.labels(outcome).inc()
    address = client_address(request) if request else ""
    audit(log.warning, "login_refused", account=_account(credentials), address=address, outcome=outcome)


@receiver(user_logged_out)
def _left(request: HttpRequest, user: Any, **_: object) -> None:
    if user:
        audit(log.info, "logout", account=user.get_username(), address=client_address(request))


def _account(credentials: dict[str, Any]) -> str:
    """As it is kept. A name that nobody has is not logged: people type their password there."""
    users = get_user_model()._default_manager.filter(username=credentials.get("username", ""))
    return users.values_list("username", flat=True).first() or "unknown"
