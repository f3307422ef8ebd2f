"""Retention: purges requests that are over for long, and runs of passes; scrubs personal data earlier. All in batches.

Each batch is one short transaction, so it may run beside everything else, and be killed at any time.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from jobs_app.db.columns import UtcNow
from jobs_app.db.transactions import RECONNECT_SECONDS, run_transaction
from jobs_app.models import Job, PassRun
from requests_app.models import Intervention, Request, RequestStatus

BATCH = 200
PASSES_BATCH = 1000
# A failed one waits for somebody who closes it: by retrying it, or by saying that failed ones may go too.
CLOSED = (RequestStatus.COMPLETED, RequestStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Retention:
    """One run. `counts` grows with each batch; `on_batch` is called after it. `limit`: of requests, for each kind."""

    statuses: tuple[RequestStatus, ...] = CLOSED
    limit: int | None = None
    dry_run: bool = False
    on_batch: Callable[[], None] = lambda: None
    counts: Counter[str] = field(default_factory=Counter)

    def purge(self, seconds: float) -> None:
        for status, ids in self._batches(seconds, unscrubbed=False):
            if self.dry_run:
                old = Request.objects.without_open_jobs(ids)
                jobs = Job.objects.filter(request_id__in=old).count()
                interventions = Intervention.objects.filter(request_id__in=old).count()
                self._count(requests=len(old), jobs=jobs, interventions=interventions)
            else:
                purge = partial(Request.objects.purge, ids, status, seconds)
                self._count(**run_transaction(purge, seconds=RECONNECT_SECONDS)._asdict())

    def scrub(self, seconds: float, purged_after: float | None = None) -> None:
        """`purged_after`: of this same run; a dry one counts what it would have purged as purged only."""
        for status, ids in self._batches(seconds, unscrubbed=True):
            if self.dry_run:
                kept = Request.objects.filter(id__in=Request.objects.without_open_jobs(ids))
                if purged_after:
                    kept = kept.filter(completed_at__gte=UtcNow() - timedelta(seconds=purged_after))
                self._count(scrubbed=kept.count())
            else:
                scrub = partial(Request.objects.scrub, ids, status, seconds)
                self._count(scrubbed=run_transaction(scrub, seconds=RECONNECT_SECONDS))

    def purge_passes(self, seconds: float) -> None:
        for name in PassRun.objects.pass_names():
            while ids := run_transaction(
                partial(PassRun.objects.old, name, seconds, PASSES_BATCH), seconds=RECONNECT_SECONDS
            ):
                if self.dry_run:
                    self._count(passes=PassRun.objects.old_count(name, seconds))
                    break
                self._count(passes=run_transaction(partial(PassRun.objects.purge, ids), seconds=RECONNECT_SECONDS))

    def _batches(self, seconds: float, *, unscrubbed: bool) -> Iterator[tuple[RequestStatus, list[int]]]:
        """Ids of old requests, by status and then by when they were due, as many as the limit allows."""
        left = self.limit
        for status in self.statuses:
            after = None
            while left != 0:
                size = BATCH if left is None else min(BATCH, left)
                read = partial(Request.objects.old, status, seconds, size, after, unscrubbed=unscrubbed)
                page = run_transaction(read, seconds=RECONNECT_SECONDS)
                if page:
                    yield status, [id_ for id_, _ in page]
                left = None if left is None else left - len(page)
                if len(page) < size:
                    break
                after = page[-1][1], page[-1][0]

    def _count(self, **counts: int) -> None:
        self.counts.update(counts)
        self.on_batch()
