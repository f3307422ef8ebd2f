"""Which requests are to get a receipt: the column `receipt`. Part of RequestQuerySet (request.py).

It is set in the UPDATEs that start and end a request, so that no move costs a statement more.
"""

from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

from django.db import models

from jobs_app.db.dialect import dialect, numbers
from jobs_app.db.statements import fetch_all
from requests_app.recipes.steps import MAX_STEPS_BYTES

Row = TypeVar("Row", bound=models.Model)  # Request, whose file imports this one


class ReceiptState(models.IntegerChoices):
    NONE = 0, "none"
    WANTED = 1, "wanted"  # by the recipe, since its pick-up
    DUE = 2, "due"  # it has ended
    WRITTEN = 3, "written"


# For the SET of what ends a request, and of what takes it up again: its next end gets another receipt.
RECEIPT_IS_DUE = f"receipt = CASE WHEN receipt = {ReceiptState.WANTED} THEN {ReceiptState.DUE} ELSE receipt END"
RECEIPT_IS_WANTED_AGAIN = (
    f"receipt = CASE WHEN receipt = {ReceiptState.NONE} THEN {ReceiptState.NONE} ELSE {ReceiptState.WANTED} END"
)


class EndedRequest(NamedTuple):
    """As read under its lock. Moments: as the driver gives them. `steps`: None when NULL, or too long to read."""

    id: int
    token: str
    action: str
    subject: str
    status: str
    shortfall: int
    steps: str | None
    created_at: Any
    started_at: Any
    completed_at: Any


class ReceiptMoves(models.QuerySet[Row]):
    def receipts_due(self, limit: int, after: int = 0) -> list[tuple[int, int]]:
        """(id, how many rows of jobs) of so many requests above `after`, by id. Read without locks."""
        return fetch_all(
            "SELECT id, (SELECT COUNT(*) FROM jobs j WHERE j.request_id = r.id) "
            f"FROM requests r {dialect().force('requests_receipt')} WHERE receipt = {ReceiptState.DUE} AND id > %s "
            "ORDER BY id LIMIT %s",
            [after, limit],
        )

    # Moves -----------------------------------------------------------------------------------------------------------
    def lock_for_receipt(self, ids: Collection[int]) -> list[EndedRequest]:
        """Which of them still lack their receipt, locked by id; what another session holds is left out."""
        sql = dialect()
        rows = fetch_all(
            "SELECT id, token, action, subject, status, shortfall, "
            f"CASE WHEN LENGTH(steps) <= {MAX_STEPS_BYTES} THEN steps END, created_at, started_at, completed_at "
            f"FROM requests {sql.by_id} WHERE id IN ({numbers(sorted(ids))}) AND receipt = {ReceiptState.DUE} "
            f"ORDER BY id {sql.skip_locked}"
        )
        return [EndedRequest(*row) for row in rows]

    def receipt_written(self, ids: Collection[int]) -> int:
        """In the transaction that inserts the receipts, under the requests' locks."""
        return self.filter(id__in=ids, receipt=ReceiptState.DUE).update(receipt=ReceiptState.WRITTEN)
