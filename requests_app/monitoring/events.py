"""What the log says of requests and of the verbs done to them, once the transaction that did it is committed."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import structlog
from django.db import transaction

from jobs_app.models import Answer
from jobs_app.models.attempts import LockedRequest
from jobs_app.models.tally import OTHER
from jobs_app.registry import definition
from jobs_app.telemetry.audit import audit, audit_each
from jobs_app.telemetry.listener import pass_on_requests
from requests_app.models import Intervention, Request, RequestStatus, subjects
from requests_app.models.start_moves import QueuedRow
from requests_app.monitoring.tallies import subject

log = structlog.stdlib.get_logger(__name__)

SHOWN, SCRUB, PURGE, EXPORTED = "personal_data_shown", "scrub", "purge_requests", "receipts_exported"
BEARER_CREATED, BEARER_REVOKED = "status_bearer_created", "status_bearer_revoked"
_VERBS = ("retry_request", "retry_now", "complete_job", "fail_job", "cancel_request", "pause_job", "resume_job")
# All that audit_events can name.
AUDITED = (
    *("login", "login_refused", "logout", SHOWN, *_VERBS, SCRUB, PURGE, EXPORTED),
    *(BEARER_CREATED, BEARER_REVOKED),
)


class HasToken(Protocol):
    """A request, by whatever it was read as."""

    @property
    def token(self) -> str: ...
    @property
    def action(self) -> str: ...


def log_started(rows: Sequence[QueuedRow]) -> None:
    transaction.on_commit(partial(_log, logging.DEBUG, "request_started", rows))


def log_ended_requests(rows: Sequence[QueuedRow | LockedRequest], status: RequestStatus) -> None:
    """A failure at INFO, the others at DEBUG: their counts are in the metrics."""
    level = logging.INFO if status == RequestStatus.FAILED else logging.DEBUG
    transaction.on_commit(partial(_tell_ended, level, rows, status))


def log_intervention(trace: Intervention, request: HasToken) -> None:
    log_interventions([trace], [request])


def log_interventions(traces: Sequence[Intervention], requests: Sequence[HasToken]) -> None:
    """Of one verb. Not the reason: people write names into it."""
    each = [
        {"token": request.token, "action": subject(request.action), "by": trace.by}
        | ({"job": trace.job} if trace.job else {})
        for trace, request in zip(traces, requests, strict=True)
    ]
    if traces:
        transaction.on_commit(partial(audit_each, log.info, traces[0].verb, each))


def log_personal_data_shown(row: Request | Answer) -> None:
    """To whom is in the context: logins.py, operator_command.py."""
    if isinstance(row, Request):
        about = subjects.kept_of(row.subject, is_hashed=row.subject_hashed)
        of_row: dict[str, Any] = {"subject": about, "action": subject(row.action)}
    else:
        of_row = {"step": row.step, "job": row.job if definition(row.job) else OTHER}
    audit(log.info, SHOWN, token=row.token, **of_row)


def log_person_shown(subject: str, requests: int, receipts: int) -> None:
    """Of all that is kept about one person. Only the row says about whom, not the log."""
    audit(log.info, SHOWN, subject=subjects.kept(subjects.cleaned(subject)), requests=requests, receipts=receipts)


def log_scrubbed(subject: str, by: str, counts: Mapping[str, int]) -> None:
    audit(log.info, SCRUB, subject=subjects.kept(subjects.cleaned(subject)), by=by, **counts)


def log_purge(by: str, spans: Mapping[str, str]) -> None:
    audit(log.info, PURGE, by=by, **spans)


def log_receipts_exported(month: str) -> None:
    audit(log.info, EXPORTED, month=month)


def log_bearer_created(bearer: int, caller: str) -> None:
    audit(log.info, BEARER_CREATED, bearer=bearer, caller=caller)


def log_bearer_revoked(bearer: int) -> None:
    audit(log.info, BEARER_REVOKED, bearer=bearer)


def _tell_ended(level: int, rows: Sequence[QueuedRow | LockedRequest], status: RequestStatus) -> None:
    _log(level, "request_ended", rows, status=status.value)
    pass_on_requests(rows)


def _log(level: int, event: str, rows: Sequence[QueuedRow | LockedRequest], **how: str) -> None:
    if logging.getLogger(__name__).isEnabledFor(level):
        for row in rows:
            log.log(level, event, token=row.token, action=subject(row.action), **how)
