"""The verbs of an operator: what may be done to a request by hand, with who did it and why.

Each verb is one transaction: the guarded move and its row, or neither.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction

from jobs_app.db.transactions import RECONNECT_SECONDS, DatabaseAway, run_transaction
from jobs_app.models import tally as tallies
from jobs_app.outcomes import Completed, completed
from jobs_app.telemetry.listener import pass_on_requests
from requests_app.models import Intervention, Request, RequestStatus
from requests_app.monitoring import events as request_events
from requests_app.monitoring import tallies as request_tallies
from requests_app.operations.explain import explain


class Refused(Exception):
    """The request is not in a state for this verb. Its text is a sentence for the operator."""


def cancel_request(token: str, *, by: str, reason: str) -> None:
    """Raises Refused, Request.DoesNotExist."""
    _intervene("cancel_request", token, lambda: Request.objects.cancel(token), by=by, reason=reason)


def retry_request(token: str, *, by: str, reason: str) -> None:
    """From its failed step on; what is done stays done. Raises Refused, Request.DoesNotExist."""
    _intervene("retry_request", token, lambda: Request.objects.retry_failed(token), by=by, reason=reason)


def retry_now(token: str, *, by: str, reason: str) -> None:
    """Does not wait for the backoff, nor for a waiting job's next check. Raises Refused, Request.DoesNotExist."""
    _intervene("retry_now", token, lambda: Request.objects.retry_now(token) > 0, by=by, reason=reason)


def complete_job(
    token: str, job: str, extras: dict[str, Any] | None, *, by: str, reason: str, step: int | None = None
) -> None:
    """`extras`: what the job would have returned. `step`: refused if it is another one by now.

    Raises Refused, Request.DoesNotExist.
    """
    move = Request.objects.complete_job
    _intervene("complete_job", token, lambda: move(token, job, extras, step), by=by, reason=reason, job=job)


def fail_job(token: str, job: str, *, by: str, reason: str, step: int | None = None) -> None:
    """`step`: refused if it is another one by now. Raises Refused, Request.DoesNotExist."""
    move = Request.objects.fail_job
    _intervene("fail_job", token, lambda: move(token, job, step), by=by, reason=reason, job=job)


def read_extras(text: str) -> dict[str, Any]:
    """Of JSON text, what a job may return. Raises ValueError with a sentence for the operator."""
    try:
        returned = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    match completed(returned):
        case Completed(str() as kept):
            return dict(json.loads(kept))
    raise ValueError('not a JSON object of at most 64 KiB, for example {"email": "..."}')


_NEEDS = {
    "cancel_request": "only a request that is Queuing or Inprogress can be cancelled",
    "retry_request": "only a Failed request can be retried",
    "retry_now": "only a request that is Inprogress and waits for a later attempt can be hurried",
    "complete_job": "only a job of the current step that neither runs nor is completed can be completed, "
    "of a request that is Failed or Inprogress",
    "fail_job": "only a job of the current step that has yet to run, or waits for an answer, can be failed, "
    "of a request that is Inprogress; in a Failed one it has failed already",
}


def _intervene(verb: str, token: str, move: Callable[[], bool], *, by: str, reason: str, job: str = "") -> None:
    trace = Intervention(verb=verb, job=job, by=by, reason=reason)

    def work() -> None:
        with transaction.atomic():
            # Locked first: a try whose COMMIT was not answered may be at it still.
            trace.request = Request.objects.without_json().select_for_update().get(token=token)
            request_events.log_intervention(trace, trace.request)
            if not trace.is_placed():
                _move(trace, move)

    try:
        run_transaction(work, seconds=RECONNECT_SECONDS)
    except DatabaseAway as away:
        if trace.pk is None:
            raise
        raise DatabaseAway(f"{away}; whether it was done is not known: show_request tells") from away


def _move(trace: Intervention, move: Callable[[], bool]) -> None:
    verb, request = trace.verb, trace.request
    try:
        is_done = move()
    except ValueError as error:
        raise Refused(f"{verb}: the request's extras cannot be read: {error}") from error
    if not is_done:
        raise Refused(f"{verb}: {_NEEDS[verb]}; this one is {request.status}. {explain(request)}")
    trace.place()
    cancelled = [request.action] if verb == "cancel_request" else []
    ended = request_tallies.count_ended_requests(cancelled, RequestStatus.CANCELLED)
    tallies.add(request_tallies.count_intervention(verb) + ended)
    if cancelled:
        transaction.on_commit(partial(pass_on_requests, [request]))
