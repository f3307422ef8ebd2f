"""What the log says of requests and of the verbs done to them, once the transaction that did it is committed."""

import logging
from collections.abc import Sequence
from functools import partial

import structlog
from django.db import transaction

from jobs_app.models.attempts import LockedRequest
from requests_app.models import RequestStatus
from requests_app.models.request import QueuedRow
from requests_app.monitoring.tallies import subject

log = structlog.stdlib.get_logger(__name__)


def log_started(rows: Sequence[QueuedRow]) -> None:
    transaction.on_commit(partial(_log, logging.DEBUG, "request_started", rows))


def log_ended(rows: Sequence[QueuedRow | LockedRequest], status: RequestStatus) -> None:
    """A failure at INFO, the others at DEBUG: their counts are in the metrics."""
    level = logging.INFO if status == RequestStatus.FAILED else logging.DEBUG
    transaction.on_commit(partial(_log, level, "request_ended", rows, status=status.value))


def log_intervention(verb: str, token: str, action: str, job: str, by: str) -> None:
    """Not the reason: people write names into it."""
    of_job = {"job": job} if job else {}
    transaction.on_commit(partial(log.info, verb, token=token, action=subject(action), by=by, **of_job))


def _log(level: int, event: str, rows: Sequence[QueuedRow | LockedRequest], **how: str) -> None:
    if logging.getLogger(__name__).isEnabledFor(level):
        for row in rows:
            log.log(level, event, token=row.token, action=subject(row.action), **how)
