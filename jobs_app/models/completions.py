"""The moves that record how attempts ended, and what follows: successors, cancelled siblings, merged extras.

Part of JobQuerySet (job.py), each guard in sight. Which moves there are and their lock order: docs/moves.md.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from django.db import models, transaction

from jobs_app.db.columns import UtcNow
from jobs_app.db.dialect import case, dialect, literal, numbers, of_steps
from jobs_app.db.statements import execute, fetch_all
from jobs_app.limit_rules import LANES_FROM
from jobs_app.models.answer import Answer
from jobs_app.models.attempts import Attempt, IfFails, JobStatus, LockedRequest, NewJob, Result
from jobs_app.models.inserts import insert_jobs
from jobs_app.models.locks import lock_jobs, lock_requests
from jobs_app.outcomes import json_object, storable_text
from jobs_app.registry import limits_of

Row = TypeVar("Row", bound=models.Model)

_UNCLAIMED: dict[str, Any] = {"claimed_by": None, "lease_until": None, "started_at": None}
_TAKEN_WITHIN_SECONDS = 5.0  # until a job whose time is over is due again, since its answer is there and pending
_CHARACTERS_PER_UPDATE = 2_000_000  # max_allowed_packet is 16 MB by default; escaped, a character may take 8 bytes


class Completions(models.QuerySet[Row]):
    def record(
        self,
        results: Sequence[Result],
        requests: Mapping[int, LockedRequest] | None = None,
        *,
        lease_expired: bool = False,
    ) -> list[Result]:
        """Records how attempts ended, in one transaction; returns those that won: still `inprogress` under their claim.

        Locks all requests, then all jobs, each by id ascending. Failures are written before retries, so that a retry
        beside a failure sees that its request is doomed. `_retry` inserts before `_hand_back` and `_wait` update rows,
        which are locked by then. `requests`: those of all results, as far as the caller could lock them; None: locks
        those of all but plain completions. `lease_expired` adds to the guard that the lease is still over: its holder
        may have renewed it since it was read.
        What another session has locked is never waited for and does not win; `still_claimed` tells it from the rest.
        """
        in_progress = "status = 'inprogress'" + (f" AND lease_until < {dialect().now}" if lease_expired else "")
        with transaction.atomic(savepoint=False):
            if requests is None:
                free, others = _apart(results)
                requests = self.lock_requests_of(others)
                free += [r for r in others if r.job.request_id in requests]
            else:
                free = [r for r in results if r.job.request_id in requests]
            siblings = self._new_siblings({r.job.request_id for r in free if r.stops})
            locked = lock_jobs([*(r.job.id for r in free), *siblings], f"(status = 'new' OR ({in_progress}))")
            uncancelled = {request_id for id_, request_id in siblings.items() if id_ not in locked}
            won = [
                r
                for r in free
                if locked.get(r.job.id) == r.job.claim and not (r.stops and r.job.request_id in uncancelled)
            ]
            won = self._unless_answered(won)
            by_status = {status: [r for r in won if r.status == status] for status in JobStatus}
            self._complete(by_status[JobStatus.COMPLETED], requests)
            self._fail(by_status[JobStatus.FAILURE], siblings)
            again = by_status[JobStatus.RETRY] + by_status[JobStatus.NEW]
            doomed, later = self._doomed({r.job.request_id for r in again}, requests)
            self._retry(by_status[JobStatus.RETRY], doomed, later)
            self._hand_back([r for r in by_status[JobStatus.NEW] if not r.wait], doomed)
            self._wait([r for r in by_status[JobStatus.NEW] if r.wait], doomed)
        return won

    def lock_requests_of(self, results: Collection[Result]) -> dict[int, LockedRequest]:
        """With extras where a result is to be merged into them."""
        ids = {result.job.request_id for result in results}
        return lock_requests(ids, with_extras=any(result.extras for result in results))

    def still_claimed(self, results: Sequence[Result]) -> list[Result]:
        """Of results that did not win: those whose jobs are still ours, so that another session has locked them."""
        running = self.filter(id__in=[result.job.id for result in results], status=JobStatus.INPROGRESS)
        claims = dict(running.values_list("id", "claimed_by"))
        return [result for result in results if claims.get(result.job.id) == result.job.claim]

    def already_recorded(self, results: Sequence[Result]) -> list[Result]:
        """Which of these results stand in the table: what a `record` did whose COMMIT had no reply."""
        if not results:
            return []
        statuses = dict(self.filter(id__in=[result.job.id for result in results]).values_list("id", "status"))
        return [result for result in results if statuses.get(result.job.id) == result.status]

    def cancel_new(self, request_ids: Collection[int]) -> int:
        """`new` -> `cancelled`, for requests whose locks the caller holds."""
        return self._cancel(list(self._new_siblings(request_ids)))

    # What progress is decided by -------------------------------------------------------------------------------------
    def attempts_at(self, steps: Mapping[int, int]) -> dict[int, list[Attempt]]:
        """All rows of one step of each request. `steps`: by request id."""
        found: dict[int, list[Attempt]] = {id_: [] for id_ in steps}
        if not steps:
            return found
        rows = fetch_all(
            "SELECT request_id, name, attempt, status, SUBSTR(error, 1, 600), if_fails "
            f"FROM jobs j {dialect().force('jobs_attempt')} WHERE {of_steps(steps.items(), 'j')}"
        )
        for id_, *attempt in rows:
            found[id_].append(Attempt(*attempt))
        return found

    def existing(self, request_ids: Collection[int]) -> set[tuple[int, int, str]]:
        """(request id, step, name) of the rows that these requests have."""
        return set(self.filter(request_id__in=request_ids).values_list("request_id", "step", "name"))

    # The parts of `record`, each under its locks ---------------------------------------------------------------------
    def _new_siblings(self, request_ids: Collection[int]) -> dict[int, int]:
        """The `new` jobs of these requests: id -> request id. Under the requests' locks none can be added."""
        if not request_ids:
            return {}
        return dict(self.filter(request_id__in=request_ids, status=JobStatus.NEW).values_list("id", "request_id"))

    def _complete(self, results: Sequence[Result], requests: Mapping[int, LockedRequest]) -> None:
        """Keeps each returned mapping on its job and merges it into its request's extras, by top-level key."""
        self._set_ended(results, JobStatus.COMPLETED)
        merged: dict[int, dict[str, Any]] = {}
        for result in sorted((r for r in results if r.extras and r.job.request_id in requests), key=lambda r: r.job.id):
            of_request = merged.setdefault(result.job.request_id, json_object(requests[result.job.request_id].extras))
            of_request.update(json.loads(result.extras or "{}"))
        texts = {id_: storable_text(json.dumps(extras, ensure_ascii=False)) for id_, extras in merged.items()}
        for part in _in_parts(texts):
            execute(f"UPDATE requests SET extras = {case(part)} WHERE id IN ({numbers(part)})", [*part.values()])

    def _fail(self, results: Sequence[Result], siblings: dict[int, int]) -> None:
        """One of the reach `stop` that won dooms its request: siblings that have not begun never will."""
        self._set_ended(results, JobStatus.FAILURE)
        stopped = {result.job.request_id for result in results if result.stops}
        self._cancel([id_ for id_, request_id in siblings.items() if request_id in stopped])

    def _retry(self, results: Sequence[Result], doomed: set[int], later: set[tuple[int, int, str, int]]) -> None:
        """Ends the attempt and inserts its successor, unless the request is doomed (or it is there already)."""
        self._set_ended(results, JobStatus.RETRY)
        successors = [
            NewJob(job.request_id, job.step, job.name, r.last_attempt, job.attempt + 1, r.delay_seconds, job.if_fails)
            for r in results
            if (job := r.job).request_id not in doomed
            and (job.request_id, job.step, job.name, job.attempt + 1) not in later
        ]
        insert_jobs(successors)

    def _hand_back(self, results: Sequence[Result], doomed: set[int]) -> None:
        """Not started: the same row becomes `new` again, or `cancelled` when its request is doomed."""
        going = self._cancel_doomed(results, doomed)
        for delay in {result.delay_seconds for result in going}:
            ids = [result.job.id for result in going if result.delay_seconds == delay]
            due = {"due_at": UtcNow() + timedelta(seconds=delay)} if delay else {}
            self.filter(id__in=ids, status=JobStatus.INPROGRESS).update(status=JobStatus.NEW, **due, **_UNCLAIMED)

    def _wait(self, results: Sequence[Result], doomed: set[int]) -> None:
        """As `_hand_back`, due at the next check or when the time for an answer is over.

        That time counts from the attempt's first wait: else one that waits again and again would have no end.
        """
        sql, going = dialect(), self._cancel_doomed(results, doomed)
        answer_by = f"COALESCE(answer_by, {sql.now_plus})"
        due_at = sql.earlier.format(sql.now_plus, answer_by)
        for within, check in {result.wait for result in going if result.wait}:
            texts = {result.job.id: result.error for result in going if result.wait == (within, check)}
            execute(
                # due_at first: MySQL and MariaDB show what stands before as assigned already.
                f"UPDATE jobs {sql.by_id} SET status = 'new', due_at = {due_at}, "
                f"answer_by = {answer_by}, answer_within = COALESCE(answer_within, %s), "
                f"waits_for = {case(texts)}, checks = checks + 1, claimed_by = NULL, lease_until = NULL "
                f"WHERE id IN ({numbers(texts)}) AND status = 'inprogress'",
                [check, within, within, math.ceil(within), *texts.values()],
            )

    def _cancel_doomed(self, results: Sequence[Result], doomed: set[int]) -> list[Result]:
        """Cancels those of what is to be `new` again whose requests are doomed; returns the others."""
        over = [result.job.id for result in results if result.job.request_id in doomed]
        if over:
            self.filter(id__in=over, status=JobStatus.INPROGRESS).update(
                status=JobStatus.CANCELLED, completed_at=UtcNow(), **_UNCLAIMED
            )
        return [result for result in results if result.job.request_id not in doomed]

    def _unless_answered(self, results: list[Result]) -> list[Result]:
        """With those handed back whose answer came in time and is not taken yet; under their requests' locks."""
        silent = [result.job for result in results if result.is_unanswered]
        answered = Answer.objects.pending_for(silent)
        return [
            result._replace(status=JobStatus.NEW, delay_seconds=_TAKEN_WITHIN_SECONDS)
            if result.is_unanswered and result.job.id in answered
            else result
            for result in results
        ]

    def _doomed(
        self, request_ids: Collection[int], requests: Mapping[int, LockedRequest]
    ) -> tuple[set[int], set[tuple[int, int, str, int]]]:
        """Requests in which nothing may be started any more, and the attempts (request id, step, name, attempt) of all.

        Doomed: not `Inprogress`, or the latest attempt of a job of the current step is a failure with the reach `stop`.
        Under their locks.
        """
        if not request_ids:
            return set(), set()
        rows = self.filter(request_id__in=request_ids).order_by("attempt")
        alive = {request.id for request in requests.values() if request.status == "Inprogress"}
        attempts, latest = set(), {}
        for request_id, step, name, attempt, *how in rows.values_list(
            "request_id", "step", "name", "attempt", "status", "if_fails"
        ):
            attempts.add((request_id, step, name, attempt))
            latest[request_id, step, name] = how
        failed = {
            request_id
            for (request_id, step, _), how in latest.items()
            if how == [JobStatus.FAILURE, IfFails.STOP] and request_id in alive and step == requests[request_id].step
        }
        return failed | (set(request_ids) - alive), attempts

    def _set_ended(self, results: Sequence[Result], status: JobStatus) -> None:
        if not results:
            return
        texts: dict[str, dict[int, str]] = {  # a column that stays as it is would be written and checked all the same
            "error": {result.job.id: result.error for result in results if result.error},
            "answer": {result.job.id: result.answer for result in results if result.answer},
            "extras": {result.job.id: result.extras for result in results if result.extras},
        }
        changed = "".join(f", {column} = {case(values, column)}" for column, values in texts.items() if values)
        sql = dialect()
        # What ran by a permit was due in its lane until now, after it began; also when nobody names its limit any more.
        if limits_of(r.job.name for r in results) or any((r.job.waited_microseconds or 0) < 0 for r in results):
            changed += f", due_at = CASE WHEN due_at < {literal(LANES_FROM)} THEN due_at ELSE started_at END"
        execute(
            f"UPDATE jobs {sql.by_id} SET status = %s, completed_at = {sql.now}, claimed_by = NULL, "
            f"lease_until = NULL{changed} WHERE id IN ({numbers(result.job.id for result in results)}) "
            "AND status = 'inprogress'",
            [status, *(text for values in texts.values() for text in values.values())],
        )

    def _cancel(self, ids: Collection[int]) -> int:
        if not ids:
            return 0
        return self.filter(id__in=ids, status=JobStatus.NEW).update(status=JobStatus.CANCELLED, completed_at=UtcNow())


def _apart(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """Those that change nothing but their own row, and the others, which need their request's lock."""
    alone = [r for r in results if r.status == JobStatus.COMPLETED and not r.extras]
    return alone, [r for r in results if r.status != JobStatus.COMPLETED or r.extras]


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
