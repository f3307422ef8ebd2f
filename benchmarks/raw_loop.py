"""The limit: the same rows and moves as raw SQL on one connection, in batches, without leases, retries or callbacks.

`python -m benchmarks.raw_loop --batch 500 --find` works off what is placed in the database of DB_* and prints nothing:
the rate is read from the rows, as for our own commands. `--find` merges a mapping per job into its request's extras.
"""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from django.db import connection  # noqa: E402 - needs the settings

from jobs_app.db.dialect import case, dialect, marks  # noqa: E402

Row = tuple[int, int, int, str]


class RawLoop:
    def __init__(self, batch: int, find: bool) -> None:
        self._batch, self._find = batch, find
        connection.ensure_connection()
        self._sql = dialect("default")
        self._cursor = connection.connection.cursor()  # the driver's own
        self._mysql = connection.vendor == "mysql"
        if self._mysql:
            connection.connection.autocommit(False)

    def run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        picked_up = self._pick_up()
        self._commit()
        claimed = self._claim()
        self._commit()
        if claimed:
            self._finish(claimed)
            self._commit()
        return bool(picked_up or claimed)

    def _execute(self, statement: str, values: Sequence[object]) -> list[Any]:
        if not self._mysql:
            statement = statement.replace("%s", "?").replace("%%", "%")
            if not connection.connection.in_transaction:
                self._cursor.execute("BEGIN IMMEDIATE")
        self._cursor.execute(statement, values)
        return list(self._cursor.fetchall()) if statement.startswith("SELECT") else []

    def _commit(self) -> None:
        connection.connection.commit()

    def _pick_up(self) -> list[tuple[int, str]]:
        sql = self._sql
        rows = self._execute(
            f"SELECT id, steps FROM requests {sql.force('requests_status_due')} WHERE status = 'Queuing' "
            f"AND due_at <= {sql.now} ORDER BY due_at, id LIMIT {self._batch} {sql.skip_locked}",
            [],
        )
        if rows:
            ids = [id_ for id_, _ in rows]
            self._execute(
                f"UPDATE requests SET status = 'Inprogress', started_at = {sql.now} WHERE id IN ({marks(ids)})", ids
            )
            self._insert([(id_, 0, name) for id_, steps in rows for name in json.loads(steps)[0]["jobs"]])
        return rows

    def _insert(self, jobs: list[tuple[int, int, str]]) -> None:
        values = [value for job in jobs for value in job]
        self._execute(
            f"INSERT INTO jobs (request_id, step, name) VALUES {', '.join(['(%s, %s, %s)'] * len(jobs))}", values
        )

    def _claim(self) -> list[Row]:
        sql = self._sql
        rows = self._execute(
            f"SELECT id, request_id, step, name FROM jobs {sql.force('jobs_status_due')} WHERE status = 'new' "
            f"AND due_at <= {sql.now} ORDER BY due_at, id LIMIT {self._batch} {sql.skip_locked}",
            [],
        )
        if rows:
            ids = [row[0] for row in rows]
            self._execute(
                f"UPDATE jobs SET status = 'inprogress', claimed_by = 'raw', started_at = {sql.now}, "
                f"lease_until = {sql.now_plus} WHERE id IN ({marks(ids)})",
                [300, *ids],
            )
        return rows

    def _finish(self, rows: list[Row]) -> None:
        found = {row[0]: json.dumps({row[3]: {"attempt": 1}}) for row in rows} if self._find else {}
        self._execute(
            f"UPDATE jobs SET status = 'completed', completed_at = {self._sql.now}, claimed_by = NULL, "
            f"lease_until = NULL, extras = {case(found, 'extras')} WHERE id IN ({marks(rows)})",
            [*found.values(), *(row[0] for row in rows)],
        )
        if self._find:
            self._merge(rows)
        first = sorted({row[1] for row in rows if row[2] == 0})
        last = sorted({row[1] for row in rows if row[2] == 1})
        if first:
            self._execute(f"UPDATE requests SET step = 1 WHERE id IN ({marks(first)})", first)
            steps = self._execute(f"SELECT id, steps FROM requests WHERE id IN ({marks(first)})", first)
            self._insert([(id_, 1, name) for id_, text in steps for name in json.loads(text)[1]["jobs"]])
        if last:
            self._execute(
                f"UPDATE requests SET status = 'Completed', completed_at = {self._sql.now} WHERE id IN ({marks(last)}) "
                "AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.request_id = requests.id AND j.step = 1 "
                "AND j.status <> 'completed')",
                last,
            )

    def _merge(self, rows: list[Row]) -> None:
        ids = sorted({row[1] for row in rows})
        texts = self._execute(
            f"SELECT id, extras FROM requests WHERE id IN ({marks(ids)}) ORDER BY id {self._sql.for_update}", ids
        )
        extras = {id_: json.loads(text) for id_, text in texts}
        for _, request_id, _, name in rows:
            extras[request_id][name] = {"attempt": 1}
        merged = {id_: json.dumps(value) for id_, value in extras.items()}
        self._execute(
            f"UPDATE requests SET extras = {case(merged)} WHERE id IN ({marks(ids)})", [*merged.values(), *ids]
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--find", action="store_true")
    arguments = parser.parse_args()
    RawLoop(arguments.batch, arguments.find).run()
