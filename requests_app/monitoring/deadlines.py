"""Requests that are not done and past their deadline, or near it. A deadline ends nothing; it is shown.

The rule stands here twice: in SQL for all of them, by the index of deadlines, and in Python for one.
"""

from datetime import datetime, timedelta

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import dialect, marks
from jobs_app.db.statements import fetch_all
from jobs_app.models.tally import OTHER
from requests_app.models import Request, RequestStatus
from requests_app.recipes import recipes

MOST_LATE = 10_000  # that are counted, for each state and status: entries of the index whose rows are read; about 20 ms
# A Failed one waits for somebody, and its deadline with it, until it was retried, completed by hand, or scrubbed.
NOT_DONE = (RequestStatus.QUEUING, RequestStatus.INPROGRESS, RequestStatus.FAILED)


class DeadlineState(models.TextChoices):
    """`DUE_SOON`: of the time from created_at to deadline_at a tenth is left, or less."""

    OVERDUE = "overdue", "overdue"
    DUE_SOON = "due_soon", "due soon"


def has_open_deadline(request: Request) -> bool:
    return request.deadline_at is not None and request.status in NOT_DONE and request.scrubbed_at is None


def deadline_state(request: Request, now: datetime) -> DeadlineState | None:
    if request.deadline_at is None or not has_open_deadline(request):
        return None
    left = request.deadline_at - now
    if left <= timedelta(0):
        return DeadlineState.OVERDUE
    return DeadlineState.DUE_SOON if 10 * left <= request.deadline_at - request.created_at else None


def count_by_deadline(connection: BaseDatabaseWrapper) -> dict[DeadlineState, dict[str, int]]:
    """By state and action; an action without a recipe is OTHER. One statement, counted up to MOST_LATE a status."""
    actions = [*(recipe.action for recipe in recipes()), OTHER]
    counts = {state: dict.fromkeys(actions, 0) for state in DeadlineState}
    found = " UNION ALL ".join(
        f"SELECT '{state}' AS state, action FROM ({_found(state, MOST_LATE)}) AS {state}" for state in DeadlineState
    )
    rows = fetch_all(
        f"SELECT state, CASE WHEN action IN ({marks(actions)}) THEN action ELSE '{OTHER}' END AS subject, COUNT(*) "
        f"FROM ({found}) AS found GROUP BY state, subject",
        actions,
        on=connection,
    )
    for state, action, count in rows:
        counts[DeadlineState(state)][action] = count
    return counts


def ids_by_deadline(state: DeadlineState, most: int) -> list[int]:
    """At most so many, those with the earliest deadlines."""
    return [id_ for id_, *_ in fetch_all(f"{_found(state, most)} ORDER BY deadline_at, id LIMIT {most}")]


def _found(state: DeadlineState, most: int) -> str:
    """SQL of their ids, actions and deadlines: of each status a range of the index, `most` of its entries.

    How long a request has is not in the index: of the `most` whose deadline comes next, those due soon are chosen.
    """
    sql = dialect()
    side, chosen = "<=", ""
    if state == DeadlineState.DUE_SOON:
        left = sql.microseconds.format(sql.now, "deadline_at")
        side, chosen = ">", f" WHERE 10 * {left} <= {sql.microseconds.format('created_at', 'deadline_at')}"
    return " UNION ALL ".join(
        f"SELECT id, action, deadline_at FROM (SELECT id, action, created_at, deadline_at FROM requests "
        f"{sql.force('requests_deadline')} WHERE status = '{status}' AND deadline_at {side} {sql.now} "
        f"AND scrubbed_at IS NULL ORDER BY deadline_at, id LIMIT {most}) AS {status}{chosen}"
        for status in NOT_DONE
    )
