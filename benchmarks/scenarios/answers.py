"""How fast answers are taken that came at once: each ends a job that waits, and moves its request on."""

from django.db import connection

from benchmarks.scenarios.scale import Measures, Scale, repeated
from benchmarks.workload import place_many, query, run_command, steps

ANSWERS = 10_000
WAITS = (
    "UPDATE jobs SET due_at = '2100-01-01', answer_by = '2100-01-01', waits_for = 'the vendor', checks = 1 "
    "WHERE status = 'new'"
)
ANSWER_ALL = (
    "INSERT INTO answers (token, step, job, outcome, extras) "
    "SELECT token, 0, 'noop', 'completed', '{\"erased\": true}' FROM requests"
)


@repeated
def answers(scale: Scale) -> Measures:
    """By one run_inprogress_requests; beside it the same pass while they all wait and nothing has come."""
    place_many(scale.rows(ANSWERS), steps(("noop",)))
    run_command("run_new_requests")
    _execute(WAITS)
    idle = run_command("run_inprogress_requests").seconds
    _execute(ANSWER_ALL)
    seconds = run_command("run_inprogress_requests").seconds
    taken = query("SELECT COUNT(*) FROM answers WHERE effect = 'taken'")
    if taken != query("SELECT COUNT(*) FROM requests WHERE status = 'Completed'"):
        raise RuntimeError("not every answer completed its request")
    return {f"{ANSWERS:,} answers at once: taken a second": taken / (seconds - idle)}


def _execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
