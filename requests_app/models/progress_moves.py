"""The moves of requests in progress: scan, advance, complete, fail. Part of RequestQuerySet (request.py)."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from django.db import models

from jobs_app.db.dialect import case, dialect
from jobs_app.db.statements import fetch_all
from requests_app.models.guarded_update import end_failed, update_guarded
from requests_app.models.receipt_moves import RECEIPT_IS_DUE

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one


class Position(NamedTuple):
    """A request's place among those of its status. `due_at` as the driver gives it (`Dialect.exact`)."""

    due_at: Any
    id: int


class Page(NamedTuple):
    """Requests in progress. `settled`: those whose current step has no open job. `last`: None when no more follow."""

    settled: list[int]
    last: Position | None


class ProgressMoves(models.QuerySet[Row]):
    def scan_in_progress(self, limit: int, after: Position | None = None) -> Page:
        """So many requests in progress, oldest first. Read without locks: who moves them on guards again."""
        sql = dialect()
        due_at = sql.exact.format("due_at")
        further = "AND (due_at > %s OR (due_at = %s AND id > %s)) " if after else ""
        rows = fetch_all(
            # Not in WHERE: MariaDB would turn EXISTS into a table of its own, made from all jobs, at every scan.
            f"SELECT {due_at}, id, NOT EXISTS "
            f"(SELECT 1 FROM jobs j {sql.force('jobs_attempt')} WHERE j.request_id = r.id AND j.step = r.step "
            "AND j.status IN ('new', 'inprogress')) "
            f"FROM requests r {sql.force('requests_status_due')} WHERE status = 'Inprogress' {further}"
            "ORDER BY due_at, id LIMIT %s",
            [*((after.due_at, *after) if after else ()), limit],
        )
        settled = [id_ for _, id_, is_settled in rows if is_settled]
        return Page(settled, Position(*rows[-1][:2]) if len(rows) == limit else None)

    def advance(self, ids: Collection[int], short: Mapping[int, int]) -> int:
        """To the next step. The caller holds the requests' locks and inserts the step's jobs.

        `short`: by request id, how many jobs of the step failed and are gone on without.
        """
        return _leave_step("step = step + 1", ids, short)

    def complete(self, ids: Collection[int], short: Mapping[int, int]) -> int:
        """`Inprogress` -> `Completed`, under their locks. `short`: as of `advance`."""
        now = dialect().now
        return _leave_step(f"status = 'Completed', completed_at = {now}, {RECEIPT_IS_DUE}", ids, short)

    def fail(self, errors: Mapping[int, str]) -> int:
        """`Inprogress` -> `Failed`, each with its reason, under their locks."""
        return end_failed(errors, "Inprogress")


def _leave_step(assignments: str, ids: Collection[int], short: Mapping[int, int]) -> int:
    more = f", shortfall = shortfall + {case(short, '0')}" if short else ""
    return update_guarded(f"{assignments}{more}", [*short.values()], ids, "Inprogress")
