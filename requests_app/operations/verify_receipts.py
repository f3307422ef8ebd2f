"""Checks the chain of receipts, of the table or of an export: which was changed, removed, inserted or moved.

It reads window by window and changes nothing.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from django.db import DEFAULT_DB_ALIAS

from jobs_app.db.transactions import RECONNECT_SECONDS, run_transaction
from jobs_app.printable import one_line
from requests_app.models import Receipt, ReceiptHead
from requests_app.models.receipt import GENESIS, ReceiptRow
from requests_app.operations.snapshot import snapshot

_WINDOW = 200


@dataclass(frozen=True, slots=True)
class ReceiptFault:
    """What is wrong with one receipt, or with a place where some should stand."""

    what: str
    id: int | None = None
    token: str = ""

    def __str__(self) -> str:
        named = f" {self.id}" if self.id is not None else "s"
        return f"receipt{named}{f' (request {one_line(str(self.token))})' if self.token else ''}: {self.what}"


class Chain:
    """Is given the rows one after another; returns what is wrong with each.

    `last_id`, `digest`: of the receipt behind which it begins. None: the first row's number and link are believed.
    """

    def __init__(self, last_id: int | None = 0, digest: str | None = GENESIS) -> None:
        self.count = 0
        self.last_id, self.digest = last_id, digest
        self._digest_before: str | None = None
        self._token = ""

    def faults_of(self, row: ReceiptRow) -> Iterator[ReceiptFault]:
        if not row.is_as_written():
            yield ReceiptFault("it was changed: its digest is not that of what stands in it", row.id, row.token)
        self.count += 1
        if self.last_id is not None and row.id <= self.last_id:
            yield ReceiptFault(f"it stands behind receipt {self.last_id}: moved or doubled", row.id, row.token)
            return
        if self.last_id is not None and row.id > self.last_id + 1:
            yield ReceiptFault(f"{_numbers(self.last_id + 1, row.id - 1)} removed")
        elif self.digest not in {None, row.previous_digest}:
            yield self._broken_link(row)
        self._digest_before = self.digest
        self.last_id, self.digest, self._token = row.id, row.digest, row.token

    def faults_of_end(self, last_id: int, digest: str) -> Iterator[ReceiptFault]:
        """Against what `receipt_head` says."""
        own = self.last_id or 0
        if own < last_id:
            yield ReceiptFault(f"{_numbers(own + 1, last_id)} removed from the end of the chain")
        elif own > last_id and self.count:
            yield ReceiptFault(f"{_numbers(last_id + 1, own)} inserted behind the end of the chain, which is {last_id}")
        elif own == last_id and self.digest not in {None, digest}:
            yield ReceiptFault("it is the last one, and receipt_head has another digest", own, self._token)

    def _broken_link(self, row: ReceiptRow) -> ReceiptFault:
        if row.previous_digest == self._digest_before:
            return ReceiptFault(f"it was inserted: receipt {row.id} does not follow it", self.last_id, self._token)
        what = f"it does not follow receipt {row.id - 1}: that one was written anew, or this one was"
        return ReceiptFault(what if self._digest_before else "it is not the first one", row.id, row.token)


def faults_of_table(
    counted: Callable[[int], None] = lambda _: None, first: int = 1, using: str = DEFAULT_DB_ALIAS
) -> Iterator[ReceiptFault]:
    """From the receipt `first` on to the end of the chain. `counted`: is called after each window with its rows."""
    after, chain, is_last = first - 1, Chain(), False
    if after:
        before = run_transaction(partial(_one, after, using), seconds=RECONNECT_SECONDS)
        chain = Chain(after, before.digest if before else None)
    while not is_last:
        rows, head = run_transaction(partial(_window, after, using), seconds=RECONNECT_SECONDS)
        for row in rows:
            yield from chain.faults_of(row)
        after, is_last = rows[-1].id if rows else after, len(rows) < _WINDOW
        counted(len(rows))
        if is_last and head:
            yield from chain.faults_of_end(*head)
        elif is_last and chain.count:
            yield ReceiptFault("the row of receipt_head was removed")


def faults_of_export(lines: Iterable[str]) -> Iterator[ReceiptFault]:
    """Of an export in itself; and what of it the table does not have, as after the restore of a backup.

    Raises ValueError with a sentence.
    """
    given, chain = iter(lines), Chain(None, None)
    while window := list(islice(given, _WINDOW)):
        rows = [read_line(line) for line in window if line.strip()]
        for row in rows:
            yield from chain.faults_of(row)
        kept = run_transaction(partial(_digests, [row.id for row in rows]), seconds=RECONNECT_SECONDS)
        for row in rows:
            if row.id not in kept:
                gone = "the table does not have it: removed, or lost with a restored backup"
                yield ReceiptFault(gone, row.id, row.token)
            elif kept[row.id] != row.digest:
                yield ReceiptFault("the table has another one in its place", row.id, row.token)


# Lines of an export ---------------------------------------------------------------------------------------------------
def as_line(row: ReceiptRow) -> str:
    return json.dumps(row._asdict())


def read_line(line: str) -> ReceiptRow:
    """Raises ValueError with a sentence."""
    try:
        value = json.loads(line)
        row = ReceiptRow(**{name: value[name] for name in ReceiptRow._fields})
    except (KeyError, RecursionError, TypeError, ValueError):
        row = None
    texts = [] if row is None else [text for name, text in row._asdict().items() if name not in {"id", "body"}]
    if row is None or type(row.id) is not int or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"not a receipt as `receipt --json` writes it: {one_line(line.strip())[:80]}")
    return row


def _digests(ids: Sequence[int]) -> dict[int, str]:
    return dict(Receipt.objects.filter(id__in=ids).values_list("id", "digest"))


def _one(id_: int, using: str) -> ReceiptRow | None:
    return next(iter(Receipt.objects.using(using).page(id_ - 1, 1, last=id_)), None)


def _window(after: int, using: str) -> tuple[list[ReceiptRow], tuple[int, str] | None]:
    """The next rows, and the head, as both stood at one moment."""
    with snapshot(using):
        rows = Receipt.objects.using(using).page(after, _WINDOW)
        return rows, ReceiptHead.objects.using(using).values_list("last_id", "digest").first()


def _numbers(first: int, last: int) -> str:
    return f"receipt {first} was" if first == last else f"receipts {first} to {last} were"
