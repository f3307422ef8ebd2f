"""What the log says of requests and of the verbs done to them, once the transaction that did it is committed."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import structlog
from django.db import transaction

from jobs_app.models import Answer
from jobs_app.models.attempts import LockedRequest
from jobs_app.models.tally import OTHER
from jobs_app.registry import definition
from requests_app.models import Intervention, Request, RequestStatus
from requests_app.models.request import QueuedRow
from requests_app.monitoring.tallies import subject

log = structlog.stdlib.get_logger(__name__)


class HasToken(Protocol):
    """A request, by whatever it was read as."""

    @property
    def token(self) -> str: ...
    @property
    def action(self) -> str: ...


def log_started(rows: Sequence[QueuedRow]) -> None:
    transaction.on_commit(partial(_log, logging.DEBUG, "request_started", rows))


def log_ended(rows: Sequence[QueuedRow | LockedRequest], status: RequestStatus) -> None:
    """A failure at INFO, the others at DEBUG: their counts are in the metrics."""
    level = logging.INFO if status == RequestStatus.FAILED else logging.DEBUG
    transaction.on_commit(partial(_log, level, "request_ended", rows, status=status.value))


def log_intervention(trace: Intervention, request: HasToken) -> None:
    """Not the reason: people write names into it."""
    of_job = {"job": trace.job} if trace.job else {}
    of_request = {"token": request.token, "action": subject(request.action)}
    transaction.on_commit(partial(log.info, trace.verb, **of_request, by=trace.by, **of_job))


def log_personal_data_shown(row: Request | Answer) -> None:
    """To whom is in the context: logins.py, by_hand.py."""
    of_row: dict[str, Any] = {"token": row.token}
    if isinstance(row, Request):
        of_row |= {"action": subject(row.action)}
    else:
        of_row |= {"step": row.step, "job": row.job if definition(row.job) else OTHER}
    log.info("personal_data_shown", **of_row)


def _log(level: int, event: str, rows: Sequence[QueuedRow | LockedRequest], **how: str) -> None:
    if logging.getLogger(__name__).isEnabledFor(level):
        for row in rows:
            log.log(level, event, token=row.token, action=subject(row.action), **how)
