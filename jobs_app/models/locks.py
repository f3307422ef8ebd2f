"""The locks of requests and of jobs, each by id ascending, requests before jobs: docs/moves.md, "Locks".

What another session has locked is left out, never waited for: one held row is not to stop the others.
"""

from collections.abc import Collection, Sequence
from typing import Any

from jobs_app.db.dialect import dialect, numbers
from jobs_app.db.statements import fetch_all
from jobs_app.models.attempts import MAX_STEPS_BYTES, LockedRequest


def lock_requests(ids: Collection[int], *, with_extras: bool = False) -> dict[int, LockedRequest]:
    """Whatever their status, until the caller's transaction ends."""
    if not ids:
        return {}
    sql = dialect()
    rows = fetch_all(
        f"SELECT id, token, action, status, step, CASE WHEN LENGTH(steps) <= {MAX_STEPS_BYTES} THEN steps END, "
        f"shortfall, {'extras' if with_extras else 'NULL'}, notify "
        f"FROM requests {sql.by_id} WHERE id IN ({numbers(sorted(ids))}) "
        f"ORDER BY id {sql.skip_locked}"
    )
    return {row[0]: LockedRequest._make(row) for row in rows}


def lock_jobs(ids: Collection[int], guard: str, values: Sequence[Any] = ()) -> dict[int, str | None]:
    """Those for which the guard (SQL with its values) holds, until the caller's transaction ends: id -> claim."""
    if not ids:
        return {}
    sql = dialect()
    rows = fetch_all(
        f"SELECT id, claimed_by FROM jobs {sql.by_id} WHERE id IN ({numbers(sorted(ids))}) AND {guard} "
        f"ORDER BY id {sql.skip_locked}",
        values,
    )
    return dict(rows)
