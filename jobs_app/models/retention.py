"""What retention does to the jobs of requests that are over, each move under the request's lock: docs/moves.md.

Part of JobQuerySet (job.py).
"""

from collections.abc import Collection
from typing import TypeVar

from django.db import models
from django.db.models import Case, Value, When

from jobs_app.models.attempts import OPEN

Row = TypeVar("Row", bound=models.Model)

SCRUBBED = "scrubbed"  # in place of an error or a reason that retention has removed


class RetentionMoves(models.QuerySet[Row]):
    # Moves -----------------------------------------------------------------------------------------------------------
    def purge(self, request_ids: Collection[int]) -> int:
        """Deletes the jobs of requests that are over, whose locks the caller holds; never one that is open."""
        return self.filter(request_id__in=request_ids).exclude(status__in=OPEN).delete()[0]

    def scrub(self, request_ids: Collection[int]) -> int:
        """Empties what may be personal in the jobs of requests that are over; under their locks."""
        closed = self.filter(request_id__in=request_ids).exclude(status__in=OPEN)
        return closed.update(
            extras=None,
            answer=None,
            error=Case(When(error="", then=Value("")), default=Value(SCRUBBED)),
            waits_for=Case(When(waits_for__isnull=False, then=Value(SCRUBBED))),
        )
