"""What the database refuses while ends are recorded: whose fault it is taken for."""

from collections.abc import Sequence

import pytest
from django.db import OperationalError, connection

from jobs_app.db import transactions
from jobs_app.models import completions
from jobs_app.models.attempts import NewJob
from jobs_app.models.inserts import insert_jobs
from jobs_app.worker.executor import _MOST_LARGE_BYTES
from tests.faults.clock import HastyClock
from tests.faults.life import Life, Ran, steps

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

REQUESTS = 400  # all in one batch of a completer


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "time", HastyClock())


@pytest.mark.parametrize("number", [1142, 1054, 1064])
def test_a_statement_that_the_server_refuses_whatever_the_row_fails_no_job(
    number: int, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right not granted, a column not migrated yet: no row is better or worse for it."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO requests (action, steps) VALUES ('made up', %s)", [steps(["second_time"])])
    assert life.run("run_new_requests") == Ran()

    def refuse(jobs: Sequence[NewJob]) -> None:
        if jobs:
            raise OperationalError(number, "refused, whatever the row")
        insert_jobs(jobs)

    with monkeypatch.context() as patch:
        patch.setattr(completions, "insert_jobs", refuse)
        assert life.run("run_jobs").error.startswith("run_jobs: the database")
    assert [row["status"] for row in life.rows("jobs")] == ["inprogress"]
    life.finish()
    assert [row["status"] for row in life.rows("requests")] == ["Completed"]


def test_extras_that_together_exceed_a_packet_are_recorded_all_the_same(life: Life) -> None:
    """A batch's ends are small, but with them all its requests' extras are written anew."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        size = int(min(cursor.fetchone()[0] * 1.5, _MOST_LARGE_BYTES * 0.9) / REQUESTS)  # claimed in one batch
        for _ in range(REQUESTS):
            cursor.execute(
                "INSERT INTO requests (action, steps, extras) VALUES ('made up', %s, JSON_OBJECT('found before', "
                "REPEAT('x', %s)))",
                [steps(["finds_async"]), size],
            )
    assert life.run("run_new_requests") == Ran()
    assert life.run("run_jobs", concurrency=REQUESTS) == Ran()
    assert {row["status"] for row in life.rows("jobs")} == {"completed"}
