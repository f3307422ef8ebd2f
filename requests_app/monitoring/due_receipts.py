"""Requests that have ended and whose receipt is not written yet: how many, and how long the next ones wait."""

from datetime import datetime
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import dialect, from_driver
from jobs_app.db.statements import fetch_all
from requests_app.models.receipt_moves import ReceiptState

MOST_DUE = 50_000  # entries of an index; about 8 ms
_MOST_READ = 1_000  # rows, of those that are written next


class DueReceipts(NamedTuple):
    """`since`: when the first of those that are written next ended; None when none is due."""

    due: int
    since: datetime | None
    now: datetime


def read_due_receipts(connection: BaseDatabaseWrapper) -> DueReceipts:
    """One statement. Receipts are written in the order of requests' ids: the first of these have waited the longest."""
    sql = dialect()
    those = f"requests {sql.force('requests_receipt')} WHERE receipt = {ReceiptState.DUE}"
    [[due, since, now]] = fetch_all(
        f"SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM {those} LIMIT {MOST_DUE}) AS counted), "
        "(SELECT MIN(completed_at) FROM "
        f"(SELECT completed_at FROM {those} ORDER BY id LIMIT {_MOST_READ}) AS soonest), {sql.now}",
        on=connection,
    )
    return DueReceipts(due, from_driver(since) if since else None, from_driver(now))
