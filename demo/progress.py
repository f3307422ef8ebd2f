"""What the demo shows: reads the two tables as any SQL client would, and draws."""

import shutil
import sqlite3
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

BAR = 24
FINAL = {"Completed", "Failed", "Cancelled"}
COLUMNS = "{:36}  {:13}  {:>4}  {:10}  {:>8}"


@dataclass(frozen=True, slots=True)
class Placed:
    """One request of the demo as it stands in the table."""

    token: str
    action: str
    user: int
    status: str
    error: str
    step: str  # "2/2 delete_user_accounts"
    jobs_done: int
    jobs: int  # of the current step
    attempts: int
    retries: tuple[str, ...]  # "service2_delete_user, attempt 1: ..."
    waits: tuple["Waiting", ...]
    gone_on_without: tuple[str, ...]  # "newsletter_unsubscribe: ..."


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits for an answer, or waited for one."""

    job: str
    waits_for: str
    until: str | None  # "12:30:05 UTC"; None: it waits no more
    seconds: float  # how long it waited


def read(database: Path) -> list[Placed]:
    """All requests, in the order they were placed."""
    connection = sqlite3.connect(database, timeout=10)
    try:
        return [_placed(connection, *row) for row in connection.execute(_REQUESTS)]
    finally:
        connection.close()


_REQUESTS = """
    SELECT id, token, action, coalesce(params ->> '$.id', 0), status, error, step,
           coalesce(json_array_length(steps), 0), coalesce(steps ->> ('$[' || step || '].name'), '')
    FROM requests ORDER BY id
"""
_JOBS = """
    SELECT count(DISTINCT CASE WHEN step = :step THEN name END),
           count(DISTINCT CASE WHEN step = :step AND status = 'completed' THEN name END),
           count(CASE WHEN started_at IS NOT NULL OR checks > 0 THEN 1 END)
    FROM jobs WHERE request_id = :request
"""
_WAITS = """
    SELECT name, waits_for, CASE WHEN status = 'new' THEN strftime('%H:%M:%S UTC', answer_by) END,
           86400 * (julianday(coalesce(completed_at, 'now')) - julianday(created_at))
    FROM jobs WHERE request_id = ? AND checks > 0 ORDER BY id
"""
_GONE_ON_WITHOUT = """
    SELECT name, error FROM jobs WHERE request_id = ? AND status = 'failure' AND if_fails = 'continue' ORDER BY id
"""
_RETRIES = "SELECT name, attempt, error FROM jobs WHERE request_id = ? AND status = 'retry' ORDER BY id"


def _placed(
    connection: sqlite3.Connection,
    request: int,
    token: str,
    action: str,
    user: int,
    status: str,
    error: str,
    step: int,
    steps: int,
    step_name: str,
) -> Placed:
    jobs, done, attempts = connection.execute(_JOBS, {"request": request, "step": step}).fetchone()
    retries = tuple(
        f"{name}, attempt {attempt}: {first_line(why)}"
        for name, attempt, why in connection.execute(_RETRIES, (request,))
    )
    waits = tuple(Waiting(*row) for row in connection.execute(_WAITS, (request,)))
    gone_on_without = tuple(
        f"{name}: {first_line(why)}" for name, why in connection.execute(_GONE_ON_WITHOUT, (request,))
    )
    where = f"{step + 1}/{steps} {step_name}" if steps else ""
    return Placed(token, action, user, status, error, where, done, jobs, attempts, retries, waits, gone_on_without)


def first_line(text: str) -> str:
    return text.partition("\n")[0]


class Display:
    """Lines that stay, and under them, in a terminal, a picture of all requests that is drawn again and again."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._live = sys.stdout.isatty()
        self._drawn = 0
        self._began = time.monotonic()
        self._told: set[str] = set()

    def is_new(self, event: str) -> bool:
        """The first time that it is asked of this event."""
        known = event in self._told
        self._told.add(event)
        return not known

    def say(self, line: str) -> None:
        """A line that stays."""
        self.clear()
        print(line, flush=True)

    def draw(self, doing: str) -> None:
        """The picture as the tables are now."""
        if not self._live:
            return
        requests = read(self._database)
        final = sum(request.status in FINAL for request in requests)
        filled = BAR * final // max(1, len(requests))
        bar = f"[{'#' * filled}{'.' * (BAR - filled)}] {final} of {len(requests)} final"
        lines = ["", f"  {bar}   {time.monotonic() - self._began:.1f} s   {doing}", *map(_line, requests)]
        width = shutil.get_terminal_size().columns - 1
        self.clear()
        print("\n".join(line[:width] for line in lines), flush=True)
        self._drawn = len(lines)

    def clear(self) -> None:
        if self._drawn:
            print(f"\033[{self._drawn}A\033[J", end="")  # up, and clear to the end of the screen
            self._drawn = 0


def _line(request: Placed) -> str:
    doing = f"{request.step}, {request.jobs_done} of {request.jobs} done" if request.status == "Inprogress" else ""
    again = f"  (retried: {len(request.retries)})" if request.retries else ""
    waits = "".join(f"  waits for {wait.waits_for}" for wait in request.waits if wait.until)
    return f"    {request.action:13} user {request.user:>2}   {request.status:10}  {doing}{again}{waits}".rstrip()


def table(requests: list[Placed]) -> str:
    """How each request ended, and under it what happened on the way, if anything did."""
    lines = [COLUMNS.format("TOKEN", "ACTION", "USER", "STATUS", "ATTEMPTS")]
    for request in requests:
        lines.append(COLUMNS.format(request.token, request.action, request.user, request.status, request.attempts))
        lines += [_note("retried", retry) for retry in request.retries]
        lines += [_note("waited", f"{wait.job}, {wait.seconds:.1f} s for {wait.waits_for}") for wait in request.waits]
        lines += [_note("without", job) for job in request.gone_on_without]
        lines += [_note(request.status.lower(), first_line(request.error))] if request.error else []
    return "\n".join(lines)


def _note(label: str, text: str) -> str:
    return textwrap.fill(
        f"{label + ':':10} {text}",
        width=max(60, shutil.get_terminal_size((100, 24)).columns - 1),
        initial_indent=" " * 4,
        subsequent_indent=" " * 15,
        break_long_words=False,
        break_on_hyphens=False,
    )
