"""What the log says of requests and of the verbs done to them, once the transaction that did it is committed."""

from collections.abc import Iterable
from functools import partial

import structlog
from django.db import transaction

from requests_app.models import QueuedRow, RequestStatus, StepRow
from requests_app.request_tallies import subject

log = structlog.stdlib.get_logger(__name__)


def started(rows: Iterable[QueuedRow]) -> None:
    transaction.on_commit(partial(_tell, "request_started", [(row.token, subject(row.action)) for row in rows]))


def ended(rows: Iterable[QueuedRow | StepRow], status: RequestStatus) -> None:
    requests = [(row.token, subject(row.action)) for row in rows]
    transaction.on_commit(partial(_tell, "request_ended", requests, status))


def intervention(verb: str, token: str, action: str, job: str, by: str) -> None:
    """Not the reason: people write names into it."""
    of_job = {"job": job} if job else {}
    transaction.on_commit(partial(log.info, verb, token=token, action=subject(action), by=by, **of_job))


def _tell(event: str, requests: list[tuple[str, str]], status: RequestStatus | None = None) -> None:
    """A failure is told at INFO, the others at DEBUG: their counts are in the metrics."""
    how = {"status": status.value} if status else {}
    tell = log.info if status == RequestStatus.FAILED else log.debug
    for token, action in requests:
        tell(event, token=token, action=action, **how)
