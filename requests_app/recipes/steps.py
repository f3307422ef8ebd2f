"""The shape of a request's steps: reads them, and names the fault and its remedy when they are not of that shape."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from jobs_app.models.attempts import MAX_STEPS_BYTES as MAX_STEPS_BYTES
from jobs_app.models.attempts import IfFails
from jobs_app.outcomes import storable_error, storable_text, with_unique_keys
from jobs_app.registry import MAX_NAME_CHARACTERS

_KNOWN_SHOWN = 30
MAX_JOBS = 2000  # of a request: each is a call of a service, and a row that the page shows


class Job(str):
    """A job's name in a step, with how far its failure reaches: `Job("x", if_fails="finish")`. A plain name: `stop`."""

    __slots__ = ("if_fails",)
    if_fails: str

    def __new__(cls, name: str, if_fails: str = IfFails.STOP) -> Self:
        job = super().__new__(cls, name)
        job.if_fails = if_fails
        return job


def if_fails_of(job: str) -> str:
    return job.if_fails if isinstance(job, Job) else IfFails.STOP


@dataclass(frozen=True, slots=True)
class Step:
    """One ordered stage: its name, and the jobs that run side by side, each a name or a `Job`."""

    name: str
    jobs: tuple[str, ...]


class StepsError(ValueError):
    """What is wrong, where, and what to do: `steps[1].jobs[0]: unknown job "x"; known: ...`."""


def to_json(steps: Collection[Step]) -> str:
    """A job with the reach `stop` is a plain name, as every release reads it."""
    value = [{"name": step.name, "jobs": [_as_json(job) for job in step.jobs]} for step in steps]
    return json.dumps(value, ensure_ascii=False)


def _as_json(job: str) -> str | dict[str, str]:
    if_fails = if_fails_of(job)
    return job if if_fails == IfFails.STOP else {"job": job, "if_fails": if_fails}


@lru_cache(maxsize=16)  # requests of an action have the same steps, and each is read at every step
def read_steps(text: str, known_jobs: frozenset[str] | None = None) -> tuple[Step, ...]:
    """Parses the JSON text of `steps`. `known_jobs`: at its pick-up, refuse any other. Raises StepsError."""
    if len(text) > MAX_STEPS_BYTES:
        raise StepsError(f"steps: {len(text)} characters; at most {MAX_STEPS_BYTES} bytes are read")
    try:
        value = json.loads(text, object_pairs_hook=None if known_jobs is None else with_unique_keys)
    except RecursionError:
        raise StepsError("steps: not readable as JSON: nested too deep") from None
    except ValueError as error:
        raise StepsError(f"steps: not readable as JSON: {error}") from None
    return parse_steps(value, known_jobs)


def parse_steps(value: object, known_jobs: Collection[str] | None = None) -> tuple[Step, ...]:
    """As `read_steps`, from a value that is read already."""
    if not isinstance(value, list) or not value:
        raise StepsError(
            f'steps: {_kind(value)} where a list with at least one {{"name": ..., "jobs": [...]}} is needed; '
            "leave the column out to use the action's recipe"
        )
    steps = tuple(_step(f"steps[{index}]", item, known_jobs) for index, item in enumerate(value))
    # Where it is picked up only: one that the release before took on goes on.
    if known_jobs is not None and (count := sum(len(step.jobs) for step in steps)) > MAX_JOBS:
        raise StepsError(f"steps: {count} jobs in all; a request has at most {MAX_JOBS}: place several requests")
    return steps


def _step(place: str, value: object, known_jobs: Collection[str] | None) -> Step:
    if not isinstance(value, dict):
        raise StepsError(f'{place}: {_kind(value)} where {{"name": ..., "jobs": [...]}} is needed')
    if strange := sorted(set(value) - {"name", "jobs"}):
        raise StepsError(f"{place}: unknown key {quoted(strange[0])}; only name and jobs are allowed")
    name = storable_text(_name(f"{place}.name", value.get("name")))  # pages and receipts encode it
    jobs = value.get("jobs")
    if not isinstance(jobs, list) or not jobs:
        raise StepsError(f"{place}.jobs: {_kind(jobs)} where a list with at least one job name is needed")
    places: dict[str, int] = {}
    for index, item in enumerate(jobs):
        job = _job(f"{place}.jobs[{index}]", item, known_jobs)
        if job in places:
            raise StepsError(
                f"{place}.jobs[{index}]: {quoted(job)} stands in this step already (jobs[{places[job]}]); "
                "put the repeat into a step of its own"
            )
        places[job] = index
    return Step(name, tuple(places))


def _job(place: str, value: object, known_jobs: Collection[str] | None) -> str:
    """A name, or `{"job": ..., "if_fails": ...}`."""
    if not isinstance(value, dict):
        return _job_name(place, value, known_jobs)
    if strange := sorted(set(value) - {"job", "if_fails"}):
        raise StepsError(f"{place}: unknown key {quoted(strange[0])}; only job and if_fails are allowed")
    name = _job_name(f"{place}.job", value.get("job"), known_jobs)
    if_fails = value.get("if_fails", IfFails.STOP)
    if if_fails not in IfFails.values:
        shown = quoted(if_fails) if isinstance(if_fails, str) else _kind(if_fails)
        raise StepsError(f"{place}.if_fails: {shown} where stop, finish or continue is needed")
    return name if if_fails == IfFails.STOP else Job(name, if_fails)


def _job_name(place: str, value: object, known_jobs: Collection[str] | None) -> str:
    name = _name(place, value)
    if known_jobs is not None and name not in known_jobs:
        raise StepsError(f"{place}: unknown job {quoted(name)}; known: {_listed(known_jobs)}")
    # It is part of a unique key, for which MySQL and MariaDB ignore spaces at the end.
    if name != storable_text(name).strip():
        raise StepsError(f"{place}: {quoted(name)} has spaces around it or a lone surrogate; a job's name has neither")
    return name


def _name(place: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise StepsError(f"{place}: {_kind(value)} where a name is needed")
    if len(value) > MAX_NAME_CHARACTERS:
        raise StepsError(f"{place}: {len(value)} characters; a name has at most {MAX_NAME_CHARACTERS}")
    return value


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case str():
            return "a string" if value else "an empty string"
        case int() | float():
            return "a number"
        case list():
            return "a list" if value else "an empty list"
    return "an object"


def quoted(name: str) -> str:
    return storable_error(json.dumps(name[: MAX_NAME_CHARACTERS + 1], ensure_ascii=False))


def _listed(names: Collection[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _KNOWN_SHOWN} more" if len(listed) > _KNOWN_SHOWN else ""
    return ", ".join(listed[:_KNOWN_SHOWN]) + more if listed else "none"
