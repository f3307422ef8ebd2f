"""One callback with its context: every way to end has one outcome."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from jobs_app.outcomes import Completed, Failed, Failure, JobContext, Outcome, Retried, Retry
from jobs_app.registry import JobDefinition
from jobs_app.worker.callback import run_async_callback, run_callback

CONTEXT = JobContext("tok", "act", 0, "a_job", 1, {"id": 7}, {})


def run(callback: Callable[[JobContext], Any]) -> Outcome:
    return run_callback(JobDefinition("a_job", callback, False, None, None, None), CONTEXT)


def run_async(callback: Callable[[JobContext], Any]) -> Outcome:
    async def as_async(context: JobContext) -> Any:
        await asyncio.sleep(0)
        return callback(context)

    return asyncio.run(run_async_callback(JobDefinition("a_job", as_async, True, None, None, None), CONTEXT))


def raises(error: BaseException) -> Callable[[JobContext], None]:
    def callback(context: JobContext) -> None:
        raise error

    return callback


@pytest.fixture(params=[run, run_async], ids=["sync", "async"])
def ends(request: pytest.FixtureRequest) -> Callable[[Callable[[JobContext], Any]], Outcome]:
    """How a callback ends: as a plain function and as a coroutine."""
    return request.param  # type: ignore[no-any-return]


def test_what_is_returned_is_kept(ends: Any) -> None:
    assert ends(lambda _: None) == Completed()
    assert ends(lambda context: {"id": context.params["id"]}) == Completed('{"id":7}')
    assert isinstance(ends(lambda _: ["no"]), Failed)


def test_failure_keeps_its_message(ends: Any) -> None:
    assert ends(raises(Failure("no such user"))) == Failed("no such user")
    assert ends(raises(Failure())) == Failed("the callback raised Failure without a message")
    assert ends(raises(Failure("no", answer="gone"))) == Failed("no", "gone")


def test_retry_keeps_its_message_and_its_seconds(ends: Any) -> None:
    assert ends(raises(Retry("busy", after=30))) == Retried("busy", 30)
    assert ends(raises(Retry("busy"))) == Retried("busy", None)
    assert ends(raises(Retry())) == Retried("the callback raised Retry without a message")
    assert ends(raises(Retry("busy", answer="later"))) == Retried("busy", answer="later")


@pytest.mark.parametrize(
    ("answer", "kept"), [(b"caf\xc3\xa9 \xff", "caf\xe9 \N{REPLACEMENT CHARACTER}"), ({"a": 1}, "{'a': 1}"), (None, "")]
)
def test_an_answer_may_be_anything_that_can_be_shown(ends: Any, answer: Any, kept: str) -> None:
    assert ends(raises(Failure("no", answer=answer))) == Failed("no", kept)


class OurFailure(Failure):
    pass


def test_a_failure_of_ones_own_kind_is_a_failure(ends: Any) -> None:
    assert ends(raises(OurFailure("no"))) == Failed("no")


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), KeyError("id"), SystemExit(3), KeyboardInterrupt(), MemoryError()]
)
def test_anything_else_is_a_retry_that_says_what_in_its_first_line_and_where_below(
    ends: Any, error: BaseException
) -> None:
    outcome = ends(raises(error))
    assert isinstance(outcome, Retried)
    first, _, rest = outcome.error.partition("\n")
    assert first.startswith(type(error).__name__)
    assert "Traceback (most recent call last)" in rest
    assert "in callback" in rest
    assert outcome.after is None


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_cannot_be_shown_is_a_retry_all_the_same(ends: Any) -> None:
    outcome = ends(raises(Unspeakable()))
    assert isinstance(outcome, Retried)
    assert "Unspeakable" in outcome.error
    failed = ends(raises(Failure(Unspeakable())))
    assert isinstance(failed, Retried)
    assert failed.error.startswith("RuntimeError in ")


def test_a_mapping_that_breaks_while_it_is_read_is_a_bug_of_the_callback(ends: Any) -> None:
    outcome = ends(lambda _: {"a": 1, "b": [float("nan")]})
    assert isinstance(outcome, Failed)


def test_a_cause_is_in_the_traceback(ends: Any) -> None:
    def callback(context: JobContext) -> None:
        try:
            raise KeyError("email")
        except KeyError as error:
            raise RuntimeError("unforeseen answer") from error

    outcome = ends(callback)
    assert re.match(r"RuntimeError in (callback|as_async) \(test_callback\.py, line \d+\)\n", outcome.error)
    assert "KeyError\n" in outcome.error
    assert outcome.answer == "RuntimeError: unforeseen answer\nKeyError: 'email'\n"
    assert "email" not in outcome.error.replace('raise KeyError("email")', "")


def test_an_exception_that_is_its_own_cause_is_told_once(ends: Any) -> None:
    one, other = KeyError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    outcome = ends(raises(one))
    assert outcome.answer.count("KeyError") == 2
