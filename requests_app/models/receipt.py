"""The tables `receipts` and `receipt_head`: what proves how requests ended, each row chained to the one before it.

Rows are inserted by passes/receipts.py and never changed or deleted. Their `id` has no gaps: a missing number is a
row that somebody removed.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from django.db import models

from jobs_app.db.columns import ByteCharField, SqliteTypes
from jobs_app.db.dialect import dialect, from_driver, marks, numbers
from jobs_app.db.statements import execute, fetch_all

GENESIS = "0" * 64  # what the first receipt follows
_WINDOW = 200  # rows that are read at once


class ReceiptRow(NamedTuple):
    """A receipt as a value. Moments are texts (`utc_text`); `body` is what its JSON says, or the text if it is none."""

    id: int
    token: str
    action: str
    subject: str
    status: str
    ended_at: str
    body: Any
    digest: str
    previous_digest: str
    created_at: str

    def computed_digest(self) -> str:
        """SHA-256, in hex, of all other columns as JSON: keys sorted, no spaces, ASCII."""
        columns = {name: value for name, value in self._asdict().items() if name != "digest"}
        canonical = json.dumps(columns, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def is_as_written(self) -> bool:
        try:
            return self.computed_digest() == self.digest
        except (RecursionError, TypeError, ValueError):  # a body that nobody of ours wrote
            return False


_COLUMNS = ", ".join(ReceiptRow._fields)


class Head(NamedTuple):
    """The end of the chain, under the lock of its row. `next_id`: also behind rows that somebody else inserted.

    `now`: the database's clock, as its driver gives it.
    """

    digest: str
    next_id: int
    now: Any


class ReceiptQuerySet(models.QuerySet["Receipt"]):
    def append(self, rows: Sequence[tuple[ReceiptRow, Any, Any]]) -> None:
        """In one statement. With each row its moments `ended_at` and `created_at` as the driver gave them."""
        values = [
            value
            for row, ended_at, created_at in rows
            for value in row._replace(body=json.dumps(row.body), ended_at=ended_at, created_at=created_at)
        ]
        listed = ", ".join([f"({marks(ReceiptRow._fields)})"] * len(rows))
        execute(f"INSERT INTO receipts ({_COLUMNS}) VALUES {listed}", values)

    def page(self, after: int, limit: int = _WINDOW, last: int | None = None) -> list[ReceiptRow]:
        """So many above `after`, by id. In SQL of ours: what somebody wrote there may be nothing that a field reads."""
        until, values = ("AND id <= %s ", [last]) if last is not None else ("", [])
        return self._rows(f"id > %s {until}ORDER BY id LIMIT %s", [after, *values, limit])

    def of_token(self, token: str) -> list[ReceiptRow]:
        return self._rows("token = %s ORDER BY id", [token])

    def of_ids(self, ids: Sequence[int]) -> list[ReceiptRow]:
        return self._rows(f"id IN ({numbers(ids)}) ORDER BY id", [])

    def of_digest(self, digest: str) -> list[ReceiptRow]:
        return self._rows("digest = %s ORDER BY id", [digest])

    def written_between(self, start: datetime, end: datetime) -> Iterator[ReceiptRow]:
        """By id, in windows. They are neighbours in the chain, so that what is exported can be checked by itself."""
        within = self.filter(created_at__gte=start, created_at__lt=end)
        ids = within.aggregate(first=models.Min("id"), last=models.Max("id"))
        after = (ids["first"] or 1) - 1
        while ids["last"] and (page := self.page(after, last=ids["last"])):
            yield from page
            after = page[-1].id

    def _rows(self, where: str, values: list[Any]) -> list[ReceiptRow]:
        return [_row(columns) for columns in fetch_all(f"SELECT {_COLUMNS} FROM receipts WHERE {where}", values)]


class ReceiptHeadQuerySet(models.QuerySet["ReceiptHead"]):
    def lock(self) -> Head | None:
        """Who holds it is the only one that adds to the chain. None: another process does; or `open` is to make it."""
        sql = dialect()
        rows = fetch_all(f"SELECT digest, last_id, {sql.now} FROM receipt_head WHERE id = 1 {sql.skip_locked}")
        if not rows:
            return None
        [(digest, last_id, now)] = rows
        highest = Receipt.objects.aggregate(id=models.Max("id"))["id"] or 0
        return Head(digest, max(last_id, highest) + 1, now)

    def move(self, last: ReceiptRow) -> None:
        self.update(last_id=last.id, digest=last.digest)

    def open(self) -> bool:
        """So that `lock` finds a row; returns whether there was none. A transaction of its own: nobody is to wait."""
        if self.exists():
            return False
        last = Receipt.objects.order_by("-id").values_list("id", "digest").first()
        last_id, digest = last or (0, GENESIS)
        self.bulk_create([ReceiptHead(id=1, last_id=last_id, digest=digest)], ignore_conflicts=True)
        return True


class Receipt(models.Model):
    """How one request ended, and what was done for it: docs/receipts.md tells what its body holds, and what never.

    `subject`: as the request had it. `created_at`: when it was written, after the end.
    """

    id = models.BigIntegerField(primary_key=True)  # given by us, without gaps
    token = ByteCharField(max_length=64)
    action = ByteCharField(max_length=100)
    subject = ByteCharField(max_length=100, blank=True, db_default="")
    status = ByteCharField(max_length=10)
    ended_at = models.DateTimeField()
    body = models.JSONField()
    digest = ByteCharField(max_length=64)
    previous_digest = ByteCharField(max_length=64)
    created_at = models.DateTimeField()

    objects: ClassVar[ReceiptQuerySet] = ReceiptQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "receipts"
        indexes: ClassVar = [
            models.Index(fields=["token", "id"], name="receipts_token"),
            models.Index(fields=["subject", "id"], name="receipts_subject"),
            models.Index(fields=["digest"], name="receipts_digest"),
            models.Index(fields=["created_at", "id"], name="receipts_created_at"),
        ]
        constraints: ClassVar = [
            SqliteTypes(name="receipts_types", moments=("ended_at", "created_at"), integers=("id",)),
        ]

    def __str__(self) -> str:
        return f"receipt {self.id}"


class ReceiptHead(models.Model):
    """One row, of id 1: the last receipt. It shows when the end was cut off, and its lock lets one process write."""

    id = models.SmallIntegerField(primary_key=True)
    last_id = models.BigIntegerField()
    digest = ByteCharField(max_length=64)

    objects: ClassVar[ReceiptHeadQuerySet] = ReceiptHeadQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "receipt_head"

    def __str__(self) -> str:
        return f"receipts up to {self.last_id}"


def utc_text(moment: Any) -> str | None:
    """Of a moment as a driver gave it: RFC 3339, to the microsecond."""
    if moment is None:
        return None
    return f"{from_driver(moment).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _row(columns: Sequence[Any]) -> ReceiptRow:
    row = ReceiptRow._make(columns)
    ended_at, created_at = utc_text(row.ended_at) or "", utc_text(row.created_at) or ""
    return row._replace(ended_at=ended_at, body=read_body(row.body), created_at=created_at)


def read_body(text: Any) -> Any:
    try:
        return json.loads(text)
    except (RecursionError, TypeError, ValueError):
        return text
