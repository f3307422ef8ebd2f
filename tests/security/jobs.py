"""Jobs that end in every way there is, each with what it was given: params and extras, so personal data."""

from typing import Any

from jobs_app.outcomes import Failure, JobContext, Json, Retry
from jobs_app.registry import job

NAMES = (
    "shows_in_a_bug",
    "shows_in_an_async_bug",
    "shows_in_a_failure",
    "shows_in_a_retry",
    "shows_at_its_exit",
    "returns_what_is_no_json",
    "returns_what_no_database_takes",
    "returns_it",
)


@job("shows_in_a_bug")
def shows_in_a_bug(context: JobContext) -> None:
    raise ValueError(f"cannot handle {context.params} and {context.extras}")


@job("shows_in_an_async_bug")
async def shows_in_an_async_bug(context: JobContext) -> None:
    raise KeyError(str(context.params))


@job("shows_in_a_failure")
def shows_in_a_failure(context: JobContext) -> None:
    raise Failure(f"refused: {context.params}")


@job("shows_in_a_retry", max_attempts=2)
def shows_in_a_retry(context: JobContext) -> None:
    raise Retry(f"busy: {context.params}", after=0)


@job("shows_at_its_exit")
def shows_at_its_exit(context: JobContext) -> None:
    raise SystemExit(str(context.params))


@job("returns_what_is_no_json")
def returns_what_is_no_json(context: JobContext) -> Any:
    return {str(context.params): {context.token}}


@job("returns_what_no_database_takes")
def returns_what_no_database_takes(context: JobContext) -> Json:
    return {"\ud800": context.params, "deep": [[[[context.params]]]] * 3, "large": "x" * 70_000}


@job("returns_it")
def returns_it(context: JobContext) -> Json:
    return context.params
