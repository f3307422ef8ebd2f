"""A set of requests that ends in every way there is, the passes that bring it there, and what must be equal after it.

The jobs here answer by what they are, not by how often they were called before: so a run with a fault must come to the
same end as one without.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError, call_command
from django.db import connection

from demo.services import Services
from jobs_app.outcomes import Failure, JobContext, Json, Retry, Wait
from jobs_app.registry import job
from jobs_app.telemetry.tallies import JOBS_ENDED
from jobs_app.worker.lost_leases import LEASE_LOST
from requests_app.monitoring.counters import read_sums
from requests_app.monitoring.tallies import REQUESTS_ENDED, REQUESTS_STARTED
from tests.faults.shape import Shape, shape_of

Row = dict[str, Any]
TABLES = ("requests", "jobs", "interventions", "answers", "passes", "tallies")
PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
_MOST_ROUNDS = 15


# The jobs ------------------------------------------------------------------------------------------------------------
def done(context: JobContext) -> None:
    pass


def finds(context: JobContext) -> Json:
    return {context.name: "found"}


async def finds_async(context: JobContext) -> Json:
    return {context.name: "found"}


def refuses(context: JobContext) -> None:
    raise Failure("refused")


def second_time(context: JobContext) -> Json:
    if context.attempt < 2:
        raise Retry("not yet", after=0)
    return {context.name: "found"}


def never(context: JobContext) -> None:
    raise Retry("never")


def breaks(context: JobContext) -> None:
    raise ValueError("a bug")


def answers_a_list(context: JobContext) -> Any:
    return ["no", "mapping"]


def waits(context: JobContext) -> Json:
    """For what `Life.answer` answers."""
    raise Wait("an answer", within=3600)


def waits_in_vain(context: JobContext) -> Json:
    if context.attempt < 2:
        raise Wait("nobody", within=3600)
    return {context.name: "found"}


def looks_again(context: JobContext) -> Json:
    if not context.checks:
        raise Wait("an answer", within=3600, check_after=60)
    return {context.name: "found"}


def register_jobs() -> list[str]:
    """Registers them all, and answers their names."""
    plain = (done, refuses, second_time, answers_a_list, finds_async, looks_again, waits_in_vain)
    for callback in plain:
        job(callback.__name__, limit="life" if callback is done else None)(callback)
    for name in ("finds_1", "finds_2", "finds_3"):
        job(name)(finds)
    for name in ("waits", "asks_first", "waits_until_now"):
        job(name)(waits)
    for callback in (never, breaks):
        job(callback.__name__, max_attempts=2)(callback)
    others = ("finds_1", "finds_2", "finds_3", "waits", "asks_first", "waits_until_now", "never", "breaks")
    return [*(callback.__name__ for callback in plain), *others]


# The requests --------------------------------------------------------------------------------------------------------
def reaching(job: str, if_fails: str) -> dict[str, str]:
    return {"job": job, "if_fails": if_fails}


def steps(*jobs_of_steps: Sequence[str | dict[str, str]]) -> str:
    return json.dumps([{"name": f"step {number}", "jobs": list(jobs)} for number, jobs in enumerate(jobs_of_steps)])


# token -> action, params, steps
REQUESTS: dict[str, tuple[str, str, str | None]] = {
    "good": ("made up", "{}", steps(["finds_1", "finds_2"], ["done", "finds_3"])),
    # All `waits` jobs wait since before, see `Life.waiting_since_before`; `asks_first` do so first in these passes.
    "answered": ("made up", "{}", steps(["waits", "finds_1"], ["asks_first"])),
    "answered at the last moment": ("made up", "{}", steps(["waits_until_now"])),
    "not answered": ("made up", "{}", steps(["waits_in_vain"], ["finds_1"])),
    "refused by its answer": ("made up", "{}", steps(["waits", "asks_first"], ["done"])),
    "async": ("made up", "{}", steps(["finds_async"])),
    "by recipe": ("delete_user", '{"id": 7}', None),
    "fails": ("made up", "{}", steps(["refuses"], ["done"])),
    "second time": ("made up", "{}", steps(["second_time", "done"], ["finds_1"])),
    "gives up": ("made up", "{}", steps(["never"])),
    "breaks": ("made up", "{}", steps(["breaks"])),
    "answers a list": ("made up", "{}", steps(["answers_a_list"])),
    "unknown job": ("made up", "{}", steps(["done"], ["nobody_registered_this"])),
    "unknown action": ("nobody wrote this", "{}", None),
    "params are a list": ("made up", "[1]", steps(["done"])),
    "fails at last": ("made up", "{}", steps([reaching("refuses", "finish"), "second_time", "waits"], ["done"])),
    "goes on without": ("made up", "{}", steps([reaching("refuses", "continue"), "done"], ["finds_1"])),
    "is answered without": ("made up", "{}", steps([reaching("waits", "continue"), "done"], ["finds_2"])),
    "looks again": ("made up", "{}", steps(["looks_again"])),
    # Made so by `Life.claimed_by_the_dead`, once they are picked up.
    "worker died": ("made up", "{}", steps(["done"])),
    "worker died at the last attempt": ("made up", "{}", steps(["finds_2"])),
    "cancelled": ("made up", "{}", steps(["finds_3"])),
}
# token, step, job, outcome, extras: placed together with the requests, so that some come early.
ANSWERS: tuple[tuple[str, int, str, str, str | None], ...] = (
    ("answered", 0, "waits", "completed", '{"waits": "answered"}'),
    ("answered", 0, "waits", "failure", None),  # late
    ("answered", 1, "asks_first", "completed", '{"asks_first": "answered"}'),
    ("answered at the last moment", 0, "waits_until_now", "completed", None),
    ("refused by its answer", 0, "waits", "failure", None),
    ("fails at last", 0, "waits", "completed", '{"waits": "answered"}'),
    ("is answered without", 0, "waits", "failure", None),
    ("unknown job", 0, "done", "completed", None),  # late
    ("nobody has this token", 0, "done", "completed", None),  # late
)
_TIME_IS_OVER = ("waits_in_vain", "waits_until_now")  # once they wait
_DEAD = ("worker died", "worker died at the last attempt", "cancelled")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: `error` is the line that it would have ended with, exit 1; empty: exit 0."""

    error: str = ""


class Life:
    """Rows in, passes over them, rows out."""

    def __init__(self, services: Services) -> None:
        self._services = services

    # In --------------------------------------------------------------------------------------------------------------
    def place(self) -> None:
        with connection.cursor() as cursor:
            for token, (action, params, given) in REQUESTS.items():
                cursor.execute(
                    "INSERT INTO requests (token, action, params, steps) VALUES (%s, %s, %s, %s)",
                    [token, action, params, given],
                )
            for answer in ANSWERS:
                cursor.execute(
                    "INSERT INTO answers (token, step, job, outcome, extras) VALUES (%s, %s, %s, %s, %s)", answer
                )

    def waiting_since_before(self) -> None:
        """As if the callbacks of these had been called, and had asked to wait."""
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE jobs SET answer_by = '2200-01-01 00:00:00.000000', waits_for = 'an answer', checks = 1, "
                "started_at = created_at WHERE status = 'new' AND name LIKE 'waits%'"
            )

    def claimed_by_the_dead(self) -> None:
        """As if a worker had died over these, once its lease and its last attempt; one is cancelled besides."""
        marks = ", ".join(["%s"] * len(_DEAD))
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE jobs SET status = 'inprogress', claimed_by = 'dead', started_at = created_at, lease_until = "
                f"created_at WHERE request_id IN (SELECT id FROM requests WHERE token IN ({marks}))",
                _DEAD,
            )
            cursor.execute(
                "UPDATE jobs SET last_attempt = attempt WHERE request_id IN (SELECT id FROM requests WHERE token = %s)",
                [_DEAD[1]],
            )
            cursor.execute(
                "UPDATE requests SET status = 'Cancelled', completed_at = COALESCE(started_at, created_at) "
                "WHERE token = %s",
                [_DEAD[2]],
            )

    def begin_with(self, name: str) -> dict[str, list[Row]]:
        """The tables as this pass is to find them, something of every kind that it moves; kept for `restore`."""
        self.place()
        if name != "run_new_requests":
            # run_worker is to pick up the rest itself.
            assert self.run("run_new_requests", limit=11 if name == "run_worker" else None) == Ran()
            self.claimed_by_the_dead()
            self.waiting_since_before()
        if name == "run_inprogress_requests":
            for _ in range(3):
                self.make_all_due()
                assert self.run("run_jobs") == Ran()
        self.make_all_due()
        return self.keep()

    def begin_again(self, name: str) -> dict[str, list[Row]]:
        self.restore({table: [] for table in TABLES})
        return self.begin_with(name)

    def keep(self) -> dict[str, list[Row]]:
        """The tables as they are, for `restore`."""
        return {table: self.rows(table) for table in TABLES}

    def restore(self, kept: dict[str, list[Row]]) -> None:
        self._services.reset()
        with connection.cursor() as cursor:
            for table in reversed(TABLES):
                cursor.execute(f"DELETE FROM {table}")
            for table in TABLES:
                for rows in filter(None, [kept[table]]):
                    values = f"({', '.join(['%s'] * len(rows[0]))})"
                    cursor.execute(
                        f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES {', '.join([values] * len(rows))}",
                        [value for row in rows for value in row.values()],
                    )

    # Over them -------------------------------------------------------------------------------------------------------
    def run(self, name: str, *arguments: str, **options: Any) -> Ran:
        """A command in this process. Anything but its own one line comes through as it is, and fails the test."""
        out = io.StringIO()
        if name in {"run_jobs", "run_worker"}:
            options.setdefault("concurrency", 2)
        try:
            call_command(name, *arguments, stdout=out, stderr=out, **options)
        except CommandError as error:
            return _one_line(name, str(error))
        finally:
            connection.close()  # as at the end of its process
        return Ran()

    def make_all_due(self) -> None:
        """As if time had gone by: backoff is over, and the leases of what nobody runs any more; and some waits."""
        with connection.cursor() as cursor:
            cursor.execute("UPDATE requests SET due_at = created_at WHERE status = 'Queuing'")
            cursor.execute("UPDATE jobs SET due_at = created_at WHERE status = 'new'")
            cursor.execute("UPDATE jobs SET lease_until = created_at WHERE status = 'inprogress'")
            cursor.execute(
                "UPDATE jobs SET answer_by = created_at WHERE status = 'new' AND answer_by IS NOT NULL "
                "AND name IN (%s, %s)",
                _TIME_IS_OVER,
            )

    def finish(self) -> None:
        """Clean passes, until nothing is open. Every one of them has to go well."""
        for _ in range(_MOST_ROUNDS):
            if not self.open_rows():
                return
            self.make_all_due()
            for name in PASSES:
                assert self.run(name) == Ran()
        raise AssertionError(f"still open after {_MOST_ROUNDS} rounds: {self.open_rows()}")

    # Out -------------------------------------------------------------------------------------------------------------
    def rows(self, table: str) -> list[Row]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table} ORDER BY 1")
            columns = [column[0] for column in cursor.description]
            return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]

    def open_rows(self) -> list[str]:
        requests = [r["token"] for r in self.rows("requests") if r["status"] in {"Queuing", "Inprogress"}]
        pending = [f"answer to {r['token']}" for r in self.rows("answers") if not r["effect"]]
        return requests + pending + [r["name"] for r in self.rows("jobs") if r["status"] in {"new", "inprogress"}]

    def ends(self) -> "Ends":
        tokens = {row["id"]: row["token"] for row in self.rows("requests")}
        attempts: dict[tuple[str, int, str], list[tuple[str, str, str]]] = {}
        for row in sorted(self.rows("jobs"), key=lambda row: row["attempt"]):
            of_job = attempts.setdefault((tokens[row["request_id"]], row["step"], row["name"]), [])
            of_job.append((row["status"], row["error"].partition("\n")[0], _sorted(row["extras"])))
        requests = {row["token"]: _what_counts(row) for row in self.rows("requests")}
        answers = [(row["token"], row["job"], row["outcome"], row["effect"]) for row in self.rows("answers")]
        return Ends(requests, attempts, answers)

    def shape(self) -> Shape:
        """What decides how `finish` ends."""
        return shape_of({table: self.rows(table) for table in TABLES if table not in {"passes", "tallies"}})

    def said(self) -> Counter[str]:
        """What the passes tallied, summed up."""
        names = {REQUESTS_STARTED: "started", JOBS_ENDED: "jobs", REQUESTS_ENDED: "requests"}
        said: Counter[str] = Counter()
        for key, amount in read_sums(connection).items():
            if key.metric in names:
                said[f"{names[key.metric]} {key.label}".strip()] += amount
        return +said

    def done(self) -> Counter[str]:
        """The same, as the tables show it."""
        jobs = Counter(row["status"] for row in self.rows("jobs"))
        requests = self.rows("requests")
        ended = Counter(row["status"] for row in requests)
        return +Counter(
            {f"jobs {status}": jobs[status] for status in ("completed", "retry", "failure")}
            | {f"requests {status}": ended[status] for status in ("Completed", "Failed")}
            | {"started": sum(1 for row in requests if row["started_at"])}
        )


@dataclass(frozen=True, slots=True)
class Ends:
    """The tables at the end, but for ids and times."""

    requests: dict[str, Row]
    attempts: dict[tuple[str, int, str], list[tuple[str, str, str]]]
    answers: list[tuple[str, str, str, str]]

    def assert_same_as(self, other: "Ends", *, leases_lost: bool = False) -> None:
        """Equal; with `leases_lost`, but for attempts that these ended: they count, so giving up comes earlier."""
        assert self.requests == other.requests
        assert self.answers == other.answers
        assert self.attempts.keys() == other.attempts.keys()
        for of_job, attempts in self.attempts.items():
            theirs = other.attempts[of_job]
            if attempts != theirs:
                assert leases_lost, (of_job, attempts, theirs)
                assert any(LEASE_LOST in error for _, error, _ in attempts), (of_job, attempts, theirs)
                assert attempts[-1][0] == theirs[-1][0], (of_job, attempts, theirs)


def _one_line(command: str, error: str) -> Ran:
    assert len(error.splitlines()) == 1, f"not one line: {error}"
    assert error.startswith(f"{command}: ") or command not in (*PASSES, "run_worker")
    return Ran(error)


def _what_counts(row: Row) -> Row:
    counts = {name: row[name] for name in ("action", "params", "steps", "step", "status", "shortfall")}
    # What the last attempt ended with is in the text, and that may have been a lost lease.
    error = re.sub(r"(gave up after \d+ attempts?): .*", r"\1", row["error"])
    return counts | {"error": error, "extras": _sorted(row["extras"])}


def _sorted(text: str | None) -> str:
    return json.dumps(json.loads(text or "null"), sort_keys=True)
