"""The tables `jobs` and `passes`. Every move of a job stands in JobQuerySet, its guard in sight, and nowhere else.

Which moves there are, their guards and their lock order: docs/moves.md. The schema's arrow (a job points at its
request) runs against the arrow of imports (requests_app imports jobs_app): the foreign key is a string, and SQL here
names the table `requests`.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, NamedTuple, Self

from django.db import connections, models, transaction
from django.db.models import Q

from jobs_app.dialect import (
    PARKED_FROM,
    PARKED_YEARS,
    ByteCharField,
    SqliteTypes,
    UtcNow,
    case,
    case_values,
    dialect,
    marks,
)
from jobs_app.outcomes import json_object, storable_text
from jobs_app.pass_run import PassRun as PassRun
from jobs_app.paused import JobIntervention as JobIntervention
from jobs_app.paused import PausedJob as PausedJob
from jobs_app.registry import max_attempts
from jobs_app.tallies import Tally as Tally

SCRUBBED = "scrubbed"  # in place of an error or a reason that retention has removed
_ROWS_PER_INSERT = 2000
_ROWS_PER_PARKING = 500  # in one transaction
_MOST_PARKED = 5000  # at one look; so many of the oldest due rows are looked through
_CHARACTERS_PER_UPDATE = 2_000_000  # max_allowed_packet is 16 MB by default; escaped, a character may take 8 bytes


class JobStatus(models.TextChoices):
    NEW = "new", "new"
    INPROGRESS = "inprogress", "in progress"
    COMPLETED = "completed", "completed"
    FAILURE = "failure", "failure"
    RETRY = "retry", "retry"
    CANCELLED = "cancelled", "cancelled"


OPEN = (JobStatus.NEW, JobStatus.INPROGRESS)
SETTLED = (JobStatus.NEW, JobStatus.INPROGRESS, JobStatus.COMPLETED)  # needs no new attempt
ENDED = (JobStatus.COMPLETED, JobStatus.FAILURE, JobStatus.RETRY, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """One attempt as the process that claimed it holds it. `claim` is the claiming transaction's UUID.

    `waited_microseconds`: from when it was due until it was claimed, on the database's clock; None when
    the row does not say. `token` and `action`: its
    request's, for the log.
    """

    id: int
    request_id: int
    step: int
    name: str
    attempt: int
    last_attempt: int
    claim: str
    waited_microseconds: int | None = field(default=0, compare=False)
    token: str = field(default="", compare=False)
    action: str = field(default="", compare=False)


class RequestRow(NamedTuple):
    """What a job's callback is to know of its request; `params` and `extras` are JSON texts."""

    token: str
    action: str
    params: str
    extras: str


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended, ready to be recorded. `status` NEW hands it back unstarted.

    Of a retry: `delay_seconds` until its successor is due, and `last_attempt` for that successor. Of a job handed back:
    `delay_seconds` until it is due again; 0 leaves it due. `ran_microseconds`: of its callback, if it began here.
    """

    job: ClaimedJob
    status: JobStatus
    error: str = ""
    extras: str | None = None
    delay_seconds: float = 0.0
    last_attempt: int = 0
    ran_microseconds: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A row to insert as `new`, due `delay_seconds` from the database's now."""

    request_id: int
    step: int
    name: str
    last_attempt: int
    attempt: int = 1
    delay_seconds: float = 0.0


@dataclass(slots=True)
class DirectClaim:
    """Lets a transaction that inserts jobs claim up to `room` of them for this process, as one would do right after it.

    `id`: the claim's UUID. `sent_at`: the process's monotonic clock before the transaction. `paused`: names to
    leave `new`. `request_ids`: whose jobs.
    """

    id: str
    room: int
    lease_seconds: float
    sent_at: float
    paused: Collection[str] = ()
    request_ids: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Outlook:
    """One look at the tables. `now` is the database's clock as its driver gives it, to be handed back in a query.

    `paused`: job names of which nothing may be claimed. `resumed`: those whose parked jobs are to be brought back.
    """

    now: Any
    has_due: bool
    has_expired: bool
    paused: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()


class JobQuerySet(models.QuerySet["Job"]):
    # Filters ---------------------------------------------------------------------------------------------------------
    def open(self) -> Self:
        return self.filter(status__in=OPEN)

    def waiting(self, request_id: int) -> Self:
        """A request's `new` jobs that wait for their due time; not those that are parked."""
        new = self.filter(request_id=request_id, status=JobStatus.NEW)
        return new.filter(due_at__gt=UtcNow(), due_at__lt=f"{PARKED_FROM}Z")

    def may_be_completed(self, request_id: int, step: int) -> Self:
        """The latest attempts of a step's jobs that `complete_by_hand` would take: they neither run nor are done."""
        latest = self.filter(request_id=request_id, step=step).latest_attempts()
        return latest.exclude(status__in=(JobStatus.INPROGRESS, JobStatus.COMPLETED))

    def latest_attempts(self) -> Self:
        later = Job.objects.filter(
            request_id=models.OuterRef("request_id"),
            step=models.OuterRef("step"),
            name=models.OuterRef("name"),
            attempt__gt=models.OuterRef("attempt"),
        )
        return self.filter(~models.Exists(later))

    def outlook(self) -> Outlook:
        """Whether anything is due or has lost its lease, and what is paused, in one statement that locks nothing."""
        sql = dialect(self.db)
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT {sql.now}, EXISTS(SELECT 1 FROM jobs {sql.force('jobs_status_due')} "
                f"WHERE status = 'new' AND due_at <= {sql.now}), "
                f"EXISTS(SELECT 1 FROM jobs {sql.force('jobs_status_lease')} "
                f"WHERE status = 'inprogress' AND lease_until < {sql.now}), p.name, p.resumed_at IS NULL "
                "FROM (SELECT 1 AS looked) AS look LEFT JOIN paused_jobs p ON 1 = 1",
                [],
            )
            rows = cursor.fetchall()
        now, has_due, has_expired, *_ = rows[0]
        paused, resumed = (
            tuple(name for *_, name, is_paused in rows if name is not None and bool(is_paused) is wanted)
            for wanted in (True, False)
        )
        return Outlook(now, bool(has_due), bool(has_expired), paused, resumed)

    def lease_expired(self, limit: int) -> list[ClaimedJob]:
        """Jobs whose holder fell silent, whatever their request's status. Read without locks: `record` guards again."""
        sql = dialect(self.db)
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                "SELECT j.id, j.request_id, j.step, j.name, j.attempt, j.last_attempt, j.claimed_by, "
                f"{sql.microseconds.format('j.due_at', 'j.started_at')}, r.token, r.action "
                f"FROM jobs j {sql.force('jobs_status_lease')} LEFT JOIN requests r ON r.id = j.request_id "
                f"WHERE j.status = 'inprogress' AND j.lease_until < {sql.now} ORDER BY j.lease_until, j.id LIMIT %s",
                [limit],
            )
            return [ClaimedJob(*row) for row in cursor.fetchall()]

    # Moves -----------------------------------------------------------------------------------------------------------
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
            values = f"'inprogress', %s, {sql.now}, {sql.now_plus}"
            self._insert(claimed, columns, values, [claim.id, claim.lease_seconds])
        self._insert(left, "status", "'new'", [])

    def _insert(self, jobs: Sequence[NewJob], columns: str, values: str, bound: list[Any]) -> None:
        row = f"(%s, %s, %s, %s, %s, {dialect(self.db).now_plus}, {values})"
        with connections[self.db].cursor() as cursor:
            for start in range(0, len(jobs), _ROWS_PER_INSERT):
                rows = jobs[start : start + _ROWS_PER_INSERT]
                bounds = [
                    (job.request_id, job.step, job.name, job.attempt, job.last_attempt, job.delay_seconds, *bound)
                    for job in rows
                ]
                cursor.execute(
                    f"INSERT INTO jobs (request_id, step, name, attempt, last_attempt, due_at, {columns}) "
                    f"VALUES {', '.join([row] * len(rows))}",
                    [value for values in bounds for value in values],
                )

    def claim(
        self, claim: str, limit: int, lease_seconds: float, due_by: Any = None, paused: Collection[str] = ()
    ) -> list[int]:
        """`new` -> `inprogress`, oldest due first; rows that another claim has locked are skipped, never waited for.

        `claim`: a new UUID for this transaction. `due_by`: a moment of `outlook`; None: the database's now. `paused`:
        the names to leave alone. A list of constants: claims stay one range of the index, in its order.
        """
        sql = dialect(self.db)
        others = f"AND name NOT IN ({marks(paused)}) " if paused else ""
        with transaction.atomic(using=self.db, savepoint=False), connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM jobs {sql.force('jobs_status_due')} WHERE status = 'new' AND due_at <= "
                f"{sql.now if due_by is None else '%s'} {others}ORDER BY due_at, id LIMIT %s {sql.skip_locked}",
                [*([] if due_by is None else [due_by]), *paused, limit],
            )
            ids = [row[0] for row in cursor.fetchall()]
            if ids:
                cursor.execute(
                    f"UPDATE jobs SET status = 'inprogress', claimed_by = %s, started_at = {sql.now}, "
                    f"lease_until = {sql.now_plus} WHERE id IN ({marks(ids)}) AND status = 'new'",
                    [claim, lease_seconds, *ids],
                )
        return ids

    def held_by(self, claim: str) -> list[int]:
        """What carries this claim: so a claim whose COMMIT was lost learns what it won."""
        held = self.filter(status=JobStatus.INPROGRESS, claimed_by=claim)
        return list(held.order_by("due_at", "id").values_list("id", flat=True))

    def with_requests(
        self, claim: str, ids: Collection[int], *, by: Literal["id", "request_id"] = "id"
    ) -> list[tuple[ClaimedJob, RequestRow]]:
        """Claimed jobs, oldest due first, with what their requests say; read after the claim is committed."""
        waited = dialect(self.db).microseconds.format("j.due_at", "j.started_at")
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT j.id, j.request_id, j.step, j.name, j.attempt, j.last_attempt, {waited}, "
                "r.token, r.action, r.params, r.extras FROM jobs j JOIN requests r ON r.id = j.request_id "
                f"WHERE j.{by} IN ({marks(ids)}) AND j.claimed_by = %s ORDER BY j.due_at, j.id",
                [*ids, claim],
            )
            return [(ClaimedJob(*(*row[:6], claim, *row[6:9])), RequestRow(*row[7:])) for row in cursor.fetchall()]

    def standing(self, ends: Sequence[End]) -> list[End]:
        """Those of these ends that stand in the table: what a `record` did whose COMMIT was not answered."""
        if not ends:
            return []
        statuses = dict(self.filter(id__in=[end.job.id for end in ends]).values_list("id", "status"))
        return [end for end in ends if statuses.get(end.job.id) == end.status]

    def renew(self, held: Collection[ClaimedJob], lease_seconds: float) -> int:
        """Leases again what this process holds in memory: by id and claim, never by the process's name."""
        sql, ids, claims = dialect(self.db), sorted(job.id for job in held), {job.claim for job in held}
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"UPDATE jobs {sql.force('PRIMARY')} SET lease_until = {sql.now_plus} WHERE id IN ({marks(ids)}) "
                f"AND status = 'inprogress' AND claimed_by IN ({marks(claims)})",
                [lease_seconds, *ids, *claims],
            )
            return int(cursor.rowcount)

    def record(self, ends: Sequence[End], *, lease_expired: bool = False, lock_requests: bool = False) -> list[End]:
        """Records how attempts ended, in one transaction; answers those that won: still `inprogress` under their claim.

        Locks all requests, then all jobs, each by id ascending, then inserts. Failures are written before retries, so
        that a retry beside a failure sees that its request is doomed. `lease_expired` adds to the guard that the lease
        is still over: its holder may have renewed it since it was read. `lock_requests`: all of them, not only those
        whose extras or siblings change, for a caller that moves them on in the same transaction.
        """
        with transaction.atomic(using=self.db, savepoint=False):
            plain = () if lock_requests else {JobStatus.COMPLETED}
            requests = self._lock_requests({e.job.request_id for e in ends if e.status not in plain or e.extras})
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

    def cancel_new(self, request_ids: Collection[int]) -> int:
        """`new` -> `cancelled`, for requests whose locks the caller holds."""
        return self._cancel(list(self._new_siblings(request_ids)))

    def existing(self, request_ids: Collection[int]) -> set[tuple[int, int, str]]:
        """(request id, step, name) of the rows that these requests have."""
        return set(self.filter(request_id__in=request_ids).values_list("request_id", "step", "name"))

    def insert_again(self, request_id: int, step: int) -> None:
        """A new attempt, with a fresh budget, of every job of the step that needs one. Under the request's lock."""
        ended = self.filter(request_id=request_id, step=step).latest_attempts().exclude(status__in=SETTLED)
        self.insert_new(
            [
                NewJob(request_id, step, job.name, job.attempt + max_attempts(job.name), job.attempt + 1)
                for job in ended.order_by("id")
            ]
        )

    def make_due(self, request_id: int) -> int:
        """`new` jobs that wait are due now; parked ones stay parked. Under the request's lock."""
        return self.waiting(request_id).update(due_at=UtcNow())

    def park(self, names: Collection[str]) -> int:
        """Moves due `new` jobs of paused names out of the claims' way; answers how many, at most 5,000.

        Looks at the oldest 5,000 due rows, however many there are: the head of the index is what claims read.
        """
        sql = dialect(self.db)
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM (SELECT id, name FROM jobs {sql.force('jobs_status_due')} WHERE status = 'new' "
                f"AND due_at <= {sql.now} ORDER BY due_at, id LIMIT {_MOST_PARKED}) AS oldest "
                f"WHERE name IN ({marks(names)})",
                [*names],
            )
            ids = sorted(row[0] for row in cursor.fetchall())
        return sum(self._park(names, part) for part in _sliced(ids, _ROWS_PER_PARKING))

    def _park(self, names: Collection[str], ids: Sequence[int]) -> int:
        """Under the lock of the names' rows: what is resumed in between is not parked, and so not forgotten."""
        sql = dialect(self.db)
        with transaction.atomic(using=self.db, savepoint=False), connections[self.db].cursor() as cursor:
            if not (paused := PausedJob.objects.using(self.db).lock_paused(names)):
                return 0
            cursor.execute(
                f"UPDATE jobs {sql.force('PRIMARY')} SET due_at = {sql.parked} WHERE id IN ({marks(ids)}) "
                f"AND status = 'new' AND due_at <= {sql.now} AND name IN ({marks(paused)})",
                [*ids, *paused],
            )
            return int(cursor.rowcount)

    def bring_back(self, names: Collection[str]) -> int:
        """Parked jobs of resumed names get their own due time again, the oldest first; answers how many, at most 500.

        When none is left the names are forgotten, under the lock that parking needs: so none can be parked meanwhile.
        """
        sql = dialect(self.db)
        with transaction.atomic(using=self.db, savepoint=False), connections[self.db].cursor() as cursor:
            if not (resumed := PausedJob.objects.using(self.db).lock_resumed(names)):
                return 0
            cursor.execute(
                f"SELECT id FROM jobs {sql.force('jobs_status_due')} "
                f"WHERE status = 'new' AND due_at >= '{PARKED_FROM}' "
                f"AND name IN ({marks(resumed)}) ORDER BY due_at, id LIMIT {_ROWS_PER_PARKING}",
                resumed,
            )
            if not (ids := sorted(row[0] for row in cursor.fetchall())):
                PausedJob.objects.using(self.db).forget(resumed)
                return 0
            cursor.execute(
                f"UPDATE jobs {sql.force('PRIMARY')} SET due_at = {sql.unparked} WHERE id IN ({marks(ids)}) "
                f"AND status = 'new' AND due_at >= '{PARKED_FROM}'",
                ids,
            )
            return len(ids)

    def complete_by_hand(self, request_id: int, step: int, name: str, extras: dict[str, Any] | None) -> bool:
        """Inserts a `completed` attempt, unless the latest one runs or has succeeded. Under the request's lock."""
        latest = self.filter(request_id=request_id, step=step, name=name).order_by("-attempt").first()
        if latest is None or latest.status in {JobStatus.INPROGRESS, JobStatus.COMPLETED}:
            return False
        if latest.status == JobStatus.NEW and not self._cancel([latest.id]):
            return False  # it was claimed meanwhile
        self.create(
            request_id=request_id,
            step=step,
            name=name,
            attempt=latest.attempt + 1,
            last_attempt=max(latest.last_attempt, latest.attempt + 1),
            status=JobStatus.COMPLETED,
            extras=extras,
            started_at=UtcNow(),
            completed_at=UtcNow(),
        )
        return True

    def purge(self, request_ids: Collection[int]) -> int:
        """Deletes the jobs of requests that are over, whose locks the caller holds; never one that is open."""
        return self._of_closed("DELETE FROM jobs", [], request_ids)

    def scrub(self, request_ids: Collection[int]) -> int:
        """Empties what may be personal in the jobs of requests that are over; under their locks. A cause stays one."""
        emptied = "extras = NULL, error = CASE WHEN error = '' THEN '' ELSE %s END"
        return self._of_closed(f"UPDATE jobs SET {emptied}", [SCRUBBED], request_ids)

    def _of_closed(self, what: str, values: list[str], request_ids: Collection[int]) -> int:
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"{what} WHERE request_id IN ({marks(request_ids)}) AND status NOT IN ('new', 'inprogress')",
                [*values, *request_ids],
            )
            return int(cursor.rowcount)

    # The parts of `record`, each under its locks ---------------------------------------------------------------------
    def _lock_requests(self, ids: Collection[int]) -> dict[int, tuple[str, int, str]]:
        """Status, step and extras of these requests, locked by id ascending."""
        if not ids:
            return {}
        sql = dialect(self.db)
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"SELECT id, status, step, extras FROM requests {sql.force('PRIMARY')} WHERE id IN ({marks(ids)}) "
                f"ORDER BY id {sql.for_update}",
                sorted(ids),
            )
            return {row[0]: row[1:] for row in cursor.fetchall()}

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
                f"SELECT id, claimed_by FROM jobs {sql.force('PRIMARY')} WHERE id IN ({marks(ids)}) "
                f"AND (status = 'new' OR (status = 'inprogress' {expired})) ORDER BY id {sql.for_update}",
                sorted(ids),
            )
            return {id_: claim for id_, claim in cursor.fetchall() if claim}

    def _complete(self, ends: Sequence[End], requests: dict[int, tuple[str, int, str]]) -> None:
        """Keeps each returned mapping on its job and merges it into its request's extras, by top-level key."""
        self._set_ended(ends, JobStatus.COMPLETED)
        merged: dict[int, dict[str, Any]] = {}
        for end in sorted((e for e in ends if e.extras and e.job.request_id in requests), key=lambda e: e.job.id):
            of_request = merged.setdefault(end.job.request_id, json_object(requests[end.job.request_id][2]))
            of_request.update(json.loads(end.extras or "{}"))
        texts = {id_: storable_text(json.dumps(extras, ensure_ascii=False)) for id_, extras in merged.items()}
        with connections[self.db].cursor() as cursor:
            for part in _in_parts(texts):
                cursor.execute(
                    f"UPDATE requests SET extras = {case(part)} WHERE id IN ({marks(part)})",
                    [*case_values(part), *part],
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
        self, request_ids: Collection[int], requests: dict[int, tuple[str, int, str]]
    ) -> tuple[set[int], set[tuple[int, int, str, int]]]:
        """Requests in which nothing may be started any more, and all attempts of the others' current steps.

        Doomed: not `Inprogress`, or the latest attempt of a job of the current step is `failure`. Under their locks.
        """
        if not request_ids:
            return set(), set()
        rows = self.filter(request_id__in=request_ids).order_by("attempt")
        alive = {id_ for id_, (status, *_) in requests.items() if status == "Inprogress"}
        attempts, latest = set(), {}
        for request_id, step, name, attempt, status in rows.values_list(
            "request_id", "step", "name", "attempt", "status"
        ):
            attempts.add((request_id, step, name, attempt))
            latest[request_id, step, name] = status
        failed = {
            request_id
            for (request_id, step, _), status in latest.items()
            if status == JobStatus.FAILURE and request_id in alive and step == requests[request_id][1]
        }
        return failed | (set(request_ids) - alive), attempts

    def _set_ended(self, ends: Sequence[End], status: JobStatus) -> None:
        if not ends:
            return
        errors = {end.job.id: end.error for end in ends if end.error}
        extras = {end.job.id: end.extras for end in ends if end.extras}
        ids = [end.job.id for end in ends]
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"UPDATE jobs SET status = %s, completed_at = {dialect(self.db).now}, claimed_by = NULL, "
                f"lease_until = NULL, error = {case(errors, 'error')}, extras = {case(extras, 'extras')} "
                f"WHERE id IN ({marks(ids)}) AND status = 'inprogress'",
                [status, *case_values(errors), *case_values(extras), *ids],
            )

    def _cancel(self, ids: Collection[int]) -> int:
        if not ids:
            return 0
        return self.filter(id__in=ids, status=JobStatus.NEW).update(status=JobStatus.CANCELLED, completed_at=UtcNow())


def _sliced(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


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


class Job(models.Model):
    """One attempt of one job of a request's step. A retried job has several rows; the latest attempt counts."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(
        "requests_app.Request", on_delete=models.PROTECT, related_name="jobs", db_index=False
    )  # no index of its own: the unique key begins with it
    step = models.IntegerField()
    name = ByteCharField(max_length=100)
    attempt = models.IntegerField(db_default=1)
    # The number of the last attempt allowed. In the row, so that handing back and retrying by hand can raise it.
    last_attempt = models.IntegerField(db_default=10)
    status = ByteCharField(max_length=10, choices=JobStatus, db_default=JobStatus.NEW.value)
    error = models.TextField(blank=True, db_default="")
    extras = models.JSONField(null=True, blank=True)
    due_at = models.DateTimeField(db_default=UtcNow())
    claimed_by = ByteCharField(max_length=36, null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=UtcNow())
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[JobQuerySet] = JobQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "jobs"
        indexes: ClassVar = [
            models.Index(fields=["status", "due_at", "id"], name="jobs_status_due"),
            models.Index(fields=["status", "lease_until", "id"], name="jobs_status_lease"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request", "step", "name", "attempt"], name="jobs_attempt"),
            models.CheckConstraint(condition=Q(status__in=JobStatus.values), name="jobs_status_known"),
            models.CheckConstraint(condition=Q(attempt__gte=1, step__gte=0), name="jobs_numbers"),
            models.CheckConstraint(
                condition=Q(status__in=ENDED, completed_at__isnull=False)
                | Q(status__in=OPEN, completed_at__isnull=True),
                name="jobs_completed_at",
            ),
            models.CheckConstraint(
                condition=Q(status=JobStatus.INPROGRESS, claimed_by__isnull=False, lease_until__isnull=False)
                | (~Q(status=JobStatus.INPROGRESS) & Q(claimed_by__isnull=True, lease_until__isnull=True)),
                name="jobs_lease",
            ),
            SqliteTypes(
                name="jobs_types",
                moments=("due_at", "lease_until", "created_at", "started_at", "completed_at"),
                integers=("step", "attempt", "last_attempt"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (step {self.step}, attempt {self.attempt})"

    @property
    def is_parked(self) -> bool:
        """Whether it was due when its name was paused, and rests since."""
        return self.due_at.year > PARKED_YEARS

    @property
    def own_due_at(self) -> datetime:
        """`due_at`; of a parked job the moment that it was due at."""
        return self.due_at.replace(year=self.due_at.year - PARKED_YEARS) if self.is_parked else self.due_at
