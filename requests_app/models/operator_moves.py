"""The moves that operators' verbs make, each of one request by its token; False when it is not in a state for it.

Part of RequestQuerySet (request.py). Which moves there are and their lock order: docs/moves.md.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from django.db import models, transaction

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import case, dialect
from jobs_app.models import Answer, Job
from jobs_app.models.answer import Effect
from jobs_app.models.attempts import JobStatus
from jobs_app.models.locks import lock_requests
from jobs_app.models.operator_moves import FAILED_BY_HAND
from jobs_app.outcomes import json_object
from requests_app.models import subjects
from requests_app.models.guarded_update import update_guarded
from requests_app.models.notifications import Notifications
from requests_app.models.receipt_moves import RECEIPT_IS_WANTED_AGAIN, ReceiptState
from requests_app.models.status import UNFINISHED, RequestStatus

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one


class OperatorMoves(Notifications[Row]):
    def cancel(self, token: str) -> bool:
        """`Queuing` or `Inprogress` -> `Cancelled`, and its `new` jobs; what runs ends and is recorded."""
        with transaction.atomic(savepoint=False):
            if (request := self._lock(token, UNFINISHED)) is None:
                return False
            is_wanted = request.receipt == ReceiptState.WANTED
            self.filter(id=request.id, status__in=UNFINISHED).update(
                status=RequestStatus.CANCELLED,
                completed_at=UtcNow(),
                receipt=ReceiptState.DUE if is_wanted else request.receipt,
                **_subject_kept(request),
            )
            Job.objects.cancel_new([request.id])
            self.place_notifications([request])
        return True

    def retry_failed(self, token: str) -> bool:
        """`Failed` -> `Inprogress`, or `Queuing` when it was refused. Completed jobs of its step are kept.

        Every other job of the step gets a new attempt with a fresh budget: its cancelled siblings would have no
        successor otherwise, and the request would never move again.
        """
        with transaction.atomic(savepoint=False):
            if (request := self._lock(token, (RequestStatus.FAILED,))) is None:
                return False
            self._reopen([request])
            Job.objects.insert_again([request.id])
        return True

    def retry_now(self, token: str) -> int:
        """Makes its waiting jobs due at once; returns how many."""
        with transaction.atomic(savepoint=False):
            request = self._lock(token, (RequestStatus.INPROGRESS,))
            return Job.objects.make_due(request.id) if request else 0

    def complete_job(self, token: str, name: str, extras: dict[str, Any] | None, step: int | None = None) -> bool:
        """A job of the current step was done by hand: its new attempt is born `completed`, with what it found out.

        Of a `Failed` request, which goes on as by `retry_failed`; or of one `Inprogress` in which the job does not run.
        `step`: the one that the operator meant; the next may have a job of the same name. Raises ValueError with a
        sentence when there are extras and those of the request cannot be read.
        """
        with transaction.atomic(savepoint=False):
            request = self._lock(token, (RequestStatus.FAILED, RequestStatus.INPROGRESS))
            if request is None or (step is not None and request.step != step):
                return False
            if (again := Job.objects.take_by_hand(request.id, request.step, name)) is None:
                return False
            has_failed = request.status == RequestStatus.FAILED
            if has_failed:
                self._reopen([request])
            Job.objects.insert_ended(again, JobStatus.COMPLETED, extras=extras)
            # Also of one in progress: a failure had cancelled the job's siblings, which nobody would begin any more.
            Job.objects.insert_again([request.id], has_failed=has_failed)
            if extras:
                kept = json_object(lock_requests([request.id], with_extras=True)[request.id].extras)
                self.filter(id=request.id).update(extras={**kept, **extras})
        return True

    def fail_job(self, token: str, name: str, step: int | None = None) -> bool:
        """A `new` job of the current step, as one that waits for an answer, is given up: its next attempt is `failure`.

        With the reach of any failure (`if_fails`); the request moves on by the passes. `step`: as of `complete_job`.
        """
        with transaction.atomic(savepoint=False):
            request = self._lock(token, (RequestStatus.INPROGRESS,))
            if request is None or (step is not None and request.step != step):
                return False
            if (again := Job.objects.take_by_hand(request.id, request.step, name, fails=True)) is None:
                return False
            Job.objects.insert_ended(again, JobStatus.FAILURE, error=FAILED_BY_HAND)
        return True

    def _lock(self, token: str, statuses: Collection[RequestStatus]) -> Any:
        """Not one that was scrubbed: its jobs would run without what the caller gave."""
        rows = self.filter(token=token, status__in=statuses, scrubbed_at=None)
        return rows.defer("params", "extras", "steps").select_for_update().first()

    def _reopen(self, requests: Collection[Any], delays: Mapping[int, float] | None = None) -> None:
        """`Failed` -> `Inprogress`, or `Queuing` what has no jobs: that is due `delays` seconds from now, if given.

        What was answered before is late: it would end an attempt that it was not meant for.
        """
        pending = Answer.objects.of([request.token for request in requests]).pending().order_by("id")
        Answer.objects.mark(list(pending.values_list("id", flat=True)), Effect.LATE)
        jobs = Job.objects.at_current_step([request.id for request in requests])
        begun = set(jobs.values_list("request_id", flat=True))
        refused = [request.id for request in requests if request.id not in begun]
        again = f"error = '', error_kind = '', completed_at = NULL, {RECEIPT_IS_WANTED_AGAIN}"
        due = {id_: delays[id_] for id_ in refused} if delays else {}
        due_at = f"due_at = {dialect().later.format(case(due))}, " if due else ""
        update_guarded(f"status = 'Inprogress', {again}", [], begun, "Failed")
        update_guarded(f"{due_at}status = 'Queuing', {again}", [*due.values()], refused, "Failed")


def _subject_kept(request: Any) -> dict[str, Any]:
    """Of a request that was never picked up, and so never will be: hashed here, if subjects are."""
    if request.subject_hashed or not subjects.are_hashed() or not (subject := subjects.cleaned(request.subject)):
        return {}
    return {"subject": subjects.kept(subject), "subject_hashed": True}
