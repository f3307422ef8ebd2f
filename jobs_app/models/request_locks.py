"""The locks of requests, which every transaction takes before it touches their jobs: docs/moves.md, "Locks"."""

from collections.abc import Collection

from jobs_app.db.dialect import dialect, numbers
from jobs_app.db.statements import fetch_all
from jobs_app.models.attempts import MAX_STEPS_BYTES, LockedRequest


def lock_requests(ids: Collection[int], *, with_extras: bool = False) -> dict[int, LockedRequest]:
    """Locks them by id ascending, whatever their status, until the caller's transaction ends.

    Those that another transaction has locked are left out, never waited for: one held row is not to stop the others.
    """
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
