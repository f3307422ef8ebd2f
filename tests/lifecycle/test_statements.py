"""Statements per pass do not grow with rows, and an idle pass asks little."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from jobs_app.db.dialect import dialect
from jobs_app.limit_rules import parse_limits
from jobs_app.models import Job, Limit
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.models.pass_run import PassRun, RunRecord
from jobs_app.outcomes import Failure, JobContext, Retry
from jobs_app.registry import job, limits_of, unregister
from jobs_app.worker.recording import record_results
from jobs_app.worker.shutdown import Stop
from requests_app import recipes
from requests_app.models import Request
from requests_app.passes.inprogress_requests import progress_locked
from requests_app.recipes import Recipe, Step
from requests_app.worker import run_worker
from tests.factories import held, insert_raw, make_job, make_request, pass_inprogress, pass_jobs, pass_new
from tests.lifecycle.statements import counting_commits, listening

pytestmark = pytest.mark.django_db(transaction=True)

FEW, MANY = 10, 400
ONE_STEP = '[{"name": "only", "jobs": ["async_noop"]}]'
MAY_FAIL = '{"job": "async_noop", "if_fails": "continue"}'
TWO_STEPS = '[{"name": "first", "jobs": ["async_noop", "noop_1"]}, {"name": "second", "jobs": ["noop_2", "noop_3"]}]'


def count(work: Callable[[], object]) -> int:
    with listening() as heard:
        work()
    return len(heard)


def clear() -> None:
    Job.objects.all().delete()
    Request.objects.all().delete()


def in_progress(number: int, status: str, name: str = "async_noop", steps: str = ONE_STEP) -> None:
    """That many requests in progress whose job has this status."""
    first = make_request("Inprogress", [name])
    make_job(first, name, status, lease=-1)
    now = dialect("default").now
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO requests (action, steps, status, started_at) VALUES (%s, %s, 'Inprogress', {now})",
            [("made_up", steps)] * (number - 1),
        )
        cursor.execute(
            "INSERT INTO jobs (request_id, step, name, status, due_at, claimed_by, lease_until, started_at, "
            "completed_at) SELECT r.id, 0, %s, j.status, j.due_at, j.claimed_by, j.lease_until, j.started_at, "
            "j.completed_at FROM requests r, jobs j WHERE r.id <> j.request_id",
            [name],
        )
    Request.objects.update(steps=Request.objects.order_by("-id").values_list("steps", flat=True)[0])


def _add_to(totals: dict[str, int], work: Callable[[], dict[str, int]]) -> None:
    totals.update(work())


def counted(prepare: Callable[[int], object], work: Callable[[], dict[str, int]]) -> tuple[int, int]:
    """Statements of the pass over few rows and over many; each time all rows are dealt with."""
    found = []
    for number in (FEW, MANY):
        prepare(number)
        totals: dict[str, int] = {}
        found.append(count(partial(_add_to, totals, work)))
        assert max(totals.values()) == number, totals
        clear()
    return found[0], found[1]


def queue(number: int, **columns: str) -> None:
    with transaction.atomic():
        for _ in range(number):
            insert_raw(**columns)


@pytest.mark.parametrize(
    "columns",
    [{"steps": TWO_STEPS}, {"action": "delete_user"}, {"steps": "[]"}, {"action": "nobody knows it"}],
    ids=str,
)
def test_a_pick_up_of_many_takes_as_many_statements_as_one_of_few(columns: dict[str, str]) -> None:
    few, many = counted(lambda number: queue(number, **columns), pass_new)
    assert few == many <= 8


def test_a_recipes_deadline_costs_no_statement() -> None:
    taken = []
    for deadline in (None, "30d"):
        recipes.register(Recipe("measured", (Step("only", ("async_noop",)),), deadline))
        queue(FEW, action="measured")
        taken.append(count(pass_new))
        recipes.unregister("measured")
    assert Request.objects.filter(deadline_at__isnull=False).count() == FEW
    assert taken[0] == taken[1]


@pytest.mark.parametrize("keys", [[], ["a-key-0123456789-abcdefghij-0123456789"]], ids=len)
@pytest.mark.parametrize("steps", [None, "[]"])
def test_a_recipes_subject_costs_no_statement(settings: Any, keys: list[str], steps: str | None) -> None:
    settings.WRK_SUBJECT_KEYS = keys
    taken = []
    for subject in (None, "id"):
        recipes.register(Recipe("measured", (Step("only", ("async_noop",)),), subject=subject))
        queue(FEW, action="measured", params='{"id": 4711}', **({"steps": steps} if steps else {}))
        taken.append(count(pass_new))
        recipes.unregister("measured")
    assert Request.objects.exclude(subject="").count() == FEW
    assert taken[0] == taken[1]


# A pass of batches: what it takes, as a function of rows. The row of the run is written twice, at its start and end.
@pytest.mark.parametrize("rows", [1, 499, 500, 1200])
def test_a_pick_up_takes_four_statements_and_a_commit_a_batch(rows: int) -> None:
    queue(rows, steps=ONE_STEP)
    with listening() as heard, counting_commits() as commits:
        assert pass_new() == {"started": rows}
    batches, last_look = divmod(rows, 500)
    # Besides: the run's row twice, whether anything is due, and what is left, locked by others.
    assert len(heard) == 4 + 4 * (batches + (rows % 500 > 0)) + (last_look == 0)
    assert len(commits) == batches + 1


@pytest.mark.parametrize(
    ("status", "steps"), [("completed", ONE_STEP), ("failure", ONE_STEP), ("completed", TWO_STEPS)]
)
def test_moving_many_on_takes_as_many_statements_as_moving_few(status: str, steps: str) -> None:
    one_job = steps.replace(', "noop_1"', "")
    few, many = counted(lambda number: in_progress(number, status, steps=one_job), pass_inprogress)
    assert few == many <= 10


def test_ending_many_lost_leases_takes_as_many_statements_as_ending_few() -> None:
    few, many = counted(lambda number: in_progress(number, "inprogress"), pass_jobs)
    assert few == many <= 15


async def finds(_: JobContext) -> dict[str, str]:
    return {"found": "this"}


async def refuses(_: JobContext) -> None:
    raise Failure("no")


async def asks_again(_: JobContext) -> None:
    raise Retry("later", after=60)


@pytest.mark.parametrize("callback", [finds, refuses, asks_again])
def test_running_many_jobs_takes_few_more_statements_than_running_few(callback: Callable[..., Any]) -> None:
    # How many ends meet in one batch is a matter of time; one statement for each row would be 400 more.
    job("measured")(callback)
    try:
        few, many = counted(
            lambda number: in_progress(number, "new", "measured"), lambda: pass_jobs(concurrency=MANY + 100)
        )
    finally:
        unregister("measured")
    assert few < 40
    assert many < few + 60


def test_many_plain_jobs_take_far_less_than_one_statement_each() -> None:
    in_progress(MANY, "new", "noop")
    assert count(pass_jobs) < MANY


@pytest.mark.parametrize("work", [pass_new, pass_jobs, pass_inprogress])
@pytest.mark.parametrize("backlog", ["none", "of others"])
def test_an_idle_pass_takes_few_statements(work: Callable[[], dict[str, int]], backlog: str) -> None:
    if backlog == "of others":
        for status in ("Completed", "Failed", "Cancelled", "Inprogress"):
            make_job(make_request(status), "noop", "new", due_in=60)
        make_request("Queuing", due_in=60)
        make_job(make_request("Inprogress"), "noop", "inprogress", lease=60)
    with listening() as heard:
        assert work() == {}
    assert len(heard) <= 4 + 2 * (work is pass_inprogress), heard  # which asks for answers and due receipts as well


# What recording a batch and moving its requests on takes: locks of both, results, a look at the step, requests, jobs,
# tallies. Of retries: a look at what is doomed and their successors instead of requests and jobs.
@pytest.mark.parametrize("ends", [FEW, MANY])
def test_going_on_without_jobs_that_failed_takes_no_statement_more(ends: int) -> None:
    in_progress(ends, "inprogress", steps=TWO_STEPS.replace('"async_noop", "noop_1"', MAY_FAIL))
    Job.objects.update(if_fails="continue")
    failed = [Result(held(one), JobStatus.FAILURE, "no") for one in Job.objects.all()]
    run = RunRecord("run_worker")
    with listening() as heard, counting_commits() as commits:
        assert len(record_results(failed, run, on_recorded=progress_locked).won) == ends
    assert Request.objects.filter(step=1, shortfall=1).count() == ends
    assert (len(heard), len(commits)) == (6, 1), [statement.sql[:25] for statement in heard]


@pytest.mark.parametrize("ends", [FEW, MANY])
@pytest.mark.parametrize(
    ("step", "status", "statements"),
    [
        ('["async_noop"]', JobStatus.COMPLETED, 6),  # the results themselves settle the step: its rows are not read
        ('["async_noop", "noop_1"]', JobStatus.COMPLETED, 7),
        ('["async_noop", "noop_1"]', JobStatus.RETRY, 7),
    ],
)
def test_recording_a_batch_and_moving_its_requests_on_is_one_commit_of_few_statements(
    ends: int, step: str, status: JobStatus, statements: int
) -> None:
    in_progress(ends, "inprogress", steps=TWO_STEPS.replace('["async_noop", "noop_1"]', step))
    done = [Result(held(one), status, last_attempt=9) for one in Job.objects.filter(status="inprogress")]
    if "noop_1" in step:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO jobs (request_id, step, name, status, completed_at) "
                f"SELECT id, 0, 'noop_1', 'completed', {dialect('default').now} FROM requests",
                [],
            )

    run = RunRecord("run_worker")
    with listening() as heard, counting_commits() as commits:
        assert len(record_results(done, run, on_recorded=progress_locked).won) == ends
    assert Request.objects.filter(step=1).count() == (ends if status == JobStatus.COMPLETED else 0)
    assert (len(heard), len(commits)) == (statements, 1), [statement.sql[:25] for statement in heard]


# Limits --------------------------------------------------------------------------------------------------------------
LIMITS = "measured concurrency=1000 breaker=5"


@pytest.fixture
def limited() -> Iterator[None]:
    """The job `limited` has the limit `measured`."""
    job("limited", limit="measured")(asks_again)
    yield
    unregister("limited")


def test_without_limits_set_a_job_that_has_one_costs_no_statement(limited: None) -> None:
    with listening() as heard:
        queue(FEW, steps=ONE_STEP.replace("async_noop", "limited"))
        assert (pass_new()["started"], pass_jobs()["retry"]) == (FEW, FEW)
    assert {re.sub(r" WHERE.*", "", one.sql)[:40] for one in heard if re.search(r"\blimits\b", one.sql)} == {
        "SELECT UTC_TIMESTAMP(6), EXISTS(SELECT 1"
        if connection.vendor == "mysql"
        else "SELECT strftime('%%Y-%%m-%%d %%H:%%M:%%f"
    }  # the poll's own


def test_a_job_without_a_limit_costs_no_statement_more_where_others_have_one(limited: None, settings: Any) -> None:
    taken = []
    for limits in ("", LIMITS):
        settings.WRK_LIMITS = parse_limits(limits)
        queue(FEW, steps=ONE_STEP)
        lanes = {name: rule.lane for name, rule in limits_of(["limited", "async_noop"]).items()}
        counts = [count(pass_new), count(lambda: Job.objects.claim("now", 500, 30, lanes=lanes))]  # noqa: B023
        ended = [Result(held(one), JobStatus.COMPLETED, ran_microseconds=9) for one in Job.objects.all()]
        counts.append(count(lambda: record_results(ended, RunRecord("run_worker"), on_recorded=progress_locked)))  # noqa: B023
        assert Request.objects.filter(status="Completed").count() == FEW
        taken.append(counts)
        clear()
    assert taken[0] == taken[1]


@pytest.mark.parametrize("waiting", [FEW, MANY])
def test_what_permits_cost_does_not_grow_with_the_lane(waiting: int, limited: None, settings: Any) -> None:
    settings.WRK_LIMITS = parse_limits(LIMITS)
    rule = settings.WRK_LIMITS["measured"]
    Limit.objects.ensure([rule])
    in_progress(waiting, "new", "limited")
    lanes = {"limited": rule.lane}
    assert count(lambda: Job.objects.claim("now", 500, 30, lanes=lanes)) == 2  # they are put into their lane
    assert count(lambda: Job.objects.look_at_lanes(["measured"])) == 1
    # Lock the limit, count what runs, choose, claim; without a rate its schedule stays.
    assert count(lambda: Job.objects.claim_from_lane(rule, "a claim", 500, 30)) == 4
    ended = [Result(held(one), JobStatus.COMPLETED, ran_microseconds=9) for one in Job.objects.all()]
    assert len(ended) == waiting
    run, half = RunRecord("run_worker"), waiting // 2
    plain = [result._replace(job=result.job._replace(name="noop")) for result in ended[:half]]
    without = count(lambda: record_results(plain, run))
    assert count(lambda: record_results(ended[half:], run)) == without
    # And one look at the breaker, which locks nothing while all is well.
    assert count(lambda: Limit.objects.count_ends(ended[half:])) == 1
    assert count(lambda: Limit.objects.count_ends(plain)) == 0


def test_an_idle_worker_keeps_one_row_and_asks_no_more_than_a_few_times_a_second_each() -> None:
    run = RunRecord("run_worker")
    with listening() as heard:
        run_worker(Stop(max_seconds=1), run)
    assert PassRun.objects.count() == 1
    assert {statement.sql.split()[0] for statement in heard} <= {"SELECT", "UPDATE"}
    assert sum(statement.sql.startswith("UPDATE") for statement in heard) <= 2


def test_what_is_read_at_once_is_bounded_whatever_the_backlog() -> None:
    in_progress(700, "completed")
    with listening() as heard:
        assert pass_inprogress() == {"requests_completed": 700}
    lists = [ids for statement in heard for ids in re.findall(r"IN \(([\d, ]+)\)", statement.sql)]
    assert max(ids.count(",") + 1 for ids in lists) == 500
