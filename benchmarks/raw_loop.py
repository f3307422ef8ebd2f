"""The limit: the same rows and moves in as few statements and commits as SQL needs, on one connection.

`python -m benchmarks.raw_loop --batch 500 --find` works off what is placed in the database of DB_* and prints nothing:
the rate is read from the rows, as for our own commands. It leaves out leases and their renewal, retries, callbacks,
pauses, tallies and the history of passes, and takes all requests to have the same steps.
"""

import argparse
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from django.db import connection  # noqa: E402 - needs the settings

FOUND = {"attempt": 1}  # what each job of --find returns under its name


@dataclass(frozen=True, slots=True)
class Sql:
    """What differs between the engines. `status`: the column, where it must not choose the index."""

    now: str = "UTC_TIMESTAMP(6)"
    later: str = "UTC_TIMESTAMP(6) + INTERVAL 300 SECOND"
    begin: str = "BEGIN"
    due: str = "FORCE INDEX (requests_status_due)"
    of_requests: str = "FORCE INDEX (jobs_attempt)"
    skip_locked: str = "FOR UPDATE SKIP LOCKED"
    status: str = "status"
    found: str = """CONCAT('{"', name, '": ', '%s}')"""
    merge: str = "JSON_MERGE_PATCH"


SERVER = Sql()
SQLITE = Sql(
    now="strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    later="strftime('%Y-%m-%d %H:%M:%f000', 'now', '300 seconds')",
    begin="BEGIN IMMEDIATE",
    due="",
    of_requests="",
    skip_locked="",
    status="+status",
    found="""'{"' || name || '": %s}'""",
    merge="json_patch",
)


class RawLoop:
    """Works off requests of these steps. Jobs are inserted as `inprogress`, as a worker with room for them does."""

    def __init__(self, steps: list[list[str]], batch: int = 500, find: bool = False) -> None:
        self._steps, self._batch, self._find, self._claim = steps, batch, find, uuid.uuid4()
        self._sql = SERVER if connection.vendor == "mysql" else SQLITE
        connection.ensure_connection()
        self._cursor = connection.connection.cursor()  # the driver's own

    def run(self) -> None:
        """One transaction ends a step of each batch in progress, the oldest first, and picks up the next batch."""
        in_progress: list[list[int]] = [[] for _ in self._steps]  # ids of requests, by step
        while True:
            with self.transaction():
                for step in reversed(range(len(self._steps))):
                    if ids := in_progress[step]:
                        self.end_step(ids, step)
                in_progress = [self.pick_up(), *in_progress[:-1]]
            if not any(in_progress):
                return

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._cursor.execute(self._sql.begin)
        yield
        self._cursor.execute("COMMIT")

    def pick_up(self) -> list[int]:
        sql = self._sql
        self._cursor.execute(
            f"SELECT id FROM requests {sql.due} WHERE status = 'Queuing' AND due_at <= {sql.now} "
            f"ORDER BY due_at, id LIMIT {self._batch} {sql.skip_locked}"
        )
        if ids := list(map(itemgetter(0), self._cursor.fetchall())):
            self._move(ids, f"status = 'Inprogress', started_at = {sql.now}", f"{sql.status} = 'Queuing'")
            self._insert(ids, 0)
        return ids

    def end_step(self, ids: list[int], step: int) -> None:
        sql, last = self._sql, step + 1 == len(self._steps)
        found = f", extras = {sql.found % json.dumps(FOUND)}" if self._find else ""
        self._write(
            f"UPDATE jobs {sql.of_requests} SET status = 'completed', completed_at = {sql.now}, claimed_by = NULL, "
            f"lease_until = NULL{found} WHERE request_id IN ({_text(ids)}) AND step = {step} "
            f"AND {sql.status} = 'inprogress' AND claimed_by = '{self._claim}'",
            len(ids) * len(self._steps[step]),
        )
        moved = f"status = 'Completed', completed_at = {sql.now}" if last else f"step = {step + 1}"
        merged = json.dumps(dict.fromkeys(self._steps[step], FOUND))
        extras = f", extras = {sql.merge}(extras, '{merged}')" if self._find else ""
        self._move(ids, moved + extras, f"{sql.status} = 'Inprogress' AND step = {step}")
        if not last:
            self._insert(ids, step + 1)

    def _move(self, ids: list[int], assignments: str, guard: str) -> None:
        self._write(f"UPDATE requests SET {assignments} WHERE id IN ({_text(ids)}) AND {guard}", len(ids))

    def _insert(self, ids: list[int], step: int) -> None:
        names = " UNION ALL ".join(f"SELECT '{name}' AS name" for name in self._steps[step])
        self._write(
            "INSERT INTO jobs (request_id, step, name, status, claimed_by, started_at, lease_until) "
            f"SELECT r.id, {step}, n.name, 'inprogress', '{self._claim}', {self._sql.now}, {self._sql.later} "
            f"FROM requests r CROSS JOIN ({names}) n WHERE r.id IN ({_text(ids)})",
            len(ids) * len(self._steps[step]),
        )

    def _write(self, statement: str, rows: int) -> None:
        self._cursor.execute(statement)
        if self._cursor.rowcount != rows:
            raise RuntimeError(f"{self._cursor.rowcount} rows instead of {rows}: {statement[:200]}")


def queued_steps() -> list[list[str]] | None:
    """The names of the jobs of each step, of any queued request. None: another loop has begun them all."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT steps FROM requests WHERE status = 'Queuing' LIMIT 1")
        row = cursor.fetchone()
    return [step["jobs"] for step in json.loads(row[0])] if row else None


def _text(ids: list[int]) -> str:
    return ", ".join(map(str, ids))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=500, help="requests a transaction")
    parser.add_argument("--find", action="store_true", help="merge a mapping of each job into its request's extras")
    arguments = parser.parse_args()
    if steps := queued_steps():
        RawLoop(steps, arguments.batch, arguments.find).run()
