"""Removes the personal data of one person's requests that have ended, however long ago. In batches, as retention.py."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import attrgetter

from jobs_app.db.transactions import RECONNECT_SECONDS, Locked, run_transaction
from jobs_app.models import Job
from requests_app.models import Receipt, Request
from requests_app.models.receipt_moves import ReceiptState
from requests_app.models.status import FINAL
from requests_app.models.subjects import kept_as
from requests_app.operations.find_requests import RequestAbout, requests_about

_BATCH = 200  # requests in one transaction


@dataclass(slots=True)
class PersonScrub:
    """One run. `counts` grows with each batch: `scrubbed`, `before` (they were so already), `left`."""

    subject: str
    dry_run: bool = False
    counts: Counter[str] = field(default_factory=lambda: Counter(scrubbed=0, before=0, left=0))

    def find(self) -> list[RequestAbout]:
        """First: what is scrubbed is not found by a plain subject any more."""
        return run_transaction(partial(requests_about, self.subject), seconds=RECONNECT_SECONDS)

    def run(self, requests: Sequence[RequestAbout]) -> Iterator[str]:
        """Returns for each that is left a line that says why."""
        for start in range(0, len(requests), _BATCH):
            ids = [one.id for one in requests[start : start + _BATCH]]
            before = self._unscrubbed(ids)
            self.counts["before"] += len(ids) - len(before)
            may = [one for one in before if not _hindrance(one)]
            if not self.dry_run:
                self._scrub(may)
            left = [one for one in before if one not in may] if self.dry_run else self._unscrubbed(ids)
            self.counts.update(scrubbed=len(before) - len(left), left=len(left))
            yield from (f"{one.token} is left: {_hindrance(one) or 'another session holds it'}" for one in left)

    def receipts_kept(self) -> int:
        return Receipt.objects.filter(subject__in=kept_as(self.subject)).count()

    def _unscrubbed(self, ids: Sequence[int]) -> list[Request]:
        rows = Request.objects.without_json().filter(id__in=ids, scrubbed_at=None).order_by("id")
        return run_transaction(lambda: list(rows.all()), seconds=RECONNECT_SECONDS)

    def _scrub(self, requests: Sequence[Request]) -> None:
        """By status, which the move guards."""
        by_status = attrgetter("status")
        for status, of_status in groupby(sorted(requests, key=by_status), by_status):
            _scrub_each([one.pk for one in of_status], status)


def _scrub_each(ids: Sequence[int], status: str) -> None:
    """Of a batch in which another session holds a row, each request by itself."""
    try:
        run_transaction(partial(Request.objects.scrub, ids, status, 0), seconds=RECONNECT_SECONDS)
    except Locked:
        for id_ in ids if len(ids) > 1 else ():
            _scrub_each([id_], status)


def _hindrance(request: Request) -> str:
    """Why it cannot be scrubbed yet; empty when it can."""
    if request.status not in FINAL:
        return f"it is {request.status}"
    if request.receipt == ReceiptState.DUE:
        return "its receipt is written first, by run_inprogress_requests"
    if Job.objects.open().filter(request_id=request.pk).exists():
        return "a job of it still runs"
    return ""
