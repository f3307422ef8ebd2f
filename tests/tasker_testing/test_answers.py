"""Jobs that wait are answered as the test says: in time, early, by a failure, or not at all."""

from collections.abc import Iterator

import pytest

from jobs_app.models import Answer, Job
from jobs_app.outcomes import JobContext, Json, Wait
from requests_app import recipes
from requests_app.recipes import Recipe, Step
from tasker_testing.kit import Tasker
from tests.tasker_testing.conftest import Register


def asks(context: JobContext) -> None:
    raise Wait("the vendor's batch", within=7 * 86_400)


def looks_each_hour(context: JobContext) -> None:
    raise Wait("the vendor's batch", within=7 * 86_400, check_after=3600)


def returns(context: JobContext) -> Json:
    return {"seen": context.extras.get("batch")}


@pytest.fixture
def steps(register: Register) -> tuple[Step, ...]:
    return register(asks, returns)


@pytest.fixture
def recipe(steps: tuple[Step, ...]) -> Iterator[None]:
    recipes.register(Recipe("made_up", steps[::-1]))
    yield
    recipes.unregister("made_up")


def test_an_answer_comes_as_soon_as_its_job_waits(tasker: Tasker, steps: tuple[Step, ...]) -> None:
    played = tasker.answers("asks", extras={"batch": 12}).run("made_up", steps=steps)
    assert (played.status, played.extras) == ("Completed", {"batch": 12, "seen": 12})
    assert played.attempts_of("asks")[0].checks == 1


def test_an_answer_comes_before_its_job_has_begun(tasker: Tasker, steps: tuple[Step, ...], register: Register) -> None:
    first, second = reversed(steps)
    played = tasker.answers("asks", extras={"batch": 12}, early=True).run("made_up", steps=(first, second))
    assert played.extras == {"batch": 12, "seen": None}
    answer = Answer.objects.get()
    assert answer.step == 1
    assert answer.created_at < Job.objects.get(name="asks").created_at


def test_an_early_answer_finds_its_step_although_the_pick_up_was_killed(tasker: Tasker, recipe: None) -> None:
    tasker.killed_at_each_commit().answers("asks", extras={"batch": 12}, early=True)
    assert tasker.run("made_up").extras == {"batch": 12, "seen": None}


def test_a_job_that_is_refused_fails_its_request(tasker: Tasker, steps: tuple[Step, ...]) -> None:
    played = tasker.answers("asks", "failure", reason="not our customer").run("made_up", steps=steps)
    assert played.sentence == "It failed: asks failed: the answer that it waited for: failure"
    assert played.attempts[0].answer == "not our customer"


def test_each_attempt_has_an_answer_of_its_own_and_none_is_one_too(tasker: Tasker, steps: tuple[Step, ...]) -> None:
    tasker.answers("asks", None).answers("asks", "retry").answers("asks")
    played = tasker.run("made_up", steps=steps)
    first, second, third = played.attempts_of("asks")
    assert (first.status, first.error) == (
        "retry",
        "no answer within 7 days from its first call: the vendor's batch",
    )
    assert (second.status, second.error) == ("retry", "the answer that it waited for: try again")
    assert third.status == "completed"


def test_nobody_answers_and_it_does_not_look_again(tasker: Tasker, register: Register) -> None:
    steps = register(looks_each_hour, max_attempts=1)
    played = tasker.answers("looks_each_hour", None).run("made_up", steps=steps)
    assert "no answer within 7 days" in played.error
    assert played.attempts[0].checks == 1


def test_an_answer_that_nothing_waited_for_fails_the_test(tasker: Tasker, steps: tuple[Step, ...]) -> None:
    with pytest.raises(pytest.fail.Exception, match="returns was to be answered 1 times more"):
        tasker.answers("asks").answers("returns").run("made_up", steps=steps)


@pytest.mark.parametrize(("outcome", "early"), [("done", False), (None, True)])
def test_an_outcome_that_there_is_not_is_told_at_once(
    tasker: Tasker, steps: tuple[Step, ...], outcome: str | None, early: bool
) -> None:
    with pytest.raises(ValueError, match="completed, failure, retry, or None"):
        tasker.answers("asks", outcome, early=early)
