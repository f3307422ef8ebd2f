"""A played request lives on the real engine, with time that jumps, and leaves nothing behind."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group

from demo.services import Services
from jobs_app.db.dialect import database_now
from jobs_app.models import Job, PausedJob
from jobs_app.models.pass_run import PassRun
from jobs_app.outcomes import Failure, JobContext, Json, Retry, Unavailable, Wait
from requests_app.models import Request
from requests_app.recipes import Step
from tasker_testing.kit import Tasker
from tests.factories import make_request, pass_inprogress, pass_jobs, pass_new
from tests.tasker_testing.conftest import Play, in_steps

FOUR_JOBS = (Step("one", ("noop_1", "noop_2")), Step("two", ("noop_3", "noop_4")))


def test_a_recipe_is_played_to_its_end_by_the_three_passes(tasker: Tasker, services: Services) -> None:
    played = tasker.run("delete_user", {"id": 7})
    assert (played.status, played.error, played.params) == ("Completed", "", {"id": 7})
    assert played.extras["email"] == played.attempts_of("service1_get_user")[0].extras["email"]
    assert {attempt.status for attempt in played.attempts} == {"completed"}
    assert played.sentence.startswith("It was completed at")
    assert "step 0" in played.timeline
    assert "service1_get_user" in played.timeline
    assert set(PassRun.objects.pass_names()) == {"run_new_requests", "run_jobs", "run_inprogress_requests"}
    assert services.calls(3) != []


def test_a_job_fails_as_often_as_asked_and_its_backoff_takes_no_time(tasker: Tasker, services: Services) -> None:
    began = time.monotonic()
    played = tasker.fails("service2_delete_user", times=5).run("delete_user", {"id": 7})
    assert [one.status for one in played.attempts_of("service2_delete_user")] == [*["retry"] * 5, "completed"]
    assert len(services.calls(2)) == 1
    request = Request.objects.get()
    assert request.started_at
    assert request.completed_at
    attempts = Job.objects.filter(name="service2_delete_user").order_by("attempt").values_list("created_at", "due_at")
    backoff = sum((due - created for created, due in attempts), timedelta())
    assert (
        request.completed_at - request.started_at >= backoff
    )  # the moments of its rows are as if it had been waited for
    assert timedelta(seconds=time.monotonic() - began) < backoff


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (Failure("the vendor refused"), "failure", "the vendor refused"),
        (Retry("not yet", after=3), "retry", "not yet"),
        (Unavailable, "retry", "the callback raised Retry without a message"),
        (ValueError("seven"), "retry", "ValueError in fails_as_the_test_says"),
    ],
    ids=["failure", "retry", "unavailable", "a bug"],
)
def test_it_fails_as_the_test_says(
    tasker: Tasker, services: Services, raised: Exception, status: str, error: str
) -> None:
    played = tasker.fails("service2_delete_user", with_=raised).run("delete_user", {"id": 7})
    first = played.attempts_of("service2_delete_user")[0]
    assert (first.status, first.error.partition("(")[0].strip()) == (status, error)
    assert played.status == ("Failed" if status == "failure" else "Completed")


def test_an_async_callback_fails_as_the_test_says(tasker: Tasker) -> None:
    played = tasker.fails("async_noop").run("made_up", steps=in_steps("async_noop"))
    assert [one.status for one in played.attempts] == ["retry", "completed"]


def test_the_error_of_a_bug_names_the_callback_as_in_production(play: Play) -> None:
    def has_a_bug(context: JobContext) -> None:
        raise KeyError(context.attempt)

    played = play(has_a_bug, max_attempts=2)
    assert played.status == "Failed"
    assert played.attempts[0].error.startswith("KeyError in has_a_bug (test_run.py, line ")


def test_an_unknown_action_is_refused_as_in_production(tasker: Tasker) -> None:
    played = tasker.run("nobody_wrote_this")
    assert (played.status, played.attempts) == ("Failed", ())
    assert 'unknown action "nobody_wrote_this"' in played.sentence


def test_looks_for_an_answer_come_one_by_one_until_its_time_is_over(play: Play) -> None:
    looked: list[int] = []

    def looks(context: JobContext) -> None:
        looked.append(context.checks)
        raise Wait("the vendor's batch", within=86_400, check_after=3600)

    played = play(looks, max_attempts=1)
    assert looked == list(range(24))
    assert "no answer within 1 day" in played.error


def test_what_will_never_move_fails_the_test_at_once(tasker: Tasker, play: Play) -> None:
    def is_paused(context: JobContext) -> None:
        """Never called."""

    PausedJob.objects.create(name="is_paused", by="a test")
    with pytest.raises(pytest.fail.Exception, match="does not move any more"):
        play(is_paused)
    assert "is paused" in tasker.timelines[0][1]


def test_a_job_that_there_is_not_is_told_at_once(tasker: Tasker) -> None:
    with pytest.raises(ValueError, match="no callback is registered as job 'service9'"):
        tasker.fails("service9")
    with pytest.raises(ValueError, match="no callback is registered as job 'service9'"):
        tasker.answers("service9")


def test_failures_that_nothing_came_of_fail_the_test(tasker: Tasker) -> None:
    with pytest.raises(pytest.fail.Exception, match="noop_2 was to fail 2 times more"):
        tasker.fails("noop_2", times=2).run("made_up", steps=in_steps("noop_1"))
    assert len(tasker.run("made_up", steps=in_steps("noop_2")).attempts) == 1  # they were for that run alone


@pytest.mark.parametrize(("times", "with_"), [(0, None), (1, "no such customer"), (1, dict)])
def test_what_cannot_be_raised_is_told_at_once(tasker: Tasker, times: int, with_: Any) -> None:
    with pytest.raises(ValueError, match="1 or more, and an exception or its class, are needed"):
        tasker.fails("noop_1", times, with_=with_)


def test_two_requests_of_one_test_do_not_disturb_each_other(tasker: Tasker) -> None:
    later = make_request("Queuing", ["noop"], due_in=3600)
    assert tasker.run("made_up", steps=in_steps("noop_1"), token="first").token == "first"
    assert tasker.run("made_up", steps=in_steps("noop_1")).status == "Completed"
    assert Request.objects.get(pk=later.pk).due_at > database_now()


def test_rows_of_callbacks_and_of_the_engine_are_gone_after_a_test(play: Play) -> None:
    assert not Request.objects.exists()
    assert not Group.objects.exists()

    def writes(context: JobContext) -> Json:
        return {"group": Group.objects.create(name="of a callback").name}

    assert play(writes).extras == {"group": "of a callback"}


test_rows_are_gone_in_the_next_test_too = test_rows_of_callbacks_and_of_the_engine_are_gone_after_a_test


def test_playing_takes_not_much_longer_than_the_passes_themselves(tasker: Tasker) -> None:
    def passes() -> None:
        make_request("Queuing", ["noop_1", "noop_2"], ["noop_3", "noop_4"])
        for run_pass in (pass_new, pass_jobs, pass_inprogress, pass_jobs, pass_inprogress):
            run_pass()

    def plays() -> None:
        tasker.run("made_up", steps=FOUR_JOBS)

    assert _least_seconds(plays) < 5 * _least_seconds(passes)


def _least_seconds(act: Callable[[], None]) -> float:
    """Of this process: what else runs on the machine does not count."""
    took = []
    for _ in range(6):
        began = time.process_time()
        act()
        took.append(time.process_time() - began)
    return min(took)
