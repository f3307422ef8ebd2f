"""Runs one callback with its context and answers one outcome value. Touches no database."""

import traceback

from jobs_app.outcomes import Failed, Failure, JobContext, Outcome, Retried, Retry, completed
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
    match error:
        case Failure():
            return Failed(str(error) or "the callback raised Failure without a message")
        case Retry():
            says = str(error) or "the callback raised Retry without a message"
            return Retried(says, _seconds(error.after), _seconds(error.at_least))
    # A bug or an unforeseen answer. The first line says it, the traceback follows.
    says = traceback.format_exception_only(error)[-1].strip()
    return Retried(f"{says}\n\n{''.join(traceback.format_exception(error))}")


def _seconds(after: object) -> float | None:
    """What a callback gave as `after` or `at_least`; anything but a number counts as nothing."""
    return after if isinstance(after, int | float) and not isinstance(after, bool) else None
