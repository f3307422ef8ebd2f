"""The table `retry_paces`: until when requests that failed alike and were retried by hand are spread out.

It is kept in a row, so that a run after one that was killed, and one beside another, go on behind it, not on top of it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

from django.db import models

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow
from jobs_app.db.dialect import database_now


class Places(NamedTuple):
    """`delays`: seconds from now until each one is due. `due`: the moments of the first and of the last."""

    delays: Sequence[float]
    due: Sequence[datetime]


class RetryPaceQuerySet(models.QuerySet["RetryPace"]):
    def open(self, kind: str) -> None:
        """So that `take` finds a row to lock."""
        self.bulk_create([RetryPace(kind=kind)], ignore_conflicts=True)

    def take(self, kind: str, number: int, seconds_between: float) -> Places:
        """So many places behind all that were taken before; the first of them is now, if those are past.

        Holds the row until the caller's transaction ends. `leave` says when they are used.
        """
        return self.select_for_update().places(kind, number, seconds_between)

    def leave(self, kind: str, seconds: float) -> None:
        """The next place is so many seconds from now: after the INSERT, whose clock is later than that of `take`."""
        self.filter(kind=kind).update(next_at=UtcNow() + timedelta(seconds=seconds))

    def places(self, kind: str, number: int, seconds_between: float) -> Places:
        """As `take` would give them."""
        step = timedelta(seconds=seconds_between)
        next_at = self.filter(kind=kind).values_list("next_at", flat=True).first()
        now = database_now()  # after the wait for the row, if there was one
        first = max(next_at or now, now)
        ahead = (first - now).total_seconds()
        delays = [ahead + place * seconds_between for place in range(number)]
        return Places(delays, [first, first + max(0, number - 1) * step])


class RetryPace(models.Model):
    """One row for each error kind of which all were ever retried. `next_at`: when the next one may be due."""

    kind = ByteCharField(max_length=8, primary_key=True)
    next_at = models.DateTimeField(db_default=UtcNow())

    objects: ClassVar[RetryPaceQuerySet] = RetryPaceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "retry_paces"
        constraints: ClassVar = [SqliteTypes(name="retry_paces_types", moments=("next_at",))]

    def __str__(self) -> str:
        return str(self.kind)
