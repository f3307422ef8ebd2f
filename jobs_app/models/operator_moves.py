"""The moves that operators' verbs make, each under the request's lock: docs/moves.md.

Part of JobQuerySet (job.py).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self, TypeVar

from django.db import models, transaction

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import dialect, numbers
from jobs_app.db.statements import fetch_ids
from jobs_app.models.attempts import NEEDS_NO_ATTEMPT, OPEN, IfFails, JobStatus, NewJob
from jobs_app.models.inserts import insert_jobs
from jobs_app.models.pause import PARKED_FROM
from jobs_app.registry import max_attempts

Row = TypeVar("Row", bound=models.Model)

FAILED_BY_HAND = "failed by hand; the reason is kept in the request's history"


class OperatorMoves(models.QuerySet[Row]):
    def waiting(self, request_id: int) -> Self:
        """A request's `new` jobs that wait for their due time; not those that are parked."""
        new = self.filter(request_id=request_id, status=JobStatus.NEW)
        return new.filter(due_at__gt=UtcNow(), due_at__lt=PARKED_FROM)

    def may_be_completed(self, request_id: int, step: int) -> Self:
        """The latest attempts of a step's jobs that can be completed by hand: they neither run nor are done."""
        latest = self.filter(request_id=request_id, step=step).latest_attempts()
        return latest.exclude(status__in=(JobStatus.INPROGRESS, JobStatus.COMPLETED))

    def may_be_failed(self, request_id: int, step: int) -> Self:
        """Those that can be failed by hand: `new`, which they are too while they wait for an answer."""
        return self.filter(request_id=request_id, step=step, status=JobStatus.NEW)

    def at_current_step(self, request_ids: Collection[int]) -> Self:
        """All rows of the step at which each of these requests is."""
        return self.filter(request_id__in=request_ids, step=models.F("request__step"))

    def latest_attempts(self) -> Self:
        later = self.model._default_manager.filter(
            request_id=models.OuterRef("request_id"),
            step=models.OuterRef("step"),
            name=models.OuterRef("name"),
            attempt__gt=models.OuterRef("attempt"),
        )
        return self.filter(~models.Exists(later))

    def are_locked(self, request_id: int) -> bool:
        """Whether another session holds one of its open jobs now. Locks them for a moment, and waits for nobody."""
        jobs = self.filter(request_id=request_id, status__in=OPEN).order_by("id")
        with transaction.atomic():
            free = list(jobs.select_for_update(skip_locked=True).values_list("id", flat=True))
            return set(jobs.values_list("id", flat=True)) > set(free)

    # Moves -----------------------------------------------------------------------------------------------------------
    def insert_again(
        self, request_ids: Collection[int], delays: Mapping[int, float] | None = None, *, has_failed: bool = True
    ) -> None:
        """A new attempt, with a fresh budget, of every job of the current steps that needs one. Under requests' locks.

        `delays`: by request id, the seconds until its jobs are due. `has_failed`: whether the requests have; in one
        that goes on, a failure of `finish` or `continue` stays what it is.
        """
        delays = delays or {}
        ended = self.at_current_step(request_ids).latest_attempts().exclude(status__in=NEEDS_NO_ATTEMPT)
        if not has_failed:
            ended = ended.exclude(~models.Q(if_fails=IfFails.STOP), status=JobStatus.FAILURE)
        again = ended.order_by("request_id", "id").values_list("request_id", "step", "name", "attempt", "if_fails")
        jobs = [
            NewJob(id_, step, name, attempt + max_attempts(name), attempt + 1, delays.get(id_, 0.0), if_fails)
            for id_, step, name, attempt, if_fails in again
        ]
        insert_jobs(jobs)

    def make_due(self, request_id: int) -> int:
        """`new` jobs that wait are due now; parked ones stay parked. Under the request's lock."""
        return self.waiting(request_id).update(due_at=UtcNow())

    def take_by_hand(self, request_id: int, step: int, name: str, *, fails: bool = False) -> NewJob | None:
        """Cancels the job's `new` row; returns its next attempt, for `insert_ended`.

        None: it runs, has succeeded, or, if it is to fail, is not `new`. With a failure of `stop` all `new` rows of
        the request are cancelled, as by any such failure. Under the request's lock.
        """
        allowed = self.may_be_failed(request_id, step) if fails else self.may_be_completed(request_id, step)
        columns = "id", "status", "if_fails", "attempt", "last_attempt"
        if (latest := allowed.filter(name=name).values_list(*columns).first()) is None:
            return None
        id_, status, if_fails, attempt, last_attempt = latest
        new = self.filter(request_id=request_id, status=JobStatus.NEW)
        if not (fails and if_fails == IfFails.STOP):
            new = new.filter(id=id_)
        locked = self._lock_new(new.values_list("id", flat=True))
        if status == JobStatus.NEW and id_ not in locked:
            return None  # it was claimed meanwhile
        self.filter(id__in=locked).update(status=JobStatus.CANCELLED, completed_at=UtcNow())
        last_attempt = max(last_attempt, attempt + 1)
        return NewJob(request_id, step, name, last_attempt, attempt + 1, if_fails=if_fails)

    def insert_ended(self, job: NewJob, status: JobStatus, **columns: Any) -> None:
        """The attempt that `take_by_hand` made room for is born ended. Under the request's lock."""
        values = job._asdict()
        del values["delay_seconds"]
        self.create(**values, **columns, status=status, started_at=UtcNow(), completed_at=UtcNow())

    def _lock_new(self, ids: Iterable[int]) -> list[int]:
        """In SQL of ours, since the index has to be named: by another one rows are locked in another order."""
        if not (listed := numbers(sorted(ids))):
            return []
        sql = dialect()
        return fetch_ids(
            f"SELECT id FROM jobs {sql.by_id} WHERE id IN ({listed}) AND status = 'new' ORDER BY id {sql.for_update}"
        )
