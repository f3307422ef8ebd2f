"""`manage.py verify`: names each of many seeded corruptions, and finds nothing in what a healthy system shows."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from jobs_app.db.dialect import marks
from requests_app.operations import snapshot
from requests_app.operations.verify import ReadCount, findings
from tests.concurrency.interleaving import Actor

ONE_STEP = json.dumps([{"name": "only", "jobs": ["a"]}])
STEPS = json.dumps([{"name": "first", "jobs": ["a", "b"]}, {"name": "second", "jobs": ["c", "d"]}])


# A healthy database, in which every kind of row stands ----------------------------------------------------------------


def _at(seconds: float | None) -> str | None:
    return None if seconds is None else f"2026-01-01 00:{int(seconds) // 60:02}:{seconds % 60:09.6f}"


def insert(table: str, **columns: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks(columns)})", list(columns.values()))


def request(id_: int, token: str, status: str, step: int = 0, **columns: Any) -> None:
    """Created at second 0 and started at second 1, ended at second 50 when it is final."""
    ended = 50 if status in {"Completed", "Failed", "Cancelled"} else None
    times = {"due_at": _at(0), "created_at": _at(0), "started_at": _at(1), "completed_at": _at(ended)}
    values = {"id": id_, "token": token, "action": "x", "steps": STEPS, "step": step, "status": status, "error": ""}
    insert("requests", **(values | times | columns))


def job(request_id: int, step: int, name: str, status: str, attempt: int = 1, **columns: Any) -> None:
    """Of step 0 at seconds 1 to 20, of step 1 at 21 to 40; each attempt takes two of them."""
    made = 1 + 20 * step + 3 * (attempt - 1)
    begun = status not in {"new", "cancelled"}
    running = status == "inprogress"
    values = {
        "due_at": _at(made),
        "created_at": _at(made),
        "started_at": _at(made + 1) if begun else None,
        "completed_at": None if status in {"new", "inprogress"} else _at(made + 2),
        "claimed_by": "worker" if running else None,
        "lease_until": _at(made + 100) if running else None,
        "error": "it said no" if status in {"failure", "retry"} else "",
    }
    place = {"request_id": request_id, "step": step, "name": name, "attempt": attempt, "status": status}
    insert("jobs", **(place | values | columns))


def answer(id_: int, token: str, step: int, name: str, outcome: str, effect: str = "", **columns: Any) -> None:
    """Given at second 10, taken at second 12 if it was."""
    taken_at = _at(12) if effect else None
    place = {"id": id_, "token": token, "step": step, "job": name, "outcome": outcome, "effect": effect}
    insert("answers", **(place | {"created_at": _at(10), "taken_at": taken_at} | columns))


def fill_healthy() -> None:
    request(1, "done", "Completed", step=1)
    for step, name in ((0, "a"), (0, "b"), (1, "d")):
        job(1, step, name, "completed")
    job(1, 1, "c", "retry")
    job(1, 1, "c", "completed", attempt=2)

    request(2, "failed", "Failed", error="a failed: it said no")
    job(2, 0, "a", "retry")
    job(2, 0, "a", "failure", attempt=2)
    job(2, 0, "b", "cancelled")

    request(3, "running", "Inprogress", step=1)
    job(3, 0, "a", "completed")
    job(3, 0, "b", "completed")
    job(3, 1, "c", "inprogress")
    job(3, 1, "d", "retry")
    job(3, 1, "d", "new", attempt=2, due_at=_at(900))

    request(4, "cancelled", "Cancelled")
    job(4, 0, "a", "inprogress")
    job(4, 0, "b", "cancelled", completed_at=_at(50))

    request(5, "queued", "Queuing", started_at=None)
    request(6, "refused", "Failed", started_at=None, steps='"no list"', error="steps: a string")
    request(7, "dropped", "Cancelled", started_at=None, steps=None)

    request(8, "ends", "Inprogress")  # a job failed, one runs, one lost its lease: nothing follows it
    job(8, 0, "a", "failure")
    job(8, 0, "b", "retry")

    request(9, "by hand", "Completed", step=1, steps=STEPS)  # failed once, done by hand and retried by hand
    job(9, 0, "a", "failure")
    job(9, 0, "a", "completed", attempt=2, started_at=None)
    job(9, 0, "b", "cancelled")
    job(9, 0, "b", "completed", attempt=2)
    job(9, 1, "c", "completed")
    job(9, 1, "d", "completed")

    request(10, "settled", "Inprogress", step=1)  # all its jobs are done: the next pass completes it
    for step, name in ((0, "a"), (0, "b"), (1, "c"), (1, "d")):
        job(10, step, name, "completed")

    fill_answered()


def fill_answered() -> None:
    request(11, "waits", "Inprogress")  # for an answer, after one check; an answer to what comes later is there already
    job(
        11,
        0,
        "a",
        "new",
        started_at=_at(2),
        due_at=_at(3000),
        answer_by="2036-01-01 00:00:00",
        waits_for="the vendor",
        checks=1,
    )
    job(11, 0, "b", "retry", answer_by=_at(30), waits_for="the vendor", checks=3)  # in vain
    job(11, 0, "b", "completed", attempt=2)
    answer(1, "waits", 1, "c", "completed")  # it came early
    answer(2, "waits", 0, "b", "completed", effect="late")
    answer(3, "waits", 0, "a", "retry", attempt=2)  # for an attempt to come
    answer(4, "gone", 0, "a", "completed", effect="late")  # its request was purged, or never placed
    answer(7, "running", 1, "c", "failure")  # it came while its job runs
    answer(8, "queued", 0, "a", "completed")

    request(12, "answered", "Completed", steps=ONE_STEP)  # before its next check was due
    job(12, 0, "a", "completed", due_at=_at(3000), answer_by=_at(3500), waits_for="the vendor", checks=1)
    answer(5, "answered", 0, "a", "completed", effect="taken")
    answer(6, "answered", 0, "a", "failure", effect="late")


@pytest.fixture
def healthy(db: None) -> None:
    fill_healthy()


# The corruptions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corruption:
    """`sql` makes it, and `finding` is a line that must name it. `refused_by` what keeps it out: a CHECK or a key."""

    sql: str
    finding: str
    refused_by: str = ""


def _job(request_id: int, step: int, name: str, attempt: int = 1) -> str:
    return f"request_id = {request_id} AND step = {step} AND name = '{name}' AND attempt = {attempt}"


def _copied(where: str, **changed: str) -> str:
    times = ["due_at", "created_at", "started_at", "completed_at"]
    columns = ["request_id", "step", "name", "attempt", "status", "error", *times]
    values = [changed.get(column, column) for column in columns]
    return f"INSERT INTO jobs ({', '.join(columns)}) SELECT {', '.join(values)} FROM jobs WHERE {where}"


CORRUPTIONS = {
    # attempts
    "a hole in the attempts": Corruption(
        f"UPDATE jobs SET attempt = 3 WHERE {_job(1, 1, 'c', 2)}",
        "request done step 1 job c attempt 3: a hole or a double: attempt 2 should stand here",
    ),
    "attempts that do not begin with 1": Corruption(
        f"DELETE FROM jobs WHERE {_job(2, 0, 'a', 1)}",
        "request failed step 0 job a attempt 2: not the first: attempt 1 should stand here",
    ),
    "an attempt twice": Corruption(_copied(_job(1, 0, "a")), "", refused_by="key"),
    "an attempt number 0": Corruption(
        f"UPDATE jobs SET attempt = 0 WHERE {_job(1, 0, 'a')}",
        "request done step 0 job a attempt 0: not the first: attempt 1 should stand here",
        refused_by="check",
    ),
    "an attempt after a completed one": Corruption(
        _copied(_job(1, 1, "d"), attempt="2", created_at="completed_at", started_at="completed_at"),
        "request done step 1 job d attempt 1: it is completed and attempt 2 follows it",
    ),
    "an attempt after one that is new": Corruption(
        _copied(_job(3, 1, "d", 2), attempt="3"),
        "request running step 1 job d attempt 2: it is new and attempt 3 follows it",
    ),
    "an attempt after one that runs": Corruption(
        _copied(_job(3, 1, "c"), attempt="2", status="'new'", started_at="NULL"),
        "request running step 1 job c attempt 1: it is inprogress and attempt 2 follows it",
    ),
    "a successor made before its predecessor ended": Corruption(
        f"UPDATE jobs SET created_at = '{_at(21)}' WHERE {_job(3, 1, 'd', 2)}",
        "request running step 1 job d attempt 2: it was made before the attempt before it had ended",
    ),
    # a retry without a successor
    "a retry that nothing follows": Corruption(
        f"DELETE FROM jobs WHERE {_job(3, 1, 'd', 2)}",
        "request running step 1 job d attempt 1: it is retry and no attempt follows it",
    ),
    "a cancelled job that nothing follows": Corruption(
        f"UPDATE jobs SET status = 'cancelled', completed_at = '{_at(40)}' WHERE {_job(3, 1, 'd', 2)}",
        "request running step 1 job d attempt 2: it is cancelled and no attempt follows it",
    ),
    "a retry by hand that left a cancelled sibling": Corruption(
        _copied(_job(8, 0, "a"), attempt="2", status="'completed'", created_at="completed_at", started_at="NULL"),
        "request ends step 0 job b attempt 1: it is retry and no attempt follows it",
    ),
    "a new job beside a failure": Corruption(
        f"UPDATE jobs SET status = 'new', started_at = NULL, completed_at = NULL WHERE {_job(8, 0, 'b')}",
        "request ends step 0 job b attempt 1: it is new and a job of its step has failed",
    ),
    # final requests
    "a completed request with a retry as latest attempt": Corruption(
        f"DELETE FROM jobs WHERE {_job(1, 1, 'c', 2)}",
        "request done step 1 job c attempt 1: its latest attempt is retry and its request is past it",
    ),
    "a completed request with a failure": Corruption(
        f"UPDATE jobs SET status = 'failure' WHERE {_job(1, 1, 'd')}",
        "request done step 1 job d attempt 1: its latest attempt is failure and its request is past it",
    ),
    "a completed request without a job's row": Corruption(
        f"DELETE FROM jobs WHERE {_job(1, 1, 'd')}", "request done step 1 job d: it has no row"
    ),
    "a completed request that never came to its last step": Corruption(
        "UPDATE requests SET step = 0 WHERE id = 1", "request done: it is Completed at step 0 of 2 steps"
    ),
    "a failed request without a cause": Corruption(
        "UPDATE requests SET error = '  ' WHERE id = 2", "request failed: it is Failed and its error is empty"
    ),
    "a failed request without a failure": Corruption(
        f"UPDATE jobs SET status = 'completed' WHERE {_job(2, 0, 'a', 2)}",
        "request failed step 0: it is Failed and no job of its step failed",
    ),
    "a failed request in which all is completed": Corruption(
        f"UPDATE requests SET status = 'Failed', error = 'x', completed_at = '{_at(50)}' WHERE id = 10",
        "request settled step 1: it is Failed and no job of its step failed",
    ),
    "a live lease in a completed request": Corruption(
        "UPDATE jobs SET status = 'inprogress', completed_at = NULL, claimed_by = 'x', "
        f"lease_until = '{_at(60)}' WHERE {_job(1, 1, 'd')}",
        "request done step 1 job d attempt 1: it is inprogress and its request is Completed",
    ),
    "a live lease in a failed request": Corruption(
        f"UPDATE requests SET status = 'Failed', error = 'x', completed_at = '{_at(50)}' WHERE id = 3",
        "request running step 1 job c attempt 1: it is inprogress and its request is Failed",
    ),
    "a new job in a failed request": Corruption(
        f"UPDATE jobs SET status = 'new', completed_at = NULL WHERE {_job(2, 0, 'b')}",
        "request failed step 0 job b attempt 1: it is new and its request is Failed",
    ),
    "a new job in a cancelled request": Corruption(
        f"UPDATE jobs SET status = 'new', completed_at = NULL WHERE {_job(4, 0, 'b')}",
        "request cancelled step 0 job b attempt 1: it is new and its request is Cancelled",
    ),
    "a request that ended before its last job": Corruption(
        f"UPDATE jobs SET completed_at = '{_at(51)}' WHERE {_job(1, 1, 'd')}",
        "request done step 1 job d attempt 1: it ended after its request was Completed",
    ),
    # steps
    "a job of a later step, made too early": Corruption(
        f"UPDATE jobs SET created_at = '{_at(2)}' WHERE {_job(1, 1, 'd')}",
        "request done step 1 job d attempt 1: it was made before step 0 was completed",
    ),
    "a job of a step that is not reached": Corruption(
        "UPDATE requests SET step = 0 WHERE id = 3",
        "request running step 1 job c attempt 1: it was made while its request is at step 0",
    ),
    "an earlier step that is not completed": Corruption(
        f"UPDATE jobs SET status = 'retry' WHERE {_job(3, 0, 'b')}",
        "request running step 0 job b attempt 1: its latest attempt is retry and its request is past it",
    ),
    "an earlier step with a missing row": Corruption(
        f"DELETE FROM jobs WHERE {_job(3, 0, 'b')}", "request running step 0 job b: it has no row"
    ),
    "a current step with a missing row": Corruption(
        f"DELETE FROM jobs WHERE {_job(10, 1, 'd')}", "request settled step 1 job d: it has no row"
    ),
    "a current step without any row": Corruption(
        "DELETE FROM jobs WHERE request_id = 8", "request ends step 0 job a: it has no row"
    ),
    "a job that stands in no step": Corruption(
        f"UPDATE jobs SET name = 'z' WHERE {_job(10, 1, 'd')}",
        "request settled step 1 job z attempt 1: no such job stands in its steps",
    ),
    "a job of a step that is not there": Corruption(
        f"UPDATE jobs SET step = 7 WHERE {_job(10, 1, 'd')}",
        "request settled step 7 job d attempt 1: no such job stands in its steps",
    ),
    "a step beyond the last one": Corruption(
        "UPDATE requests SET step = 2 WHERE id = 10", "request settled: its step 2 is none of its 2 steps"
    ),
    "a negative step": Corruption(
        "UPDATE requests SET step = -1 WHERE id = 10",
        "request settled: its step -1 is none of its 2 steps",
        refused_by="check",
    ),
    "steps of no shape": Corruption(
        """UPDATE requests SET steps = '[{"jobs": ["a"]}]' WHERE id = 3""",
        "request running: its steps cannot be read: steps[0].name: nothing where a name is needed",
    ),
    "steps that are gone": Corruption(
        "UPDATE requests SET steps = NULL WHERE id = 1", "request done: its steps cannot be read: steps: nothing"
    ),
    # before the pick-up
    "a queued request with jobs": Corruption(
        "UPDATE requests SET status = 'Queuing', started_at = NULL WHERE id = 10",
        "request settled step 0 job a attempt 1: it was made before its request was picked up",
    ),
    "a refused request with jobs": Corruption(
        f"INSERT INTO jobs (request_id, step, name, status, completed_at) VALUES (6, 0, 'a', 'cancelled', '{_at(50)}')",
        "request refused step 0 job a attempt 1: it was made before its request was picked up",
    ),
    "a request in progress that was never started": Corruption(
        "UPDATE requests SET started_at = NULL WHERE id = 3", "request running: it is Inprogress and was never started"
    ),
    # states
    "an unknown status of a request": Corruption(
        "UPDATE requests SET status = 'completed' WHERE id = 1",
        "request done: its status completed is unknown",
        refused_by="check",
    ),
    "an unknown status of a job": Corruption(
        f"UPDATE jobs SET status = 'done' WHERE {_job(1, 0, 'a')}",
        "request done step 0 job a attempt 1: its status done is unknown",
        refused_by="check",
    ),
    "a final request without its end": Corruption(
        "UPDATE requests SET completed_at = NULL WHERE id = 1",
        "request done: it is Completed and its completed_at is not set",
        refused_by="check",
    ),
    "an open request with an end": Corruption(
        f"UPDATE requests SET completed_at = '{_at(50)}' WHERE id = 3",
        "request running: it is Inprogress and its completed_at is set",
        refused_by="check",
    ),
    "an ended job without its end": Corruption(
        f"UPDATE jobs SET completed_at = NULL WHERE {_job(1, 0, 'a')}",
        "request done step 0 job a attempt 1: it is completed and its completed_at is not set",
        refused_by="check",
    ),
    "a running job with an end": Corruption(
        f"UPDATE jobs SET completed_at = '{_at(50)}' WHERE {_job(3, 1, 'c')}",
        "request running step 1 job c attempt 1: it is inprogress and its completed_at is set",
        refused_by="check",
    ),
    "a running job without a lease": Corruption(
        f"UPDATE jobs SET lease_until = NULL WHERE {_job(3, 1, 'c')}",
        "request running step 1 job c attempt 1: it is inprogress and without a claim and a lease",
        refused_by="check",
    ),
    "an ended job with a claim": Corruption(
        f"UPDATE jobs SET claimed_by = 'x', lease_until = '{_at(60)}' WHERE {_job(3, 0, 'a')}",
        "request running step 0 job a attempt 1: it is completed and with a claim or a lease",
        refused_by="check",
    ),
    "a new job that was started": Corruption(
        f"UPDATE jobs SET started_at = '{_at(901)}' WHERE {_job(3, 1, 'd', 2)}",
        "request running step 1 job d attempt 2: it is new and was started",
    ),
    "a running job that was never started": Corruption(
        f"UPDATE jobs SET started_at = NULL WHERE {_job(3, 1, 'c')}",
        "request running step 1 job c attempt 1: it is inprogress and was never started",
    ),
    # waits and answers
    "a waiting job that says not for what": Corruption(
        f"UPDATE jobs SET waits_for = NULL WHERE {_job(11, 0, 'a')}",
        "request waits step 0 job a attempt 1: its answer_by is set and its waits_for is not set",
    ),
    "an ended wait without its end": Corruption(
        f"UPDATE jobs SET answer_by = NULL WHERE {_job(11, 0, 'b')}",
        "request waits step 0 job b attempt 1: its waits_for is set and its answer_by is not set",
    ),
    "a waiting job whose callback was never called": Corruption(
        f"UPDATE jobs SET checks = 0 WHERE {_job(11, 0, 'a')}",
        "request waits step 0 job a attempt 1: its answer_by is set and its checks are 0",
    ),
    "an attempt above its budget": Corruption(
        f"UPDATE jobs SET last_attempt = 1 WHERE {_job(11, 0, 'b', 2)}",
        "request waits step 0 job b attempt 2: its last allowed attempt is 1",
    ),
    "an answer that is taken without effect": Corruption(
        f"UPDATE answers SET effect = 'taken', taken_at = '{_at(12)}' WHERE token = 'waits' AND job = 'c'",
        "request waits step 1 job c: its answer 1 is taken and no attempt that waited has ended by it",
    ),
    "an answer taken while its job waits on": Corruption(
        f"UPDATE answers SET effect = 'taken', taken_at = '{_at(12)}' WHERE token = 'waits' AND job = 'a'",
        "request waits step 0 job a: its answer 3 is taken and no attempt that waited has ended by it",
    ),
    "an answer that nobody takes": Corruption(
        "UPDATE answers SET attempt = NULL WHERE token = 'waits' AND job = 'a'",
        "request waits step 0 job a: its answer 3 is not taken since 2026-01-01 00:00:10 UTC and its job waits",
    ),
    "an answer to an attempt before that nobody marks late": Corruption(
        "UPDATE answers SET attempt = 1 WHERE token = 'waits' AND job = 'a'",
        "request waits step 0 job a: its answer 3 is not taken since 2026-01-01 00:00:10 UTC and its job waits",
    ),
    "an answer to a step that is over that nobody marks late": Corruption(
        "UPDATE answers SET step = 0, job = 'a' WHERE id = 7",
        "request running step 0 job a: its answer 7 is not taken since 2026-01-01 00:00:10 UTC and its step is over",
    ),
    "an answer to no job of a step that is over": Corruption(
        "UPDATE answers SET step = 0, job = 'z' WHERE id = 7",
        "request running step 0 job z: its answer 7 is not taken since 2026-01-01 00:00:10 UTC and its step is over",
    ),
    "an answer to a job that has ended that nobody marks late": Corruption(
        "UPDATE answers SET effect = '', taken_at = NULL WHERE id = 2",
        "request waits step 0 job b: its answer 2 is not taken since 2026-01-01 00:00:10 UTC and its job has ended",
    ),
    "an answer to an attempt that another one followed": Corruption(
        "UPDATE answers SET job = 'd', attempt = 1 WHERE id = 7",
        "request running step 1 job d: its answer 7 is not taken since 2026-01-01 00:00:24 UTC "
        "and its attempt has ended",
    ),
    "an answer to a job of the current step that there is not": Corruption(
        "UPDATE answers SET job = 'z' WHERE id = 7",
        "request running step 1 job z: its answer 7 is not taken since 2026-01-01 00:00:10 UTC "
        "and its request has no such job",
    ),
    "an answer to a step to come that there is not": Corruption(
        "UPDATE answers SET step = 2 WHERE id = 7",
        "request running step 2 job c: its answer 7 is not taken since 2026-01-01 00:00:10 UTC "
        "and its request has no such job",
    ),
    "an answer to no request that nobody marks late": Corruption(
        "UPDATE answers SET effect = '', taken_at = NULL WHERE token = 'gone'",
        "request gone step 0 job a: its answer 4 is not taken since 2026-01-01 00:00:10 UTC and it has no request",
    ),
    "a second answer taken by one attempt": Corruption(
        "UPDATE answers SET effect = 'taken' WHERE token = 'answered' AND outcome = 'failure'",
        "request answered step 0 job a: its answer 6 is taken and no attempt that waited has ended by it",
    ),
    "an answer to an ended request that nobody marks late": Corruption(
        "UPDATE answers SET effect = '', taken_at = NULL WHERE token = 'answered' AND outcome = 'failure'",
        "request answered step 0 job a: its answer 6 is not taken since 2026-01-01 00:00:50 UTC "
        "and its request is Completed",
    ),
    # times
    "a request that ended before it was started": Corruption(
        f"UPDATE requests SET completed_at = '{_at(0.5)}' WHERE id = 2",
        "request failed: it was completed before it was started",
    ),
    "a request that was started before it was made": Corruption(
        f"UPDATE requests SET created_at = '{_at(2)}' WHERE id = 3",
        "request running: it was started before it was created",
    ),
    "a request that was started before it was due": Corruption(
        f"UPDATE requests SET due_at = '{_at(1.000001)}' WHERE id = 3",
        "request running: it was started before it was due",
    ),
    "a job that ended before it was started": Corruption(
        f"UPDATE jobs SET completed_at = '{_at(1.5)}' WHERE {_job(3, 0, 'a')}",
        "request running step 0 job a attempt 1: it was completed before it was started",
    ),
    "a job that was started before it was made": Corruption(
        f"UPDATE jobs SET created_at = '{_at(2.5)}' WHERE {_job(3, 0, 'a')}",
        "request running step 0 job a attempt 1: it was started before it was created",
    ),
    "a job that was started before it was due": Corruption(
        f"UPDATE jobs SET due_at = '{_at(2.000001)}' WHERE {_job(3, 0, 'a')}",
        "request running step 0 job a attempt 1: it was started before it was due",
    ),
    "a job that was made before its request was started": Corruption(
        f"UPDATE requests SET started_at = '{_at(1.5)}' WHERE id = 10",
        "request settled step 0 job a attempt 1: it was made before its request was started",
    ),
    # orphans
    "jobs whose request is gone": Corruption(
        "DELETE FROM requests WHERE id = 4",
        "request (none with id 4) step 0 job a attempt 1: its request is gone",
        refused_by="reference",
    ),
    "jobs whose request never was": Corruption(
        "UPDATE jobs SET request_id = 4711 WHERE request_id = 4",
        "request (none with id 4711) step 0 job a attempt 1: its request is gone",
        refused_by="reference",
    ),
}


# Failures of different reaches ----------------------------------------------------------------------------------------
MIXED = json.dumps(
    [
        {"name": "first", "jobs": [{"job": "a", "if_fails": "continue"}, {"job": "b", "if_fails": "finish"}]},
        {"name": "second", "jobs": [{"job": "c", "if_fails": "finish"}, {"job": "d", "if_fails": "continue"}]},
    ]
)


@pytest.fixture
def mixed(db: None) -> None:
    request(11, "mixed", "Inprogress", step=1, steps=MIXED, shortfall=1)  # went on without a, will fail since c has
    job(11, 0, "a", "failure", if_fails="continue")
    job(11, 0, "b", "completed", if_fails="finish")
    job(11, 1, "c", "failure", if_fails="finish")
    job(11, 1, "d", "retry", if_fails="continue")
    job(11, 1, "d", "new", attempt=2, due_at=_at(900), if_fails="continue")

    request(12, "short", "Completed", step=1, steps=MIXED, shortfall=2)
    job(12, 0, "a", "failure", if_fails="continue")
    job(12, 0, "b", "completed", if_fails="finish")
    job(12, 1, "c", "completed", if_fails="finish")
    job(12, 1, "d", "failure", if_fails="continue")

    request(13, "finished", "Failed", steps=MIXED, error="b failed: it said no")
    job(13, 0, "a", "failure", if_fails="continue")
    job(13, 0, "b", "failure", if_fails="finish")


OF_REACH = {
    "a retry that nothing follows beside a failure of finish": Corruption(
        f"DELETE FROM jobs WHERE {_job(11, 1, 'd', 2)}",
        "request mixed step 1 job d attempt 1: it is retry and no attempt follows it",
    ),
    "a sibling that a failure of finish cancelled": Corruption(
        f"UPDATE jobs SET status = 'cancelled', completed_at = '{_at(40)}' WHERE {_job(11, 1, 'd', 2)}",
        "request mixed step 1 job d attempt 2: it is cancelled and no attempt follows it",
    ),
    "a failure of finish that its request went past": Corruption(
        f"UPDATE jobs SET status = 'failure' WHERE {_job(12, 1, 'c')}",
        "request short step 1 job c attempt 1: its latest attempt is failure and its request is past it",
    ),
    "a failed request in which only a job of continue failed": Corruption(
        f"UPDATE jobs SET status = 'completed' WHERE {_job(13, 0, 'b')}",
        "request finished step 0: it is Failed and no job of its step failed",
    ),
    "a reach that the steps do not have": Corruption(
        f"UPDATE jobs SET if_fails = 'stop' WHERE {_job(11, 1, 'd', 2)}",
        "request mixed step 1 job d attempt 2: its if_fails is stop and its steps say continue",
    ),
    "a shortfall that is too small": Corruption(
        "UPDATE requests SET shortfall = 1 WHERE id = 12",
        "request short: its shortfall is 1 and it went on without 2 jobs",
    ),
    "a shortfall of what is not passed yet": Corruption(
        "UPDATE requests SET shortfall = 1 WHERE id = 13",
        "request finished: its shortfall is 1 and it went on without 0 jobs",
    ),
}


@contextmanager
def _unguarded(refused_by: str) -> Iterator[None]:
    """Without this session's CHECKs or foreign keys: as in a table that was restored, or written by an older server."""
    if not refused_by:
        yield
        return
    if connection.vendor == "sqlite":  # whose foreign keys wait for the COMMIT, which does not come
        off, on = "PRAGMA ignore_check_constraints = 1", "PRAGMA ignore_check_constraints = 0"
    elif refused_by == "reference":
        off, on = "SET foreign_key_checks = 0", "SET foreign_key_checks = 1"
    else:
        off, on = "SET check_constraint_checks = 0", "SET check_constraint_checks = 1"
    with connection.cursor() as cursor:
        cursor.execute(off)
        try:
            yield
        finally:
            cursor.execute(on)


def _refused(sql: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
            connection.check_constraints()  # SQLite's foreign keys are looked at no earlier than the COMMIT
    except DatabaseError:
        return True
    return False


def found() -> list[str]:
    return [str(finding) for finding in findings(ReadCount())]


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_corruption_is_refused_by_the_database_or_named_by_verify(healthy: None, corruption: Corruption):
    if corruption.refused_by:
        assert _refused(corruption.sql)
    if corruption.refused_by == "key":
        return  # there is no table without it
    if corruption.refused_by == "check" and connection.display_name == "MySQL":
        return  # MySQL lets no session write past a CHECK
    with transaction.atomic():
        with _unguarded(corruption.refused_by), connection.cursor() as cursor:
            cursor.execute(corruption.sql)
        assert any(line.startswith(corruption.finding) for line in found()), found()
        transaction.set_rollback(True)


@pytest.mark.parametrize("corruption", OF_REACH.values(), ids=OF_REACH.keys())
def test_a_reach_that_was_not_kept_is_named(mixed: None, corruption: Corruption):
    assert found() == []
    with connection.cursor() as cursor:
        cursor.execute(corruption.sql)
    assert any(line.startswith(corruption.finding) for line in found()), found()


def test_every_line_of_a_corruption_names_its_request_and_no_other(healthy: None):
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM jobs WHERE {_job(3, 1, 'd', 2)}")

    assert [line.split(" step ")[0] for line in found()] == ["request running"]


@pytest.mark.parametrize("back_at", range(2, 40, 3))
def test_a_clock_that_was_set_back_is_one_finding_that_says_so(healthy: None, back_at: int):
    """By 60 s, at each moment of a healthy request's life: all that was written after it is a minute earlier."""
    columns = {"requests": ("completed_at",), "jobs": ("due_at", "created_at", "started_at", "completed_at")}
    with connection.cursor() as cursor:
        for table, names in columns.items():
            cursor.execute(
                f"SELECT id, {', '.join(names)} FROM {table} WHERE {'id' if table == 'requests' else 'request_id'} = 1"
            )
            for id_, *times in cursor.fetchall():
                moved = [_set_back(time, back_at) for time in times]
                cursor.execute(
                    f"UPDATE {table} SET {', '.join(f'{name} = %s' for name in names)} WHERE id = %s", [*moved, id_]
                )

    [line] = found()
    assert line.startswith("request done")
    assert line.endswith("the database's clock was set back meanwhile, or somebody wrote these times")


def _set_back(time: Any, back_at: int) -> str | None:
    if time is None:
        return None
    moment = datetime.fromisoformat(str(time))
    return str(moment - timedelta(seconds=60) if moment >= datetime.fromisoformat(str(_at(back_at))) else moment)


# What is no finding ---------------------------------------------------------------------------------------------------


def test_a_healthy_database_in_the_midst_of_its_work_gives_no_finding(healthy: None):
    assert found() == []


def test_an_answer_is_left_to_the_pass_for_three_of_its_periods(healthy: None, settings: Any):
    settings.WRK_REQUEST_INPROGRESS_CRON = "0 * * * *"
    with connection.cursor() as cursor:
        cursor.execute("UPDATE answers SET attempt = NULL WHERE token = 'waits' AND job = 'a'")
        for hours, wrong in ((2, 0), (5, 1)):
            moment = (datetime.now(tz=UTC) - timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S.%f")
            cursor.execute("UPDATE answers SET created_at = %s WHERE token = 'waits' AND job = 'a'", [moment])
            assert len(found()) == wrong


def test_an_answer_that_was_there_first_is_left_to_the_pass_once_its_job_waits(healthy: None):
    now = datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE answers SET attempt = NULL WHERE token = 'waits' AND job = 'a'")
        cursor.execute(f"UPDATE jobs SET started_at = %s WHERE {_job(11, 0, 'a')}", [now])
    assert found() == []


def test_with_the_passes_switched_off_nobody_is_to_take_an_answer(healthy: None, settings: Any):
    settings.WRK_ENABLED = False
    with connection.cursor() as cursor:
        cursor.execute("UPDATE answers SET attempt = NULL WHERE token = 'waits' AND job = 'a'")
    assert found() == []


def test_an_empty_database_gives_no_finding(db: None):
    assert found() == []


def test_a_request_that_another_hand_made_with_its_own_step_is_no_finding(db: None):
    request(1, "odd", "Queuing", step=5, steps="17", started_at=None)

    assert found() == []


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_what_moves_while_a_window_is_read_is_no_finding():
    """Its request was read while it was queued: by that, jobs that are there now were made before its pick-up."""
    with transaction.atomic():
        request(1, "new", "Queuing", started_at=None)
    with Actor(found, stop_before="FROM jobs WHERE") as verifier:
        assert verifier.stands
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE requests SET status = 'Inprogress', started_at = %s WHERE id = 1", [_at(1)])
            job(1, 0, "a", "new")
            job(1, 0, "b", "new")
        assert verifier.go_on() == []
    assert found() == []


# Reading --------------------------------------------------------------------------------------------------------------


def test_windows_leave_out_no_request_and_no_job(healthy: None, monkeypatch: pytest.MonkeyPatch):
    for requests, jobs in ((1, 1), (1, 4000), (200, 1), (3, 5)):
        monkeypatch.setattr(snapshot, "_REQUESTS", requests)
        monkeypatch.setattr(snapshot, "_JOBS", jobs)
        read = ReadCount()

        assert list(findings(read)) == []
        assert (read.requests, read.jobs) == (12, 31)


def test_orphans_beyond_the_last_request_are_found(healthy: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snapshot, "_REQUESTS", 2)
    with transaction.atomic():
        with _unguarded("reference"), connection.cursor() as cursor:
            cursor.execute("UPDATE jobs SET request_id = request_id + 1000 WHERE request_id IN (1, 10)")
        assert sum("its request is gone" in line for line in found()) == 9
        transaction.set_rollback(True)


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_says_in_one_line_that_all_is_well(healthy: None):
    said = io.StringIO()
    call_command("verify", stdout=said)

    assert said.getvalue().startswith("verify: all is well in 12 requests and 31 jobs (")
    assert said.getvalue().count("\n") == 1


def test_the_command_prints_a_line_a_finding_and_exits_with_1(healthy: None):
    said = io.StringIO()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE requests SET error = '' WHERE status = 'Failed'")

    with pytest.raises(CommandError, match="verify: 2 wrong in 12 requests") as raised:
        call_command("verify", stdout=said)
    assert raised.value.returncode == 1
    assert said.getvalue().splitlines() == [
        "request failed: it is Failed and its error is empty",
        "request refused: it is Failed and its error is empty",
    ]


def test_a_finding_is_one_line_whatever_the_token_is_made_of(db: None):
    request(1, "two\nlines\t\u2028", "Failed", steps="{}", started_at=None)

    assert found() == ["request 'two\\nlines\\t\\u2028': it is Failed and its error is empty"]


def test_progress_is_said_when_it_takes_long(healthy: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("requests_app.management.commands.verify._PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(snapshot, "_REQUESTS", 5)
    said = io.StringIO()
    call_command("verify", stdout=io.StringIO(), stderr=said)

    assert said.getvalue().splitlines()[0].startswith("verify: read 5 requests and ")
