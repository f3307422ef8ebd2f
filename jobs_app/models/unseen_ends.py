"""The table `unseen_ends`: requests of which a job has ended, and that run_inprogress_requests has not looked at since.

So that pass need not look at all that wait for their jobs. A row is added by the transaction that ends a job, and
deleted by its id once the pass has looked; an end that was not committed by then has a row that nobody has read yet.
A row too many costs a look. Nothing rests on there being one: the pass looks at all requests in progress now and then.
"""

from collections.abc import Collection
from typing import ClassVar

from django.db import connections, models

from jobs_app.db.dialect import numbers


class UnseenEndQuerySet(models.QuerySet["UnseenEnd"]):
    def tell_of(self, request_ids: Collection[int]) -> None:
        """In the transaction after which their step may have ended."""
        if request_ids:
            rows = ", ".join(f"({id_:d})" for id_ in sorted(request_ids))
            with connections[self.db].cursor() as cursor:
                cursor.execute(f"INSERT INTO unseen_ends (request_id) VALUES {rows}", [])

    def forget(self, ids: Collection[int]) -> None:
        if ids:
            with connections[self.db].cursor() as cursor:
                cursor.execute(f"DELETE FROM unseen_ends WHERE id IN ({numbers(sorted(ids))})", [])


class UnseenEnd(models.Model):
    """No foreign key: what was purged meanwhile is found not to be there."""

    id = models.BigAutoField(primary_key=True)
    request_id = models.BigIntegerField()

    objects: ClassVar[UnseenEndQuerySet] = UnseenEndQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "unseen_ends"

    def __str__(self) -> str:
        return f"{self.id} of request {self.request_id}"
