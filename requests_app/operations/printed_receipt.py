"""A receipt for people: as text, and as one page to print that needs nothing from elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.template.loader import render_to_string

from jobs_app.printable import one_line
from requests_app.formatting import short_by
from requests_app.models.receipt import ReceiptRow

AS_WRITTEN = "The digest is that of what stands here."
CHANGED = "CHANGED: the digest is not that of what stands here; somebody changed this receipt after it was written."


@dataclass(frozen=True, slots=True)
class PrintedAttempt:
    number: int
    status: str
    started_at: str  # "-" where no service was called
    ended_at: str


@dataclass(frozen=True, slots=True)
class PrintedJob:
    """`status`: how its last attempt ended."""

    name: str
    status: str
    attempts: Sequence[PrintedAttempt]


@dataclass(frozen=True, slots=True)
class PrintedStep:
    name: str
    jobs: Sequence[PrintedJob]


@dataclass(slots=True)
class PrintedReceipt:
    """`fault`: its body cannot be read, so that nobody of ours wrote it."""

    row: ReceiptRow
    is_as_written: bool
    verdict: str
    times: Sequence[tuple[str, str]] = ()
    short: str = ""
    steps: Sequence[PrintedStep] = ()
    by_hand: Sequence[Sequence[str]] = ()
    fault: str = ""
    about: Sequence[tuple[str, str]] = field(default_factory=list)


def printed(row: ReceiptRow, shown: Callable[[str], str] = str) -> PrintedReceipt:
    is_as_written = row.is_as_written()
    receipt = PrintedReceipt(row, is_as_written, AS_WRITTEN if is_as_written else CHANGED)
    receipt.about = [
        *(("request", row.token), ("action", row.action), ("status", row.status)),
        *([("subject", shown(row.subject))] if row.subject else []),
    ]
    try:
        _read_body(receipt, row.body)
    except (AttributeError, KeyError, TypeError, ValueError):
        receipt.fault = "What it says of the jobs cannot be read."
    return receipt


def _read_body(receipt: PrintedReceipt, body: Any) -> None:
    row = receipt.row
    moments = [
        *(("placed", body["created_at"]), ("started", body["started_at"]), ("ended", row.ended_at)),
        ("written", row.created_at),
    ]
    receipt.times = [(word, _clock(moment)) for word, moment in moments if moment]
    receipt.short = short_by(body["shortfall"]) if body["shortfall"] else ""
    receipt.steps = [
        PrintedStep(str(step["name"]), [_job(job["name"], job["attempts"]) for job in step["jobs"]])
        for step in body["steps"]
    ]
    receipt.by_hand = [
        (_clock(one["at"]), str(one["verb"]), str(one["job"]), str(one["by"])) for one in body["by_hand"]
    ]


def _job(name: str, attempts: Sequence[Any]) -> PrintedJob:
    lines = [
        PrintedAttempt(
            one["attempt"],
            f"{one['status']}{' by hand' if one['by_hand'] else ''}",
            _clock(None if one["by_hand"] else one["started_at"]),
            _clock(one["ended_at"]),
        )
        for one in attempts
    ]
    return PrintedJob(name, lines[-1].status if lines else "never begun", lines)


def _clock(moment: str | None) -> str:
    """To the second; the digest's own text is to the microsecond."""
    return f"{moment[:10]} {moment[11:19]}" if moment else "-"


# As text --------------------------------------------------------------------------------------------------------------
def as_text(row: ReceiptRow) -> str:
    return "\n".join(one_line(line) for line in _lines(printed(row)))


def _lines(receipt: PrintedReceipt) -> Iterator[str]:
    row = receipt.row
    yield f"receipt {row.id}"
    for word, value in receipt.about:
        yield f"  {word:<8} {value}"
    for word, moment in receipt.times:
        yield f"  {word:<8} {moment} UTC"
    if receipt.short:
        yield f"  {receipt.short}"
    if receipt.fault:
        yield receipt.fault
    for index, step in enumerate(receipt.steps):
        yield f"step {index}  {step.name}".rstrip()
        for job in step.jobs:
            yield f"  {job.name}  {job.status}"
            for one in job.attempts:
                yield f"    attempt {one.number:<3} {one.status:<17} began {one.started_at}  ended {one.ended_at}"
    if receipt.by_hand:
        yield "by hand"
    for at, verb, name, by in receipt.by_hand:
        yield f"  {at}  {' '.join(filter(None, (verb, name)))}  {by}"
    yield f"digest   {row.digest}"
    yield f"follows  {row.previous_digest}"
    yield receipt.verdict


# As a page ------------------------------------------------------------------------------------------------------------
def as_page(rows: Sequence[ReceiptRow], nonce: str = "", shown: Callable[[str], str] = str) -> str:
    """`nonce`: for a page that is served under a content security policy. `shown`: how a subject is to be shown."""
    receipts = [printed(row, shown) for row in rows]
    return render_to_string("requests_app/receipt.html", {"receipts": receipts, "nonce": nonce})
