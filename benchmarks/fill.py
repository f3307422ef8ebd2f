"""Fills the database of DB_* (or the SQLite file) with finished requests and their jobs, to measure on a grown table.

`python -m tests.database_server -- sh -c "python manage.py migrate && python -m benchmarks.fill && ..."`. Only adds
rows, by INSERT ... SELECT in transactions of 10,000 requests; the same lines run on MariaDB, MySQL and SQLite.
"""

import argparse
import os
import secrets
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasker_site.settings")
django.setup()

from django.db import OperationalError, connection, transaction  # noqa: E402 - needs the settings

BATCH = 10_000
RUN = secrets.token_hex(4)  # so that tokens of several runs differ
# 0..9999 from two hundreds: MySQL and MariaDB stop a recursion after 1,000 rows.
NUMBERS = (
    "WITH RECURSIVE d(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM d WHERE i < 99), "
    "n(i) AS (SELECT a.i * 100 + b.i FROM d a CROSS JOIN d b) "
)
SUBJECTS, EMPTY = 250_000, "''"
RECIPE = (
    '[{"name": "retrieve_user", "jobs": ["service1_get_user"]}, {"name": "delete_user_accounts", '
    '"jobs": ["service1_delete_user", "service2_delete_user", "service3_delete_user"]}]'
)


def ago(seconds: str) -> str:
    """SQL of the moment `seconds` (SQL as well) before now, in UTC."""
    if connection.vendor == "mysql":
        return f"UTC_TIMESTAMP(6) - INTERVAL {seconds} SECOND"
    return f"strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', -{seconds} || ' seconds')"


def write_out() -> None:
    """Writes what is in memory only: the server would do that beside what is measured next, a tenth of its rate."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("FLUSH TABLES requests, jobs FOR EXPORT")
            cursor.execute("UNLOCK TABLES")
    except OperationalError as error:
        print(f"what was filled is written out beside what is measured: {error}", file=sys.stderr)


def finished_requests(start: int, count: int, of: int) -> None:
    """Of 100 requests one failed and is overdue, one was cancelled, one is short; one every 2 seconds, the newest last.

    Of 10 one changes a user, of 10,000 one is of an action without a recipe. A subject has four, over all the time.
    """
    moment = ago(f"(2 * ({of - start} - n.i))")
    number = f"{start} + n.i"
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO requests (token, action, subject, params, extras, steps, step, status, error, shortfall, "
            f"deadline_at, due_at, created_at, started_at, completed_at) {NUMBERS}"
            f"SELECT {_concat('%s', number)}, CASE WHEN n.i = 5 THEN 'made_up' WHEN n.i %% 10 = 9 THEN 'update_user' "
            f"ELSE 'delete_user' END, {_concat(f'({number}) %% {SUBJECTS}', EMPTY)}, "
            f"{_concat('%s', number, '%s')}, '{{}}', %s, 1, "
            "CASE n.i %% 100 WHEN 0 THEN 'Failed' WHEN 1 THEN 'Cancelled' ELSE 'Completed' END, "
            "CASE n.i %% 100 WHEN 0 THEN 'service2_delete_user failed: answered 409' ELSE '' END, "
            f"CASE n.i %% 100 WHEN 7 THEN 1 ELSE 0 END, CASE n.i %% 100 WHEN 0 THEN {moment} END, "
            f"{moment}, {moment}, {moment}, {moment} FROM n WHERE n.i < {count}",
            [f"filled-{RUN}-", '{"id": ', "}", RECIPE],
        )


def _concat(*parts: str) -> str:
    return f"CONCAT({', '.join(parts)})" if connection.vendor == "mysql" else " || ".join(f"({part})" for part in parts)


def finished_jobs(start: int, count: int, jobs: int) -> None:
    """service1_get_user, then the three of the next step in turn: from the fifth job on, later attempts of them."""
    steps = "WITH RECURSIVE k(j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM k WHERE j < %s) "
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs (request_id, step, name, attempt, status, error, due_at, created_at, started_at, "
            f"completed_at) {steps}"
            "SELECT r.id, CASE k.j WHEN 0 THEN 0 ELSE 1 END, "
            "CASE WHEN k.j = 0 THEN 'service1_get_user' WHEN k.j %% 3 = 1 THEN 'service1_delete_user' "
            "WHEN k.j %% 3 = 2 THEN 'service2_delete_user' ELSE 'service3_delete_user' END, "
            "CASE k.j WHEN 0 THEN 1 ELSE 1 + (k.j - 1 - (k.j - 1) %% 3) / 3 END, "
            "CASE WHEN k.j > 0 AND k.j + 3 <= %s THEN 'retry' ELSE 'completed' END, "
            "CASE WHEN k.j > 0 AND k.j + 3 <= %s THEN 'answered 503' ELSE '' END, "
            "r.due_at, r.due_at, r.due_at, r.due_at FROM requests r CROSS JOIN k "
            f"WHERE r.token IN (SELECT {_concat('%s', f'{start} + n.i')} "
            f"FROM ({NUMBERS} SELECT i FROM n WHERE i < {count}) n)",
            [jobs - 1, jobs - 1, jobs - 1, f"filled-{RUN}-"],
        )


def open_requests(count: int) -> None:
    """Waiting for their pick-up, due one second after the other."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO requests (action, params, due_at) {NUMBERS}"
            f"SELECT 'delete_user', '{{}}', {ago('n.i')} FROM n WHERE n.i < %s",
            [count],
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fill", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, metavar="N", help="finished requests to add")
    parser.add_argument("--jobs-per-request", type=int, default=5, metavar="M", help="job rows of each, from 1")
    parser.add_argument("--queued", type=int, default=1_000, metavar="N", help="due requests to add, at most 10,000")
    arguments = parser.parse_args()
    fill(0, arguments.requests, arguments.requests, arguments.jobs_per_request)
    open_requests(arguments.queued)


def fill(first: int, last: int, of: int, jobs: int) -> None:
    """Adds the finished requests number `first` up to `last`, of `of` in the end, each with its jobs."""
    began = time.monotonic()
    for start in range(first, last, BATCH):
        count = min(BATCH, last - start)
        with transaction.atomic():
            finished_requests(start, count, of)
            finished_jobs(start, count, jobs)
        show_progress(start - first + count, last - first, jobs, time.monotonic() - began)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE requests, jobs" if connection.vendor == "mysql" else "ANALYZE")


def show_progress(done: int, of: int, jobs: int, seconds: float) -> None:
    left = seconds / done * (of - done)
    text = f"{done:,} of {of:,} requests, {done * jobs:,} jobs, {seconds:.0f} s, {left:.0f} s left"
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="" if done < of else "\n", file=sys.stderr, flush=True)
    elif done == of or done % (BATCH * 10) == 0:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
