"""The UPDATE of the moves that change many requests at once: only rows that still have the status that was read."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from jobs_app.db.dialect import case, dialect, numbers
from jobs_app.db.statements import execute
from requests_app.models.fingerprints import error_kind
from requests_app.models.receipt_moves import RECEIPT_IS_DUE


def update_guarded(assignments: str, values: list[Any], ids: Collection[int], status: str) -> int:
    """Updates the requests of these ids whose status it is; returns how many rows it won."""
    if not ids:
        return 0
    return execute(
        f"UPDATE requests {dialect().by_id} SET {assignments} WHERE id IN ({numbers(sorted(ids))}) AND status = %s",
        [*values, status],
    )


def end_failed(errors: Mapping[int, str], status: str, more: str = "", values: Iterable[Any] = ()) -> int:
    """`status` -> `Failed`, each with its reason. `more`: assignments before, each with its comma, and their values."""
    return update_guarded(
        f"{more}status = 'Failed', error = {case(errors, 'error')}, error_kind = {case(errors)}, "
        f"completed_at = {dialect().now}, {RECEIPT_IS_DUE}",
        [*values, *errors.values(), *map(error_kind, errors.values())],
        [*errors],
        status,
    )
