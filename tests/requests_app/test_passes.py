"""run_new_requests and run_inprogress_requests, each in this process on the test database."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection

from jobs_app.models import Job
from jobs_app.models.pass_run import PassRun, RunRecord
from jobs_app.registry import job, unregister
from jobs_app.worker.shutdown import Stop
from requests_app import recipes
from requests_app.models import Request
from requests_app.operations.verify import ReadCount, findings
from requests_app.passes import inprogress_requests, new_requests
from requests_app.recipes import Job as StepJob
from requests_app.recipes import Recipe, Step
from requests_app.worker import run_worker
from tests.factories import (
    changes_by,
    insert_raw,
    make_job,
    make_request,
    pass_inprogress,
    pass_jobs,
    pass_new,
    rows,
    statuses,
)

pytestmark = pytest.mark.django_db(transaction=True)
ONE_STEP = '[{"name": "only", "jobs": ["noop"]}]'


@pytest.fixture
def recipe() -> Iterator[Recipe]:
    made = Recipe("by_recipe", (Step("first", ("noop", "noop_1")), Step("second", ("noop_2",))))
    recipes.register(made)
    yield made
    recipes.unregister("by_recipe")


# Pick-up --------------------------------------------------------------------------------------------------------------
def test_a_good_request_gets_its_first_steps_jobs_and_is_in_progress(settings: Any) -> None:
    settings.WRK_JOB_MAX_ATTEMPTS = 7
    request = make_request("Queuing", ["noop", "noop_1"], ["noop_2"])
    assert pass_new() == {"started": 1}
    request.refresh_from_db()
    assert (request.status, request.step, request.error) == ("Inprogress", 0, "")
    assert request.started_at is not None
    assert statuses(request) == {("noop", 1): "new", ("noop_1", 1): "new"}
    assert set(Job.objects.values_list("step", "last_attempt")) == {(0, 7)}
    assert pass_new() == {}


def test_the_recipe_is_copied_at_pick_up_and_a_later_change_touches_nothing(recipe: Recipe) -> None:
    request = make_request(action="by_recipe", recipe=True)
    pass_new()
    recipes.unregister("by_recipe")
    recipes.register(Recipe("by_recipe", (Step("new", ("noop_4",)),)))
    for _ in range(2):
        pass_jobs()
        pass_inprogress()
    request.refresh_from_db()
    assert request.status == "Completed"
    assert request.steps == [
        {"name": "first", "jobs": ["noop", "noop_1"]},
        {"name": "second", "jobs": ["noop_2"]},
    ]
    assert sorted(statuses(request)) == [("noop", 1), ("noop_1", 1), ("noop_2", 1)]


def test_a_request_in_flight_goes_on_when_its_action_has_no_recipe_any_more(recipe: Recipe) -> None:
    request = make_request(action="by_recipe", recipe=True)
    pass_new()
    recipes.unregister("by_recipe")
    for _ in range(2):
        pass_jobs()
        pass_inprogress()
    recipes.register(recipe)  # for the fixture
    request.refresh_from_db()
    assert request.status == "Completed"


def test_own_steps_go_before_the_recipe_and_need_none(recipe: Recipe) -> None:
    own = make_request("Queuing", ["noop_4"], action="by_recipe")
    unknown = make_request("Queuing", ["noop_3"], action="nobody knows it")
    pass_new()
    assert statuses(own) == {("noop_4", 1): "new"}
    assert statuses(unknown) == {("noop_3", 1): "new"}


# The recipe's deadline ------------------------------------------------------------------------------------------------
@pytest.fixture
def in_30_days() -> Iterator[None]:
    recipes.register(Recipe("in_30_days", (Step("only", ("noop",)),), deadline="30d"))
    yield
    recipes.unregister("in_30_days")


DAYS_30 = timedelta(days=30)


@pytest.mark.usefixtures("in_30_days")
@pytest.mark.parametrize("own_steps", [False, True])
def test_a_recipes_deadline_counts_from_when_the_request_was_placed(own_steps: bool) -> None:
    placed = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    request = make_request(action="in_30_days", recipe=not own_steps, created_at=placed)
    other = make_request(action="made_up")
    pass_new()
    request.refresh_from_db()
    other.refresh_from_db()
    assert (request.status, request.deadline_at) == ("Inprogress", placed + DAYS_30)
    assert (other.status, other.deadline_at) == ("Inprogress", None)


@pytest.mark.usefixtures("in_30_days")
def test_a_callers_own_deadline_stays_over_pick_up_failure_and_retry_by_hand() -> None:
    moment = datetime(2026, 7, 8, 9, 10, 11, tzinfo=UTC)
    request = make_request("Queuing", ["fails"], action="in_30_days", deadline_at=moment)
    for _ in range(2):
        pass_new()
        pass_jobs()
        pass_inprogress()
        request.refresh_from_db()
        assert (request.status, request.deadline_at) == ("Failed", moment)
        Request.objects.retry_failed(request.token)


@pytest.mark.usefixtures("in_30_days")
def test_a_retry_by_hand_and_a_scrub_keep_the_recipes_deadline() -> None:
    request = make_request("Queuing", ["fails"], action="in_30_days")
    pass_new()
    pass_jobs()
    pass_inprogress()
    assert Request.objects.retry_failed(request.token)
    Request.objects.cancel(request.token)
    request.refresh_from_db()
    assert request.deadline_at == request.created_at + DAYS_30
    assert Request.objects.scrub([request.pk], "Cancelled", -60) == 1
    assert Request.objects.filter(pk=request.pk, deadline_at=request.created_at + DAYS_30).exists()


@pytest.mark.usefixtures("in_30_days")
@pytest.mark.parametrize(("placed", "deadline"), [("1970-01-01", "1970-01-31"), ("9999-12-31", None)])
def test_a_moment_that_no_deadline_can_follow_stops_no_pick_up(placed: str, deadline: str | None) -> None:
    id_ = insert_raw("in_30_days", created_at=f"{placed} 00:00:00.000000")
    beside = insert_raw("in_30_days")
    assert pass_new() == {"started": 2}
    assert Request.objects.get(pk=id_).deadline_at == (deadline and datetime.fromisoformat(f"{deadline}T00:00Z"))
    assert Request.objects.get(pk=beside).deadline_at is not None


@pytest.mark.usefixtures("in_30_days")
def test_a_refused_request_gets_no_deadline_of_a_recipe() -> None:
    id_ = insert_raw("in_30_days", params="[]")
    assert pass_new() == {"refused": 1}
    assert Request.objects.get(pk=id_).deadline_at is None


def test_a_request_is_left_until_it_is_due() -> None:
    make_request(due_in=60)
    assert changes_by(pass_new) == {}


def test_the_oldest_are_taken_first_and_no_more_than_the_limit() -> None:
    young, oldest, old = (make_request(due_in=-seconds) for seconds in (1, 100, 50))
    assert pass_new(limit=2) == {"started": 2}
    for request in (young, oldest, old):
        request.refresh_from_db()
    assert (oldest.status, old.status, young.status) == ("Inprogress", "Inprogress", "Queuing")


def test_refused_ones_count_towards_the_limit() -> None:
    insert_raw(steps="[]")
    good = make_request()
    assert pass_new(limit=1) == {"refused": 1}
    good.refresh_from_db()
    assert good.status == "Queuing"


def test_a_backlog_is_taken_in_batches_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_requests, "BATCH", 3)
    for number in range(8):
        insert_raw(steps=ONE_STEP if number % 3 else "[]")
    assert pass_new() == {"started": 5, "refused": 3}
    assert Job.objects.count() == 5


@pytest.mark.parametrize(
    ("columns", "place", "remedy"),
    [
        ({"action": "nope"}, 'action: unknown action "nope"', "known: delete_user, update_user; or give the request"),
        ({"action": "Delete_user"}, 'action: unknown action "Delete_user"', "known: delete_user"),
        ({"action": ""}, 'action: unknown action ""', "known: delete_user"),
        ({"steps": "null"}, "steps: nothing", "leave the column out to use the action's recipe"),
        ({"steps": "[]"}, "steps: an empty list", "at least one"),
        ({"steps": '"noop"'}, "steps: a string", "at least one"),
        ({"steps": "{}"}, "steps: an object", "at least one"),
        ({"steps": "[7]"}, "steps[0]: a number", 'where {"name": ..., "jobs": [...]} is needed'),
        ({"steps": '[{"jobs": ["noop"]}]'}, "steps[0].name: nothing", "a name is needed"),
        ({"steps": '[{"name": "a", "jobs": []}]'}, "steps[0].jobs: an empty list", "at least one job name is needed"),
        (
            {"steps": '[{"name": "a", "jobs": ["noop", "noop"]}]'},
            'steps[0].jobs[1]: "noop" stands in this step already',
            "put the repeat into a step of its own",
        ),
        (
            {"steps": '[{"name": "a", "jobs": ["noop"]}, {"name": "b", "jobs": ["service9_delete_user"]}]'},
            'steps[1].jobs[0]: unknown job "service9_delete_user"; known: ',
            "async_noop",
        ),
        ({"steps": ONE_STEP, "params": "[1]"}, "params: not a JSON object", 'for example {"id": 7}'),
        ({"steps": ONE_STEP, "params": "null"}, "params: not a JSON object", 'for example {"id": 7}'),
        ({"steps": ONE_STEP, "params": '"x"'}, "params: not a JSON object", 'for example {"id": 7}'),
        ({"steps": ONE_STEP, "params": "7"}, "params: not a JSON object", 'for example {"id": 7}'),
        ({"action": "delete_user", "params": "[7]"}, "params: not a JSON object", 'for example {"id": 7}'),
        (
            {"steps": json.dumps([{"name": "a", "jobs": ["x" * 200]}])},
            "steps[0].jobs[0]: 200 characters",
            "at most 100",
        ),
        ({"steps": json.dumps([{"name": "a", "jobs": ["noop"]}] * 10_000)}, "steps: 3", "at most 262144 are read"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_request_fails_with_place_and_remedy_and_its_neighbours_complete(
    columns: dict[str, str], place: str, remedy: str
) -> None:
    before = insert_raw(steps=ONE_STEP, params="{}")
    bad = insert_raw(**columns)
    after = insert_raw(steps=ONE_STEP, params='{"id": 7}')
    assert pass_new() == {"started": 2, "refused": 1}
    pass_jobs()
    pass_inprogress()
    failed = Request.objects.get(pk=bad)
    assert (failed.status, failed.completed_at is not None) == ("Failed", True)
    assert failed.error.startswith(place)
    assert remedy in failed.error
    assert "\n" not in failed.error
    assert not failed.jobs.exists()
    assert set(Request.objects.filter(pk__in=[before, after]).values_list("status", flat=True)) == {"Completed"}


def test_a_request_with_many_steps_and_jobs_is_read(settings: Any) -> None:
    steps = [{"name": f"step {number}", "jobs": ["noop", "noop_1", "noop_2"]} for number in range(500)]
    request = insert_raw(steps=json.dumps(steps))
    assert pass_new() == {"started": 1}
    assert Job.objects.filter(request_id=request).count() == 3


def test_a_pick_up_that_the_database_refuses_leaves_all_as_it_was() -> None:
    make_request()
    insert_raw(steps="[]")

    def refuse(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        if sql.startswith("INSERT INTO jobs"):
            raise DatabaseError("no")
        return execute(sql, *arguments)

    before = rows()
    with connection.execute_wrapper(refuse), pytest.raises(DatabaseError):
        pass_new()
    assert rows() == before


# Moving on ------------------------------------------------------------------------------------------------------------
def test_the_next_steps_jobs_are_inserted_with_the_step_that_moves_on() -> None:
    @job("three_at_most", max_attempts=3)
    def three_at_most(context: object) -> None: ...

    request = make_request("Inprogress", ["noop"], ["noop_1", "three_at_most"])
    make_job(request, "noop", "completed")
    assert pass_inprogress() == {"advanced": 1}
    unregister("three_at_most")
    request.refresh_from_db()
    assert (request.step, request.status) == (1, "Inprogress")
    assert set(Job.objects.filter(step=1).values_list("name", "last_attempt", "status", "attempt")) == {
        ("noop_1", 10, "new", 1),
        ("three_at_most", 3, "new", 1),
    }


def test_a_failed_request_says_which_job_and_its_first_line() -> None:
    request = make_request("Inprogress", ["noop", "noop_1"])
    make_job(request, "noop", "completed")
    make_job(request, "noop_1", "failure", error="service2 answered 403\n\nTraceback...")
    assert pass_inprogress() == {"requests_failed": 1}
    request.refresh_from_db()
    assert (request.status, request.error) == ("Failed", "noop_1 failed: service2 answered 403")


def test_a_request_that_does_not_add_up_is_left_alone_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inprogress_requests, "BATCH", 2)
    for _ in range(5):
        make_request("Inprogress", due_in=-100)  # without its job's row
    done = make_request("Inprogress")
    make_job(done, "noop", "completed")
    assert pass_inprogress() == {"requests_completed": 1}
    assert pass_inprogress(limit=1) == {}


def test_the_limit_counts_what_moved_oldest_first() -> None:
    requests = [make_request("Inprogress", due_in=-seconds) for seconds in (1, 100, 50)]
    for request in requests:
        make_job(request, "noop", "completed")
    assert pass_inprogress(limit=2) == {"requests_completed": 2}
    assert [Request.objects.get(pk=request.pk).status for request in requests] == [
        "Inprogress",
        "Completed",
        "Completed",
    ]


def test_steps_that_cannot_be_read_any_more_fail_their_request_only() -> None:
    broken, good = make_request("Inprogress"), make_request("Inprogress")
    for request in (broken, good):
        make_job(request, "noop", "completed")
    Request.objects.filter(pk=broken.pk).update(steps={"no": "list"})
    assert pass_inprogress() == {"requests_completed": 1, "requests_failed": 1}
    broken.refresh_from_db()
    assert broken.error.startswith("its steps cannot be read any more: steps: an object")


def test_a_pass_that_is_told_to_stop_takes_nothing() -> None:
    make_request()
    done = make_request("Inprogress")
    make_job(done, "noop", "completed")
    stopped = Stop(max_seconds=0)
    assert changes_by(lambda: (pass_new(stop=stopped), pass_inprogress(stop=stopped))) == {}


# The whole way --------------------------------------------------------------------------------------------------------
def test_no_step_begins_before_the_one_before_it_is_complete() -> None:
    request = make_request("Queuing", ["noop", "noop_1"], ["noop_2"], ["noop_3", "noop"])
    pass_new()
    for _ in range(3):
        pass_jobs()
        pass_inprogress()
    request.refresh_from_db()
    assert request.status == "Completed"
    began: dict[int, list[Any]] = {}
    ended: dict[int, list[Any]] = {}
    for row in Job.objects.all():
        began.setdefault(row.step, []).append(row.started_at)
        ended.setdefault(row.step, []).append(row.completed_at)
    assert max(ended[0]) <= min(began[1])
    assert max(ended[1]) <= min(began[2])


# How far a failure reaches --------------------------------------------------------------------------------------------
def bring_to_its_end(request: Request, by: str) -> None:
    """By passes, each of whose backoffs is over at once, or by one worker."""
    pass_new()
    for _ in range(6):
        Job.objects.filter(status="new").update(due_at=request.created_at)
        if by == "worker":
            run_worker(Stop(max_seconds=0.3), RunRecord("run_worker"))
        else:
            pass_jobs()
            pass_inprogress()
        request.refresh_from_db()
        if request.completed_at:
            break
    assert [str(finding) for finding in findings(ReadCount())] == []


@pytest.mark.parametrize("by", ["cron", "worker"])
def test_after_a_failure_of_finish_the_others_end_and_then_each_that_failed_is_named(by: str, settings: Any) -> None:
    settings.WRK_JOB_MAX_ATTEMPTS, settings.WRK_JOB_BACKOFF_BASE_SECONDS = 3, 1000
    jobs = [StepJob(name, "finish") for name in ("fails", "raises", "retries", "noop")]
    request = make_request("Queuing", jobs, ["noop_1"], params={"succeed_at": 2})
    bring_to_its_end(request, by)
    assert (request.status, request.step, request.shortfall) == ("Failed", 0, 0)
    first, other = request.error.splitlines()
    assert first == "fails failed (as did raises): refused, as asked"
    assert other.startswith("raises failed: gave up after 3 attempts: ValueError in raises")
    assert {name: status for (name, _), status in statuses(request).items()} == {
        "fails": "failure",
        "raises": "failure",
        "retries": "completed",
        "noop": "completed",
    }


@pytest.mark.parametrize("by", ["cron", "worker"])
def test_a_request_goes_on_without_jobs_of_continue_and_says_how_many(by: str, settings: Any) -> None:
    settings.WRK_JOB_MAX_ATTEMPTS, settings.WRK_JOB_BACKOFF_BASE_SECONDS = 2, 1000
    may_fail = [StepJob(name, "continue") for name in ("fails", "raises")]
    request = make_request("Queuing", [*may_fail, "noop"], ["noop_1"], [may_fail[0]])
    bring_to_its_end(request, by)
    assert (request.status, request.step, request.shortfall, request.error) == ("Completed", 2, 3, "")


def test_a_failure_of_continue_beside_one_that_stops_is_no_shortfall_and_is_retried_with_it() -> None:
    request = make_request("Inprogress", ["noop", StepJob("noop_1", "continue")])
    make_job(request, "noop", "failure", error="no")
    make_job(request, StepJob("noop_1", "continue"), "failure", error="no")
    assert pass_inprogress() == {"requests_failed": 1}
    request.refresh_from_db()
    assert (request.error, request.shortfall) == ("noop failed: no", 0)
    assert Request.objects.retry_failed(request.token)
    bring_to_its_end(request, "cron")
    assert (request.status, request.shortfall) == ("Completed", 0)


def test_a_pick_up_counts_the_shortfall_from_nothing_whatever_the_caller_wrote() -> None:
    request = make_request(shortfall=7)
    pass_new()
    request.refresh_from_db()
    assert request.shortfall == 0


def test_each_pass_keeps_what_it_did_in_its_row() -> None:
    insert_raw(steps=ONE_STEP)
    insert_raw(steps="[]")
    pass_new()
    pass_jobs()
    pass_inprogress()
    kept = {run.name: (run.counts, run.error, run.ended_at is not None) for run in PassRun.objects.all()}
    assert kept == {
        "run_new_requests": ({"started": 1, "refused": 1}, "", True),
        "run_jobs": ({"claimed": 1, "completed": 1}, "", True),
        "run_inprogress_requests": ({"requests_completed": 1}, "", True),
    }
