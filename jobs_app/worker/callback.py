"""Runs one callback with its context and returns one outcome value. Touches no database."""

import traceback
from collections.abc import Iterator
from pathlib import PurePath

from jobs_app.outcomes import (
    MAX_WAIT_SECONDS,
    MIN_CHECK_SECONDS,
    Failed,
    Failure,
    JobContext,
    Outcome,
    Retried,
    Retry,
    Unavailable,
    Wait,
    Waiting,
    completed,
)
from jobs_app.registry import JobDefinition


def run_callback(definition: JobDefinition, context: JobContext) -> Outcome:
    try:
        return completed(definition.callback(context))
    except BaseException as error:  # noqa: BLE001 - also SystemExit: a callback may end its attempt, not its worker
        return _raised(error)


async def run_async_callback(definition: JobDefinition, context: JobContext) -> Outcome:
    """As `run_callback`. A cancelled run ends as a retry: whoever cancelled it has recorded its end already."""
    try:
        return completed(await definition.callback(context))
    except BaseException as error:  # noqa: BLE001
        return _raised(error)


def _raised(error: BaseException) -> Outcome:
    try:
        return _outcome(error)
    except Exception as unspeakable:  # noqa: BLE001 - its own __str__ is the callback's as well
        return _unforeseen(unspeakable)


def _outcome(error: BaseException) -> Outcome:
    match error:
        case Failure():
            return Failed(str(error) or "the callback raised Failure without a message", _text(error.answer))
        case Retry():
            says = str(error) or "the callback raised Retry without a message"
            after, at_least, answer = _seconds(error.after), _seconds(error.at_least), _text(error.answer)
            return Retried(says, after, at_least, answer, is_unavailable=isinstance(error, Unavailable))
        case Wait(within=float(within)) if 0 < within <= MAX_WAIT_SECONDS:
            says = str(error).strip() or "an answer"
            return Waiting(says, within, _check_seconds(error, within))
    return _unforeseen(error)


def _check_seconds(wait: Wait, within: float) -> float:
    """No database has a moment for what is infinite or huge. NaN, as what is too small, is the least."""
    check = _seconds(wait.check_after)
    return within if check is None else min(within, max(MIN_CHECK_SECONDS, check))


def _unforeseen(error: BaseException) -> Retried:
    """A bug or an unforeseen answer. The first line says what and where, tracebacks follow.

    The texts of exceptions quote what they were given, such as params or an answer: they are no part of our sentence.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = frames[1] if len(frames) > 1 else frames[0]  # the first one is this file's
    says = f"{_kind(error)} in {place.name} ({PurePath(place.filename).name}, line {place.lineno})"
    chain = [*_chain(error)]
    tracebacks = "\n".join(f"{_traceback(one)}{_kind(one)}\n" for one in reversed(chain))
    texts = "".join(line for one in chain for line in traceback.format_exception_only(one))
    return Retried(f"{says}\n\n{tracebacks}", answer=texts)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what led to it and what it holds as a group, each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))


def _traceback(error: BaseException) -> str:
    lines = traceback.format_tb(error.__traceback__)
    return f"Traceback (most recent call last):\n{''.join(lines)}" if lines else ""


def _kind(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(answer: object) -> str:
    """What a callback gave as `answer`: of bytes the text, of anything else how it is shown."""
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer or "")


def _seconds(after: object) -> float | None:
    """What a callback gave as `after` or `at_least`; anything but a number counts as nothing."""
    return after if isinstance(after, int | float) and not isinstance(after, bool) else None
