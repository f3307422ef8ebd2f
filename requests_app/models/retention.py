"""What retention does to requests that are over: the moves `purge` and `scrub`, part of RequestQuerySet.

Both may run while passes and operators work: they lock the requests first, under a guard that says that they are over
for long, and leave alone those that have an open job (a cancelled one's may still run).
"""

from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

from django.db import connections, models, transaction
from django.db.models import Case, Value, When

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import dialect, numbers
from jobs_app.models import Job
from jobs_app.models.operator_moves import SCRUBBED
from requests_app.models.intervention import Intervention

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one


class Purged(NamedTuple):
    requests: int = 0
    jobs: int = 0
    interventions: int = 0


class OldRequestQuerySet(models.QuerySet[Row]):
    def old(
        self, status: str, seconds: float, limit: int, after: tuple[Any, int] | None = None, *, unscrubbed: bool = False
    ) -> list[tuple[int, Any]]:
        """(id, due_at) of requests that came to this final status so many seconds ago or more, in the index's order.

        `after`: the last row of the page before. Read without locks: the moves guard again. In SQL of ours, since the
        index has to be named: the optimizers would read and sort all requests of this status for each page.
        """
        sql = dialect(self.db)
        values: list[Any] = [status, -seconds]
        where = f"status = %s AND completed_at < {sql.now_plus}"
        if status != "Cancelled":  # may be due in years; what ended by itself was due before
            where, values = f"{where} AND due_at < {sql.now_plus}", [*values, -seconds]
        if after:
            where, values = f"{where} AND (due_at > %s OR (due_at = %s AND id > %s))", [*values, after[0], *after]
        if unscrubbed:
            where += " AND scrubbed_at IS NULL"
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT id, {sql.exact.format('due_at')} "
                f"FROM requests {sql.force('requests_status_due')} WHERE {where} "
                "ORDER BY due_at, id LIMIT %s",
                [*values, limit],
            )
            return [(row[0], row[1]) for row in cursor.fetchall()]

    def without_open_jobs(self, ids: Collection[int]) -> list[int]:
        busy = set(Job.objects.open().filter(request_id__in=ids).values_list("request_id", flat=True))
        return [id_ for id_ in ids if id_ not in busy]

    # Moves -----------------------------------------------------------------------------------------------------------
    def purge(self, ids: Collection[int], status: str, seconds: float) -> Purged:
        """Deletes those of these that are still in this final status, for so many seconds or more, children first."""
        with transaction.atomic(using=self.db, savepoint=False):
            if not (old := self._lock_old(ids, status, seconds)):
                return Purged()
            interventions, _ = self._interventions(old).delete()
            jobs = Job.objects.purge(old)
            # delete() would read all columns of all rows first, to look for children.
            requests = self.filter(id__in=old, status=status)._raw_delete(self.db)
            return Purged(requests, jobs, interventions)

    def scrub(self, ids: Collection[int], status: str, seconds: float) -> int:
        """Empties what may be personal in those of these that `purge` would delete. Moments and attempts stay.

        `scrubbed_at` says so, and no verb takes such a request up again.
        """
        with transaction.atomic(using=self.db, savepoint=False):
            if not (old := self._lock_old(ids, status, seconds)):
                return 0
            self._interventions(old).exclude(reason="").update(reason=SCRUBBED)
            Job.objects.scrub(old)
            return self.filter(id__in=old, status=status).update(
                params={},
                extras={},
                error=Case(When(error="", then=Value("")), default=Value(SCRUBBED)),
                scrubbed_at=UtcNow(),
            )

    def _interventions(self, ids: Collection[int]) -> models.QuerySet[Intervention]:
        return Intervention.objects.using(self.db).filter(request_id__in=ids)

    def _lock_old(self, ids: Collection[int], status: str, seconds: float) -> list[int]:
        """Locks by id ascending. Under the locks no job can become open any more, so that is looked at after it.

        In SQL of ours, since the index has to be named: by the index of the status, rows are locked in another order.
        """
        sql = dialect(self.db)
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM requests {sql.by_id} WHERE id IN ({numbers(sorted(ids))}) AND status = %s "
                f"AND completed_at < {sql.now_plus} ORDER BY id {sql.for_update}",
                [status, -seconds],
            )
            return self.without_open_jobs([row[0] for row in cursor.fetchall()])
