"""A roll-out: the release before waits, answers and reach works on the new schema for a while, in its own statements.

They are those of its inserts.py, claims.py, completions.py and request.py, and know none of the new columns.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from jobs_app.db.dialect import dialect
from jobs_app.models import Answer, Job
from jobs_app.outcomes import JobContext, Wait
from jobs_app.registry import job, unregister
from requests_app.models import Request
from requests_app.operations.verify import ReadCount, findings
from tests.factories import (
    insert_answer,
    insert_raw,
    let_leases_run_out,
    pass_inprogress,
    pass_jobs,
    pass_new,
    shaped,
    statuses,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def approved() -> Iterator[None]:
    """A job that waits in the new release; the one before knows another callback of its name."""

    @job("approved")
    def approved(context: JobContext) -> None:
        raise Wait("an approval", within=3600)

    yield
    unregister("approved")


@pytest.fixture(autouse=True)
def no_backoff(settings: Any) -> None:
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = 0


class OldRelease:
    """What a process of it writes, move by move."""

    def __init__(self) -> None:
        self._sql = dialect("default")

    def pick_up(self, id_: int, *names: str, claimed: bool = False) -> None:
        with transaction.atomic():
            self._run(
                f"UPDATE requests {self._sql.by_id} SET status = 'Inprogress', step = 0, started_at = {self._sql.now} "
                f"WHERE id IN ({id_}) AND status = %s",
                "Queuing",
            )
            self._insert(id_, 0, names, claimed=claimed)

    def claim(self, *ids: int) -> None:
        listed = ", ".join(map(str, ids))
        self._run(
            f"UPDATE jobs {self._sql.by_id} SET status = 'inprogress', claimed_by = %s, started_at = {self._sql.now}, "
            f"lease_until = {self._sql.later.format(300)} WHERE id IN ({listed}) AND status = 'new'",
            "the old one's claim",
        )

    def hand_back(self, id_: int) -> None:
        self._run(
            "UPDATE jobs SET status = 'new', claimed_by = NULL, lease_until = NULL, started_at = NULL "
            f"WHERE id IN ({id_}) AND status = %s",
            "inprogress",
        )

    def end(self, id_: int, status: str, error: str = "") -> None:
        self._run(
            f"UPDATE jobs {self._sql.by_id} SET status = %s, completed_at = {self._sql.now}, claimed_by = NULL, "
            f"lease_until = NULL, error = CASE id WHEN {id_} THEN %s ELSE error END "
            f"WHERE id IN ({id_}) AND status = 'inprogress'",
            status,
            error,
        )

    def retry(self, id_: int) -> None:
        row = Job.objects.get(id=id_)
        with transaction.atomic():
            self.end(id_, "retry", "as the old callback said")
            self._insert(row.request_id, row.step, [row.name], attempt=row.attempt + 1)

    def advance(self, id_: int, step: int, *names: str) -> None:
        with transaction.atomic():
            self._run(
                f"UPDATE requests {self._sql.by_id} SET step = step + 1 WHERE id IN ({id_}) AND status = %s",
                "Inprogress",
            )
            self._insert(id_, step, names)

    def _insert(self, id_: int, step: int, names: Sequence[str], *, attempt: int = 1, claimed: bool = False) -> None:
        rows = ", ".join([f"{self._sql.row}({id_}, {step}, %s, {attempt}, 10)"] * len(names))
        columns, values = "status", "'new'"
        if claimed:
            columns = "status, claimed_by, started_at, lease_until"
            values = f"'inprogress', 'the old one', {self._sql.now}, {self._sql.later.format(300)}"
        self._run(
            f"INSERT INTO jobs (request_id, step, name, attempt, last_attempt, due_at, {columns}) "
            f"WITH new (request_id, step, name, attempt, last_attempt) AS (VALUES {rows}) "
            f"SELECT request_id, step, name, attempt, last_attempt, {self._sql.now}, {values} FROM new",
            *names,
        )

    def _run(self, sql: str, *values: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            assert cursor.rowcount, sql


@pytest.fixture
def old() -> OldRelease:
    return OldRelease()


def pass_until_all_is_over() -> None:
    for _ in range(8):
        for run_pass in (pass_new, pass_jobs, pass_inprogress):
            run_pass()


def assert_all_is_well() -> None:
    assert set(Request.objects.values_list("status", "shortfall", "deadline_at")) == {("Completed", 0, None)}
    assert list(findings(ReadCount())) == []


def waiting() -> tuple[Request, Job]:
    """As the new passes leave it."""
    request = Request.objects.get(id=insert_raw(steps=shaped(["approved"], ["noop"])))
    pass_new()
    pass_jobs()
    row = Job.objects.get()
    assert row.is_waiting
    return request, row


# Rows that the old release left at each stage -------------------------------------------------------------------------
def test_rows_that_the_old_release_wrote_at_every_stage_are_taken_to_the_end(old: OldRelease) -> None:
    ids = [insert_raw(steps=shaped(["noop", "noop_1"], ["noop_2"])) for _ in range(7)]
    jobs = Job.objects.order_by("id")
    for id_ in ids[1:]:
        old.pick_up(id_, "noop", "noop_1", claimed=id_ == ids[1])
    for id_ in ids[3:]:
        old.claim(*jobs.filter(request_id=id_).values_list("id", flat=True))
    old.end(jobs.filter(request_id=ids[4])[0].id, "completed")
    old.retry(jobs.filter(request_id=ids[4])[1].id)
    for id_ in ids[5:]:
        for row in jobs.filter(request_id=id_):
            old.end(row.id, "completed")
    old.advance(ids[6], 1, "noop_2")
    assert set(jobs.values_list("if_fails", "answer_by", "waits_for", "checks")) == {("stop", None, None, 0)}
    let_leases_run_out()
    pass_until_all_is_over()
    assert_all_is_well()


def test_a_failure_that_the_old_release_left_stops_its_request(old: OldRelease) -> None:
    request = Request.objects.get(id=insert_raw(steps=shaped(["noop", "noop_1"])))
    old.pick_up(request.id, "noop", "noop_1", claimed=True)
    first, second = Job.objects.order_by("id")
    old.end(first.id, "failure", "as the old callback said")
    old.end(second.id, "completed")
    pass_until_all_is_over()
    request.refresh_from_db()
    assert (request.status, request.error) == ("Failed", "noop failed: as the old callback said")
    assert list(findings(ReadCount())) == []


# A row that waits, in the old release's hands -------------------------------------------------------------------------
def test_a_waiting_row_that_the_old_release_hands_back_waits_on_and_an_answer_ends_that_attempt(
    old: OldRelease,
) -> None:
    request, row = waiting()
    old.claim(row.id)
    insert_answer(request, "approved")
    assert pass_inprogress() == {}, "the answer is left while the job runs"
    old.hand_back(row.id)
    again = Job.objects.get()
    assert again.is_waiting
    assert (again.answer_by, again.attempt, again.checks) == (row.answer_by, 1, 1)
    assert pass_inprogress()["answers_taken"] == 1
    pass_until_all_is_over()
    assert statuses(request) == {("approved", 1): "completed", ("noop", 1): "completed"}
    assert_all_is_well()


def test_a_waiting_row_that_the_old_release_tries_again_waits_anew_and_takes_the_answer(old: OldRelease) -> None:
    request, row = waiting()
    old.claim(row.id)
    insert_answer(request, "approved", "retry", attempt=1)
    insert_answer(request, "approved")
    old.retry(row.id)
    successor = Job.objects.get(attempt=2)
    assert (successor.answer_by, successor.checks, successor.if_fails) == (None, 0, "stop")
    pass_until_all_is_over()
    assert statuses(request) == {("approved", 1): "retry", ("approved", 2): "completed", ("noop", 1): "completed"}
    assert list(Answer.objects.order_by("id").values_list("effect", flat=True)) == ["late", "taken"]
    assert_all_is_well()


def test_a_waiting_row_that_the_old_release_completes_or_dies_over_goes_on(old: OldRelease) -> None:
    request, row = waiting()
    old.claim(row.id)
    let_leases_run_out()
    pass_jobs()
    assert statuses(request) == {("approved", 1): "retry", ("approved", 2): "new"}
    Job.objects.filter(attempt=2).update(due_at=F("created_at"))  # it was due a moment later
    pass_jobs()
    successor = Job.objects.get(attempt=2)
    assert successor.is_waiting
    old.claim(successor.id)
    old.end(successor.id, "completed")
    insert_answer(request, "approved", "failure")
    pass_until_all_is_over()
    assert Answer.objects.get().effect == "late"
    assert_all_is_well()
