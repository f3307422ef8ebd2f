"""The one UPDATE by which a request changes its status: only rows that still have the status that was read."""

from collections.abc import Collection
from typing import Any

from jobs_app.db.dialect import dialect, numbers
from jobs_app.db.statements import execute


def update_guarded(assignments: str, values: list[Any], ids: Collection[int], status: str) -> int:
    """Updates the requests of these ids whose status it is; returns how many rows it won."""
    if not ids:
        return 0
    return execute(
        f"UPDATE requests {dialect().by_id} SET {assignments} WHERE id IN ({numbers(sorted(ids))}) AND status = %s",
        [*values, status],
    )
