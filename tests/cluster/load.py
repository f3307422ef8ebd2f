"""The load of a failover, from this process: requests placed all the time, and what the tables say of them."""

import json
import threading
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

from django.db import DatabaseError, IntegrityError, InterfaceError, connection

from jobs_app.db.transactions import run_transaction
from tests.chaos import judge
from tests.chaos.jobs import NAMES

STEPS = json.dumps([{"name": f"step {n}", "jobs": NAMES} for n in range(2)])
_AWAY_SECONDS, _LOOK_SECONDS = 120.0, 0.2


class Inserter(threading.Thread):
    """Places requests of one action at a pace, and keeps each one's token and moment once its INSERT is acknowledged.

    After a lost answer it sends the same token again: refused as a double, it was there.
    """

    def __init__(self, action: str, per_second: float) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, float] = {}
        self._action, self._pause = action, 1 / per_second
        self._stopped = threading.Event()

    def stop(self) -> None:
        """After the one that is on its way is acknowledged."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        while not self._stopped.wait(self._pause):
            token = str(uuid4())
            while not self._is_placed(token):
                time.sleep(0.05)
            self.acknowledged[token] = time.time()
        connection.close()

    def _is_placed(self, token: str) -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO requests (token, action, steps) VALUES (%s, %s, %s)", [token, self._action, STEPS]
                )
        except IntegrityError:
            return True
        except (DatabaseError, InterfaceError):
            with suppress(DatabaseError, InterfaceError):
                connection.close()
            return False
        return True


class Watcher(threading.Thread):
    """Looks again and again when the latest attempt ended, in a thread that alone waits for a database away."""

    def __init__(self, action: str) -> None:
        super().__init__(daemon=True)
        self.last_end = 0.0
        self._action = action
        self.stopped = threading.Event()

    def saw_end_after(self, moment: float) -> bool:
        return self.last_end > moment

    def run(self) -> None:
        sql = (
            "SELECT COALESCE(UNIX_TIMESTAMP(MAX(j.completed_at)), 0) FROM jobs j JOIN requests r "
            "ON r.id = j.request_id WHERE r.action = %s"
        )
        while not self.stopped.wait(_LOOK_SECONDS):
            self.last_end = float(read(sql, self._action)[0][0])
        connection.close()


def read(sql: str, *values: str) -> list[Any]:
    """From the writer, whoever that is by now."""

    def work() -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())

    return run_transaction(work, seconds=_AWAY_SECONDS)


def count_open(action: str) -> int:
    sql = "SELECT COUNT(*) FROM requests WHERE action = %s AND status IN ('Queuing', 'Inprogress')"
    return int(read(sql, action)[0][0])


def ends_of_jobs(action: str) -> list[float]:
    """When each attempt of these requests ended, by the database's clock, as seconds since 1970; ascending."""
    sql = (
        "SELECT UNIX_TIMESTAMP(j.completed_at) FROM jobs j JOIN requests r ON r.id = j.request_id "
        "WHERE r.action = %s AND j.completed_at IS NOT NULL ORDER BY 1"
    )
    return [float(row[0]) for row in read(sql, action)]


def requests(action: str) -> list[judge.RequestEnd]:
    sql = "SELECT token, status, error FROM requests WHERE action = %s"
    return [judge.RequestEnd(*row) for row in read(sql, action)]


def attempts(action: str) -> list[judge.AttemptEnd]:
    sql = (
        "SELECT CONCAT(r.token, ':', j.step, ':', j.name), j.attempt, j.status, j.error "
        "FROM jobs j JOIN requests r ON r.id = j.request_id WHERE r.action = %s"
    )
    return [judge.AttemptEnd(*row) for row in read(sql, action)]
