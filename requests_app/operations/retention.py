"""Retention: purges requests, runs of passes and logs of long ago; scrubs personal data earlier. In batches.

Each batch is one short transaction, so it may run beside everything else, and be killed at any time. Each run leaves a
row in `purges`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q

from jobs_app.db.columns import UtcNow
from jobs_app.db.transactions import RECONNECT_SECONDS, Locked, run_transaction
from jobs_app.models import Answer, AuditEvent, Job, JobIntervention, PassRun, PausedJob
from jobs_app.models.retention import SCRUBBED
from requests_app.models import Intervention, Purge, Request, RequestStatus
from requests_app.models.retention import LOOKED

BATCH = 200
LOG_BATCH = 1000  # rows of passes and of logs
# A failed one waits for somebody who closes it: by retrying it, or by saying that failed ones may go too.
CLOSED = (RequestStatus.COMPLETED, RequestStatus.CANCELLED)


@dataclass(slots=True)
class Retention:
    """One run. `counts` grows with each batch; `on_batch` is called after it. `limit`: of requests, for each kind.

    `purge_id`: its row of `purges`, which grows with each batch as well.
    """

    statuses: tuple[RequestStatus, ...] = CLOSED
    limit: int | None = None
    dry_run: bool = False
    on_batch: Callable[[], None] = lambda: None
    counts: Counter[str] = field(default_factory=Counter)
    purge_id: int | None = None

    def run(self, older_than: timedelta | None, scrub_after: timedelta | None, by: str) -> None:
        """All that purge_requests does. `by`: who has it run."""
        if not self.dry_run:
            begin = partial(Purge.objects.begin, self._row(older_than, scrub_after, by))
            self.purge_id = run_transaction(begin, seconds=RECONNECT_SECONDS)
        if older_than:
            self.purge(older_than.total_seconds())
            self.purge_answers(older_than.total_seconds())
            self.purge_passes(older_than.total_seconds())
            self.purge_logs(older_than.total_seconds())
            self.purge_audit_events()
        if scrub_after:
            self.scrub(scrub_after.total_seconds(), older_than.total_seconds() if older_than else None)
        if first := scrub_after or older_than:
            self.scrub_answers(first.total_seconds(), older_than.total_seconds() if older_than else None)
            self.scrub_reasons(first.total_seconds(), older_than.total_seconds() if older_than else None)
        if self.purge_id is not None:
            self.counts |= run_transaction(partial(Purge.objects.end, self.purge_id), seconds=RECONNECT_SECONDS)

    def purge(self, seconds: float) -> None:
        for status, ids in self._batches(seconds, unscrubbed=False):
            if self.dry_run:
                old = Request.objects.without_open_jobs(ids)
                jobs = Job.objects.filter(request_id__in=old).count()
                interventions = Intervention.objects.filter(request_id__in=old).count()
                tokens = Request.objects.filter(id__in=old).values_list("token", flat=True)
                answers = Answer.objects.of(list(tokens)).count()
                self._count(requests=len(old), jobs=jobs, interventions=interventions, answers=answers)
            else:
                self._do_each(ids, lambda part, status=status: Request.objects.purge(part, status, seconds))  # type: ignore[misc]

    def scrub(self, seconds: float, purged_after: float | None = None) -> None:
        """`purged_after`: of this same run; a dry one counts what it would have purged as purged only."""
        for status, ids in self._batches(seconds, unscrubbed=True):
            if self.dry_run:
                kept = Request.objects.filter(id__in=Request.objects.without_open_jobs(ids))
                if purged_after:
                    kept = kept.filter(completed_at__gte=UtcNow() - timedelta(seconds=purged_after))
                self._count(scrubbed=kept.count())
            else:
                self._do_each(
                    ids,
                    lambda part, status=status: {"scrubbed": Request.objects.scrub(part, status, seconds)},  # type: ignore[misc]
                )

    def purge_answers(self, seconds: float) -> None:
        """Those whose request is gone: they came after its purge, or nobody ever placed it."""
        gone = self._answers_without(Request.objects.all(), seconds)
        self._in_batches("answers", gone, lambda batch: batch.delete()[0])

    def purge_passes(self, seconds: float) -> None:
        for name in PassRun.objects.pass_names():
            old = run_transaction(partial(PassRun.objects.old, name, seconds), seconds=RECONNECT_SECONDS)
            self._in_batches("passes", old, lambda batch: batch.delete()[0])

    def purge_logs(self, seconds: float) -> None:
        """What was done to job names, and the admin's log, which also says who looked; and sessions that are over."""
        before = UtcNow() - timedelta(seconds=seconds)
        for what, rows in (
            ("job_interventions", JobIntervention.objects.filter(at__lt=before)),
            ("admin_log", LogEntry.objects.filter(action_time__lt=before)),
            ("sessions", Session.objects.filter(expire_date__lt=UtcNow())),
        ):
            self._in_batches(what, rows, lambda batch: batch.delete()[0])

    def purge_audit_events(self) -> None:
        """By an age of their own: who looked is to be known for longer than what was seen."""
        old = AuditEvent.objects.filter(at__lt=UtcNow() - timedelta(days=settings.WRK_AUDIT_DAYS))
        self._in_batches("audit_events", old, lambda batch: batch.delete()[0])

    def scrub_reasons(self, seconds: float, purged_after: float | None = None) -> None:
        """Of what was done to job names so long ago. A pause that lasts stays, without its reason.

        `purged_after`: as of `scrub`.
        """
        before = UtcNow() - timedelta(seconds=seconds)
        acts = JobIntervention.objects.filter(at__lt=before)
        log = LogEntry.objects.filter(action_time__lt=before, content_type__app_label="jobs_app")
        if purged_after:
            since = UtcNow() - timedelta(seconds=purged_after)
            acts, log = acts.filter(at__gte=since), log.filter(action_time__gte=since)
        for column, rows in (
            ("reason", acts),
            ("reason", PausedJob.objects.filter(at__lt=before)),
            ("change_message", log.exclude(change_message__startswith=LOOKED)),  # that somebody looked is no reason
        ):
            said = rows.exclude(**{f"{column}__in": ("", SCRUBBED)})
            emptied = {column: SCRUBBED}
            self._in_batches("reasons", said, lambda batch, emptied=emptied: batch.update(**emptied))  # type: ignore[misc]

    def scrub_answers(self, seconds: float, purged_after: float | None = None) -> None:
        """Those that came after the scrub of their request, or whose request is gone. `purged_after`: as of `scrub`."""
        said = self._answers_without(Request.objects.filter(scrubbed_at=None), seconds)
        said = said.exclude(Q(reason=None) | Q(reason__in=("", SCRUBBED)), extras__isnull=True)
        if purged_after:
            said = said.filter(created_at__gte=UtcNow() - timedelta(seconds=purged_after))
        self._in_batches("answers_emptied", said, lambda batch: batch.scrub())

    # How it goes about it --------------------------------------------------------------------------------------------
    def _answers_without(self, requests: models.QuerySet[Request], seconds: float) -> models.QuerySet[Answer]:
        """Answers that came so long ago and whose request is none of these."""
        old = Answer.objects.filter(created_at__lt=UtcNow() - timedelta(seconds=seconds))
        return old.exclude(Exists(requests.filter(token=OuterRef("token"))))

    def _batches(self, seconds: float, *, unscrubbed: bool) -> Iterator[tuple[RequestStatus, list[int]]]:
        """Ids of old requests, by status and then in an index's order, as many as the limit allows."""
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

    def _in_batches(self, what: str, rows: models.QuerySet[Any], change: Callable[[Any], int]) -> None:
        """Changes all of these rows, by which they leave the query."""
        if self.dry_run:
            self._count(**{what: run_transaction(rows.count, seconds=RECONNECT_SECONDS)})
            return
        batch = rows.order_by("pk").values_list("pk", flat=True)[:LOG_BATCH]
        while ids := run_transaction(lambda: list(batch.all()), seconds=RECONNECT_SECONDS):
            of_batch = rows.model._default_manager.filter(pk__in=ids)
            self._do(lambda of_batch=of_batch: {what: change(of_batch)})  # type: ignore[misc]

    def _row(self, older_than: timedelta | None, scrub_after: timedelta | None, by: str) -> Purge:
        return Purge(
            by=by,
            deleted_until=UtcNow() - older_than if older_than else None,
            scrubbed_until=UtcNow() - scrub_after if scrub_after else None,
            failed_too=RequestStatus.FAILED in self.statuses,
        )

    def _do(self, move: Callable[[], Mapping[str, int]]) -> None:
        """One transaction: what the move changes, and that it did."""

        def work() -> Mapping[str, int]:
            with transaction.atomic():
                counts = move()
                if self.purge_id is not None:
                    Purge.objects.add(self.purge_id, counts)
                return counts

        self._count(**run_transaction(work, seconds=RECONNECT_SECONDS))

    def _do_each(self, ids: list[int], move: Callable[[list[int]], Mapping[str, int]]) -> None:
        """Of a batch in which another session holds a row, each request by itself; that one is left to a later run."""
        try:
            self._do(lambda: move(ids))
        except Locked:
            if len(ids) == 1:
                self._count(locked=1)
                return
            for id_ in ids:
                self._do_each([id_], move)

    def _count(self, **counts: int) -> None:
        self.counts += Counter(counts)  # without what is zero
        self.on_batch()
