"""The moves by which a process gets jobs and keeps them: poll, claim, renew.

Part of JobQuerySet (job.py), each guard in sight. Which moves there are and their lock order: docs/moves.md.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.db import models, transaction

from jobs_app.db.dialect import dialect, literal, marks, numbers, of_steps
from jobs_app.db.statements import execute, fetch_all
from jobs_app.models.attempts import LARGE, CallbackInput, Claimed, ClaimedJob, JobStatus, Poll
from jobs_app.models.locks import lock_jobs
from jobs_app.registry import limits as limits_in_use

Row = TypeVar("Row", bound=models.Model)

_SIZE = "LENGTH(r.params) + LENGTH(r.extras)"
# What fills the fields of ClaimedJob and CallbackInput for which `jobs` (j) has no column of that name. r: `requests`.
_COLUMNS = {
    "claim": "j.claimed_by",
    "token": "r.token",
    "action": "r.action",
    # SQLite keeps texts of any length. What is not as long as a traceparent is none.
    "caller_trace": "CASE WHEN LENGTH(r.traceparent) = 55 THEN r.traceparent ELSE '' END",
    **{name: f"CASE WHEN {_SIZE} <= {LARGE} THEN r.{name} END" for name in ("params", "extras")},
    "size": _SIZE,
}

_LEASE_OF_WAITING_SECONDS = 60.0  # never seen: a waiting row is claimed and ended in one transaction


class Claims(models.QuerySet[Row]):
    def poll(self) -> Poll:
        """Whether anything is due or has lost its lease, and what is paused, in one statement that locks nothing."""
        sql, limits = dialect(), [*limits_in_use()]
        others = f"l.name NOT IN ({marks(limits)}) AND" if limits else ""
        rows = fetch_all(
            f"SELECT {sql.now}, EXISTS(SELECT 1 FROM jobs {sql.force('jobs_status_due')} "
            f"WHERE status = 'new' AND due_at <= {sql.now}), "
            f"EXISTS(SELECT 1 FROM jobs {sql.force('jobs_status_lease')} "
            f"WHERE status = 'inprogress' AND lease_until < {sql.now}), "
            f"EXISTS(SELECT 1 FROM limits l WHERE {others} EXISTS(SELECT 1 FROM jobs j "
            f"{sql.force('jobs_status_due')} WHERE j.status = 'new' AND j.due_at = l.lane)), "
            "p.name, p.resumed_at IS NULL "
            "FROM (SELECT 1 AS one) AS one_row LEFT JOIN paused_jobs p ON 1 = 1",
            limits,
        )
        now, has_due, has_expired, has_strays, *_ = rows[0]
        paused, resumed = (
            tuple(name for *_, name, is_paused in rows if name is not None and bool(is_paused) is wanted)
            for wanted in (True, False)
        )
        return Poll(now, bool(has_due), bool(has_expired), paused, resumed, bool(has_strays), bool(limits))

    def claim(
        self,
        claim: str,
        limit: int,
        lease_seconds: float,
        due_by: Any = None,
        paused: Collection[str] = (),
        lanes: Mapping[str, datetime] | None = None,
    ) -> Claimed:
        """`new` -> `inprogress`, oldest due first; rows that another claim has locked are skipped, never waited for.

        `claim`: a new UUID for this transaction. `due_by`: a moment of `poll`; None: the database's now. `paused`:
        the names to leave alone. A list of constants: claims stay one range of the index, in its order. `lanes`: of the
        names that need a permit, where they wait for it; of these only jobs past their answer_by are claimed.
        """
        sql = dialect()
        others = f"AND name NOT IN ({marks(paused)}) " if paused else ""
        columns = f"id, name, COALESCE(answer_by <= {sql.now}, 0)" if lanes else "id"
        with transaction.atomic(savepoint=False):
            rows = fetch_all(
                f"SELECT {columns} FROM jobs {sql.force('jobs_status_due')} WHERE status = 'new' AND due_at <= "
                f"{sql.now if due_by is None else '%s'} {others}ORDER BY due_at, id LIMIT %s {sql.skip_locked}",
                [*([] if due_by is None else [due_by]), *paused, limit],
            )
            ids = self._into_lanes(rows, lanes) if lanes else [row[0] for row in rows]
            if ids:
                claim_locked(ids, claim, lease_seconds)
        return Claimed(ids, len(rows))

    def _into_lanes(self, rows: Sequence[tuple[int, str, bool]], lanes: Mapping[str, datetime]) -> list[int]:
        """Out of the claims' way goes what needs a permit; returns the others. The rows are locked."""
        put_off: dict[datetime, list[int]] = {}
        for id_, name, is_unanswered in rows:
            if name in lanes and not is_unanswered:
                put_off.setdefault(lanes[name], []).append(id_)
        for lane, ids in put_off.items():
            execute(f"UPDATE jobs {dialect().by_id} SET due_at = {literal(lane)} WHERE id IN ({numbers(ids)})")
        others = {id_ for id_, *_ in rows}.difference(*put_off.values())
        return [id_ for id_, *_ in rows if id_ in others]

    def won_by(self, claim: str) -> list[int]:
        """What carries this claim: so a claim whose COMMIT was lost learns what it won."""
        won = self.filter(status=JobStatus.INPROGRESS, claimed_by=claim)
        return list(won.order_by("due_at", "id").values_list("id", flat=True))

    def with_requests(self, claim: str, ids: Collection[int]) -> list[tuple[ClaimedJob, CallbackInput]]:
        """Claimed jobs in the order of `ids`, with what their requests say; read after the claim is committed."""
        places = {id_: place for place, id_ in enumerate(ids)}
        found = self._with_requests(claim, dialect().by_id, f"j.id IN ({numbers(ids)})")
        return sorted(found, key=lambda one: places[one[0].id])

    def inserted_with_requests(
        self, claim: str, steps: Iterable[tuple[int, int]]
    ) -> list[tuple[ClaimedJob, CallbackInput]]:
        """As `with_requests`, of what was claimed as it was inserted, by id. `steps`: (request id, step) of each."""
        index = dialect().force("jobs_attempt")
        return sorted(self._with_requests(claim, index, f"({of_steps(steps, 'j')})"))

    def _with_requests(self, claim: str, index: str, where: str) -> list[tuple[ClaimedJob, CallbackInput]]:
        """In any order: to sort them a server would copy every request's params and extras into a table of its own."""
        rows = fetch_all(
            f"SELECT {_columns(ClaimedJob._fields)}, {_columns(CallbackInput._fields)} FROM jobs j {index} "
            f"JOIN requests r {dialect().by_id} ON r.id = j.request_id "
            f"WHERE {where} AND j.claimed_by = %s",
            [claim],
        )
        width = len(ClaimedJob._fields)
        return [(ClaimedJob._make(row[:width]), CallbackInput._make(row[width:])) for row in rows]

    def texts_of_request(self, id_: int) -> tuple[str, str]:
        """Params and extras of a request, however large; those of one that was purged meanwhile are empty."""
        rows = fetch_all("SELECT params, extras FROM requests WHERE id = %s", [id_])
        params, extras = rows[0] if rows else ("{}", "{}")
        return params, extras

    def claim_waiting(self, claim: str, ids: Collection[int]) -> list[int]:
        """`new` and waiting -> `inprogress`, so that an answer ends them; in the transaction that records it.

        They began when their callback was called, if it is known: handing back forgets it. Under their requests' locks.
        What another session has locked is left out.
        """
        free = [*lock_jobs(ids, "status = 'new' AND answer_by IS NOT NULL")]
        if free:
            sql = dialect()
            execute(
                f"UPDATE jobs {sql.by_id} SET status = 'inprogress', claimed_by = %s, "
                f"started_at = COALESCE(started_at, {sql.now}), lease_until = {sql.now_plus} "
                f"WHERE id IN ({numbers(free)})",
                [claim, _LEASE_OF_WAITING_SECONDS],
            )
        return free

    def wait_on(self, claim: str) -> None:
        """What `claim_waiting` has claimed and no answer has ended waits on; in the same transaction."""
        self.filter(status=JobStatus.INPROGRESS, claimed_by=claim).update(
            status=JobStatus.NEW, claimed_by=None, lease_until=None
        )

    def renew(self, owned: Collection[ClaimedJob], lease_seconds: float) -> set[int]:
        """Leases again what this process holds in memory: by id and claim, never by the process's name.

        Returns the ids that it won; a row that another session has locked is left to the next renewal.
        """
        sql, claims = dialect(), {job.claim for job in owned}
        guard = f"status = 'inprogress' AND claimed_by IN ({marks(claims)})"
        with transaction.atomic(savepoint=False):
            if ours := lock_jobs([job.id for job in owned], guard, [*claims]):
                execute(
                    f"UPDATE jobs {sql.by_id} SET lease_until = {sql.now_plus} WHERE id IN ({numbers(ours)})",
                    [lease_seconds],
                )
        return {*ours}

    def lease_expired(self, limit: int) -> list[ClaimedJob]:
        """Jobs whose holder fell silent, whatever their request's status. Read without locks: `record` guards again."""
        sql = dialect()
        rows = fetch_all(
            f"SELECT {_columns(ClaimedJob._fields)} FROM jobs j {sql.force('jobs_status_lease')} "
            "LEFT JOIN requests r ON r.id = j.request_id "
            f"WHERE j.status = 'inprogress' AND j.lease_until < {sql.now} ORDER BY j.lease_until, j.id LIMIT %s",
            [limit],
        )
        return [*map(ClaimedJob._make, rows)]


def claim_locked(ids: Collection[int], claim: str, lease_seconds: float) -> None:
    """`new` -> `inprogress` of rows that this transaction has found and locked."""
    sql = dialect()
    execute(
        f"UPDATE jobs {sql.by_id} SET status = 'inprogress', claimed_by = %s, started_at = {sql.now}, "
        f"lease_until = {sql.now_plus} WHERE id IN ({numbers(ids)}) AND status = 'new'",
        [claim, lease_seconds],
    )


def _columns(fields: Iterable[str]) -> str:
    """What a SELECT from `jobs` j and `requests` r lists to fill these fields, in their order."""
    sql = dialect()
    columns = _COLUMNS | {
        "waited_microseconds": sql.microseconds.format("j.due_at", "j.started_at"),
        "unanswered_seconds": f"CASE WHEN j.answer_by <= {sql.now} THEN COALESCE(j.answer_within, 0) END",
    }
    return ", ".join(columns.get(field, f"j.{field}") for field in fields)
