"""The moves by which attempts begin and end: insert, record, cancel. Under the locks of their requests.

Part of JobQuerySet (models.py), each guard in sight. Which moves there are and their lock order: docs/moves.md.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from django.db import connections, models, transaction

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import case, dialect, numbers
from jobs_app.models.attempts import MAX_STEPS_BYTES, Attempt, DirectClaim, End, JobStatus, LockedRequest, NewJob
from jobs_app.outcomes import json_object, storable_text

Row = TypeVar("Row", bound=models.Model)

_ROWS_PER_INSERT = 2000
_CHARACTERS_PER_UPDATE = 2_000_000  # max_allowed_packet is 16 MB by default; escaped, a character may take 8 bytes


class LostSome(Exception):
    """Not all of a batch were still held: to be rolled back and recorded again, with a look at which ones are."""


class EndMoves(models.QuerySet[Row]):
    def insert_new(self, jobs: Sequence[NewJob], claim: DirectClaim | None = None) -> None:
        """Inserts `new` rows. The caller holds their requests' locks: an INSERT takes a shared lock on its parent.

        With `claim`, as many as it has room for are claimed at once: nobody else ever sees them as `new`.
        """
        sql, left = dialect(self.db), jobs
        if claim and jobs:
            free = [job for job in jobs if job.name not in claim.paused] if claim.paused else jobs
            claimed, left = free[: claim.room], free[claim.room :]
            if claim.paused:
                left = [*left, *(job for job in jobs if job.name in claim.paused)]
            claim.request_ids |= {job.request_id for job in claimed}  # of a try before, too: its COMMIT may stand
            columns = "status, claimed_by, started_at, lease_until"
            values = f"'inprogress', %(claim)s, {sql.now}, {sql.later.format('%(seconds)s')}"
            self._insert_rows(claimed, columns, values, {"claim": claim.id, "seconds": claim.lease_seconds})
        self._insert_rows(left, "status", "'new'", {})

    def _insert_rows(self, jobs: Sequence[NewJob], columns: str, values: str, bound: Mapping[str, Any]) -> None:
        """What rows have in common is given once; each name is bound once, however many rows have it."""
        sql = dialect(self.db)
        with connections[self.db].cursor() as cursor:
            for start in range(0, len(jobs), _ROWS_PER_INSERT):
                part = jobs[start : start + _ROWS_PER_INSERT]
                marks = {name: f"name_{n}" for n, name in enumerate({job.name for job in part})}
                delayed = any(job.delay_seconds for job in part)
                rows = [
                    f"{sql.row}({job.request_id:d}, {job.step:d}, %({marks[job.name]})s, {job.attempt:d}, "
                    f"{job.last_attempt:d}{f', {job.delay_seconds:.6f}' if delayed else ''})"
                    for job in part
                ]
                cursor.execute(
                    f"INSERT INTO jobs (request_id, step, name, attempt, last_attempt, due_at, {columns}) "
                    f"WITH new (request_id, step, name, attempt, last_attempt{', delay' if delayed else ''}) "
                    f"AS (VALUES {', '.join(rows)}) SELECT request_id, step, name, attempt, last_attempt, "
                    f"{sql.later.format('delay') if delayed else sql.now}, {values} FROM new",
                    {**{mark: name for name, mark in marks.items()}, **bound},
                )

    def attempts_at(self, steps: Mapping[int, int]) -> dict[int, list[Attempt]]:
        """All rows of one step of each request. `steps`: by request id."""
        found: dict[int, list[Attempt]] = {id_: [] for id_ in steps}
        if not steps:
            return found
        at: dict[int, list[int]] = {}
        for id_, step in steps.items():
            at.setdefault(step, []).append(id_)
        rows = " OR ".join(f"step = {step:d} AND request_id IN ({numbers(ids)})" for step, ids in at.items())
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                "SELECT request_id, name, attempt, status, SUBSTR(error, 1, 600) "
                f"FROM jobs {dialect(self.db).force('jobs_attempt')} WHERE {rows}",
                [],
            )
            for id_, *attempt in cursor.fetchall():
                found[id_].append(Attempt(*attempt))
        return found

    def existing(self, request_ids: Collection[int]) -> set[tuple[int, int, str]]:
        """(request id, step, name) of the rows that these requests have."""
        return set(self.filter(request_id__in=request_ids).values_list("request_id", "step", "name"))

    def record(
        self,
        ends: Sequence[End],
        requests: Mapping[int, LockedRequest] | None = None,
        *,
        lease_expired: bool = False,
        expect_all: bool = False,
    ) -> list[End]:
        """Records how attempts ended, in one transaction; answers those that won: still `inprogress` under their claim.

        Locks all requests, then all jobs, each by id ascending, then inserts. Failures are written before retries, so
        that a retry beside a failure sees that its request is doomed. `lease_expired` adds to the guard that the lease
        is still over: its holder may have renewed it since it was read. `requests`: those of all ends, which the caller
        has locked to move them on in the same transaction; None: locks those whose extras or siblings change.
        `expect_all`: jobs that all completed are taken for won without a look. Raises LostSome when one was not.
        """
        with transaction.atomic(using=self.db, savepoint=False):
            if requests is None:
                changing = [end for end in ends if end.status != JobStatus.COMPLETED or end.extras]
                requests = self.lock_requests_of(changing)
            won, siblings = list(ends), dict[int, int]()
            if lease_expired or not expect_all or any(end.status != JobStatus.COMPLETED for end in ends):
                siblings = self._new_siblings({e.job.request_id for e in ends if e.status == JobStatus.FAILURE})
                held = self._lock_jobs([*(e.job.id for e in ends), *siblings], lease_expired=lease_expired)
                won = [end for end in ends if held.get(end.job.id) == end.job.claim]
            by_status = {status: [end for end in won if end.status == status] for status in JobStatus}
            self._complete(by_status[JobStatus.COMPLETED], requests)
            self._fail(by_status[JobStatus.FAILURE], siblings)
            again = by_status[JobStatus.RETRY] + by_status[JobStatus.NEW]
            doomed, later = self._doomed({end.job.request_id for end in again}, requests)
            self._retry(by_status[JobStatus.RETRY], doomed, later)
            self._hand_back(by_status[JobStatus.NEW], doomed)
        return won

    def standing(self, ends: Sequence[End]) -> list[End]:
        """Those of these ends that stand in the table: what a `record` did whose COMMIT was not answered."""
        if not ends:
            return []
        statuses = dict(self.filter(id__in=[end.job.id for end in ends]).values_list("id", "status"))
        return [end for end in ends if statuses.get(end.job.id) == end.status]

    def cancel_new(self, request_ids: Collection[int]) -> int:
        """`new` -> `cancelled`, for requests whose locks the caller holds."""
        return self._cancel(list(self._new_siblings(request_ids)))

    def lock_requests_of(self, ends: Collection[End]) -> dict[int, LockedRequest]:
        """As `lock_requests`; with extras where an end is to be merged into them."""
        return self.lock_requests({end.job.request_id for end in ends}, with_extras=any(end.extras for end in ends))

    def lock_requests(self, ids: Collection[int], *, with_extras: bool = False) -> dict[int, LockedRequest]:
        """Locks them by id ascending, whatever their status."""
        if not ids:
            return {}
        sql = dialect(self.db)
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT id, token, action, status, step, CASE WHEN LENGTH(steps) <= {MAX_STEPS_BYTES} THEN steps END, "
                f"{'extras' if with_extras else 'NULL'} "
                f"FROM requests {sql.by_id} WHERE id IN ({numbers(sorted(ids))}) "
                f"ORDER BY id {sql.for_update}",
                [],
            )
            return {row[0]: LockedRequest(*row) for row in cursor.fetchall()}

    # The parts of `record`, each under its locks ---------------------------------------------------------------------
    def _new_siblings(self, request_ids: Collection[int]) -> dict[int, int]:
        """The `new` jobs of these requests: id -> request id. Under the requests' locks none can be added."""
        if not request_ids:
            return {}
        return dict(self.filter(request_id__in=request_ids, status=JobStatus.NEW).values_list("id", "request_id"))

    def _lock_jobs(self, ids: Collection[int], *, lease_expired: bool) -> dict[int, str]:
        """Locks these rows by id ascending; answers the claims of those in progress (and over their lease)."""
        sql = dialect(self.db)
        expired = f"AND lease_until < {sql.now}" if lease_expired else ""
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT id, claimed_by FROM jobs {sql.by_id} "
                f"WHERE id IN ({numbers(sorted(ids))}) AND (status = 'new' OR (status = 'inprogress' {expired})) "
                f"ORDER BY id {sql.for_update}",
                [],
            )
            return {id_: claim for id_, claim in cursor.fetchall() if claim}

    def _complete(self, ends: Sequence[End], requests: Mapping[int, LockedRequest]) -> None:
        """Keeps each returned mapping on its job and merges it into its request's extras, by top-level key."""
        self._set_ended(ends, JobStatus.COMPLETED)
        merged: dict[int, dict[str, Any]] = {}
        for end in sorted((e for e in ends if e.extras and e.job.request_id in requests), key=lambda e: e.job.id):
            of_request = merged.setdefault(end.job.request_id, json_object(requests[end.job.request_id].extras))
            of_request.update(json.loads(end.extras or "{}"))
        texts = {id_: storable_text(json.dumps(extras, ensure_ascii=False)) for id_, extras in merged.items()}
        with connections[self.db].cursor() as cursor:
            for part in _in_parts(texts):
                cursor.execute(
                    f"UPDATE requests SET extras = {case(part)} WHERE id IN ({numbers(part)})",
                    [*part.values()],
                )

    def _fail(self, ends: Sequence[End], siblings: dict[int, int]) -> None:
        """A failure that won dooms its request: siblings that have not begun never will."""
        self._set_ended(ends, JobStatus.FAILURE)
        failed = {end.job.request_id for end in ends}
        self._cancel([id_ for id_, request_id in siblings.items() if request_id in failed])

    def _retry(self, ends: Sequence[End], doomed: set[int], later: set[tuple[int, int, str, int]]) -> None:
        """Ends the attempt and inserts its successor, unless the request is doomed (or it is there already)."""
        self._set_ended(ends, JobStatus.RETRY)
        successors = [
            NewJob(job.request_id, job.step, job.name, end.last_attempt, job.attempt + 1, end.delay_seconds)
            for end in ends
            if (job := end.job).request_id not in doomed
            and (job.request_id, job.step, job.name, job.attempt + 1) not in later
        ]
        self.insert_new(successors)

    def _hand_back(self, ends: Sequence[End], doomed: set[int]) -> None:
        """Not started: the same row becomes `new` again, or `cancelled` when its request is doomed."""
        if not ends:
            return
        unclaimed = {"claimed_by": None, "lease_until": None, "started_at": None}
        for delay in {end.delay_seconds for end in ends}:
            ids = [end.job.id for end in ends if end.job.request_id not in doomed and end.delay_seconds == delay]
            due = {"due_at": UtcNow() + timedelta(seconds=delay)} if delay else {}
            self.filter(id__in=ids, status=JobStatus.INPROGRESS).update(status=JobStatus.NEW, **due, **unclaimed)
        ids = [end.job.id for end in ends if end.job.request_id in doomed]
        self.filter(id__in=ids, status=JobStatus.INPROGRESS).update(
            status=JobStatus.CANCELLED, completed_at=UtcNow(), **unclaimed
        )

    def _doomed(
        self, request_ids: Collection[int], requests: Mapping[int, LockedRequest]
    ) -> tuple[set[int], set[tuple[int, int, str, int]]]:
        """Requests in which nothing may be started any more, and all attempts of the others' current steps.

        Doomed: not `Inprogress`, or the latest attempt of a job of the current step is `failure`. Under their locks.
        """
        if not request_ids:
            return set(), set()
        rows = self.filter(request_id__in=request_ids).order_by("attempt")
        alive = {request.id for request in requests.values() if request.status == "Inprogress"}
        attempts, latest = set(), {}
        for request_id, step, name, attempt, status in rows.values_list(
            "request_id", "step", "name", "attempt", "status"
        ):
            attempts.add((request_id, step, name, attempt))
            latest[request_id, step, name] = status
        failed = {
            request_id
            for (request_id, step, _), status in latest.items()
            if status == JobStatus.FAILURE and request_id in alive and step == requests[request_id].step
        }
        return failed | (set(request_ids) - alive), attempts

    def _set_ended(self, ends: Sequence[End], status: JobStatus) -> None:
        """Locks by id ascending what is not locked yet. Raises LostSome unless all are held by their claims."""
        if not ends:
            return
        texts: dict[str, dict[int, str]] = {  # a column that stays as it is would be written and checked all the same
            "error": {end.job.id: end.error for end in ends if end.error},
            "extras": {end.job.id: end.extras for end in ends if end.extras},
        }
        said = "".join(f", {column} = {case(values, column)}" for column, values in texts.items() if values)
        held: dict[str, list[int]] = {}
        for end in ends:
            held.setdefault(end.job.claim, []).append(end.job.id)
        is_held = " OR ".join(f"claimed_by = %s AND id IN ({numbers(ids)})" for ids in held.values())
        sql = dialect(self.db)
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"UPDATE jobs {sql.by_id} SET status = %s, completed_at = {sql.now}, claimed_by = NULL, "
                f"lease_until = NULL{said} WHERE status = 'inprogress' AND ({is_held})",
                [status, *texts["error"].values(), *texts["extras"].values(), *held],
            )
            if cursor.rowcount < len(ends):
                raise LostSome

    def _cancel(self, ids: Collection[int]) -> int:
        if not ids:
            return 0
        return self.filter(id__in=ids, status=JobStatus.NEW).update(status=JobStatus.CANCELLED, completed_at=UtcNow())


def _in_parts(texts: dict[int, str]) -> Iterator[dict[int, str]]:
    """Of a size that one statement can carry: a batch has many requests, and their extras may have grown large."""
    part: dict[int, str] = {}
    size = 0
    for id_, text in texts.items():
        if part and size + len(text) > _CHARACTERS_PER_UPDATE:
            yield part
            part, size = {}, 0
        part[id_] = text
        size += len(text)
    if part:
        yield part
