"""Who is past the deadline or near it: counted by action, found by ids, and said of one request, by one rule."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from prometheus_client import CollectorRegistry

from jobs_app.db.dialect import database_now
from requests_app.models import Request
from requests_app.monitoring import deadlines
from requests_app.monitoring.deadlines import DeadlineState, count_by_deadline, deadline_state, ids_by_deadline
from requests_app.monitoring.gauges import DatabaseCollector
from tests.factories import make_request

pytestmark = pytest.mark.django_db(transaction=True)
OVERDUE, DUE_SOON = DeadlineState
STATES = ("Queuing", "Inprogress", "Failed", "Completed", "Cancelled")


def request(status: str, placed: float, left: float, **columns: Any) -> Request:
    """Placed so many seconds ago; its deadline comes in `left` seconds."""
    now = database_now()
    moments = {"created_at": now - timedelta(seconds=placed), "deadline_at": now + timedelta(seconds=left)}
    return make_request(status, **moments | columns)


# (placed, left) in seconds -> its state while it is not done.
CASES = {
    (1000, -1): OVERDUE,
    (1000, -1_000_000): OVERDUE,
    (-1000, -100): OVERDUE,  # the caller's deadline was over before
    (1000, 2000): None,
    (1000, 125): None,
    (1000, 100): DUE_SOON,  # of 1100 s
    (1000, 60): DUE_SOON,
    (30 * 86_400, 4 * 86_400): None,
    (30 * 86_400, 3 * 86_400): DUE_SOON,
}


@pytest.mark.parametrize(("case", "state"), CASES.items())
@pytest.mark.parametrize("status", STATES)
def test_what_is_not_done_is_overdue_past_its_deadline_and_due_soon_in_its_last_tenth(
    status: str, case: tuple[float, float], state: DeadlineState | None
) -> None:
    made = request(status, *case)
    expected = None if status in {"Completed", "Cancelled"} else state
    assert deadline_state(made, database_now()) == expected
    found = {one: ids_by_deadline(one, 10) for one in DeadlineState}
    assert found == {one: [made.pk] if one == expected else [] for one in DeadlineState}
    assert {one for one, counts in count_by_deadline(connection).items() if sum(counts.values())} == {expected} - {None}


def test_without_a_deadline_nobody_is_late() -> None:
    made = make_request("Inprogress")
    assert deadline_state(made, database_now()) is None
    assert not any(ids_by_deadline(state, 10) for state in DeadlineState)


def test_a_failed_one_that_was_scrubbed_can_never_be_done_and_is_not_counted() -> None:
    made = request("Failed", 1000, -5, scrubbed_at=database_now())
    assert deadline_state(made, database_now()) is None
    assert ids_by_deadline(OVERDUE, 10) == []


def test_the_earliest_deadlines_come_first_up_to_the_bound_over_all_statuses() -> None:
    late = [request(status, 1000, -seconds).pk for seconds, status in ((9, "Failed"), (7, "Queuing"), (8, "Failed"))]
    assert ids_by_deadline(OVERDUE, 10) == [late[0], late[2], late[1]]
    assert ids_by_deadline(OVERDUE, 2) == [late[0], late[2]]


def test_counting_stops_at_its_bound_in_each_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "MOST_LATE", 2)
    for _ in range(4):
        request("Failed", 1000, -5)
        request("Queuing", 1000, 5)
    assert {state: counts["other"] for state, counts in count_by_deadline(connection).items()} == {
        OVERDUE: 2,
        DUE_SOON: 2,
    }


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    return registry


def test_metrics_tell_them_by_action_and_other_where_there_is_no_recipe(registry: CollectorRegistry) -> None:
    def told(name: str, action: str) -> float | None:
        return registry.get_sample_value(f"tasker_requests_{name}", {"action": action})

    actions = ("delete_user", "update_user", "other")
    assert [told(name, action) for name in ("overdue", "due_soon") for action in actions] == [0] * 6
    for action in ("delete_user", "delete_user", "Delete_user", "nobody knows it"):
        request("Inprogress", 1000, -5, action=action)
    request("Queuing", 1000, 5, action="update_user")
    assert [told("overdue", action) for action in actions] == [2, 0, 2]
    assert [told("due_soon", action) for action in actions] == [0, 1, 0]
    assert told("overdue", "nobody knows it") is None


def test_counting_is_one_statement_however_many_there_are(django_assert_num_queries: Any) -> None:
    for status in STATES * 3:
        request(status, 1000, -5)
        request(status, 1000, 5)
    with django_assert_num_queries(1):
        count_by_deadline(connection)
