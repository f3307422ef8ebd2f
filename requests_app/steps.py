"""The shape of a request's steps: reads them, and names the fault and its remedy when they are not of that shape."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from jobs_app.models.attempts import MAX_STEPS_BYTES as MAX_STEPS_BYTES
from jobs_app.outcomes import storable_error, storable_text, with_unique_keys
from jobs_app.registry import MAX_NAME_CHARACTERS

_KNOWN_SHOWN = 30
MAX_JOBS = 2000  # of a request: each is a call of a service, and a row that the page shows


@dataclass(frozen=True, slots=True)
class Step:
    """One ordered stage: its name, and the names of the jobs that run at once."""

    name: str
    jobs: tuple[str, ...]


class StepsError(ValueError):
    """What is wrong, where, and what to do: `steps[1].jobs[0]: unknown job "x"; known: ...`."""


def to_json(steps: Collection[Step]) -> str:
    return json.dumps([{"name": step.name, "jobs": list(step.jobs)} for step in steps], ensure_ascii=False)


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
    name = _name(f"{place}.name", value.get("name"))
    jobs = value.get("jobs")
    if not isinstance(jobs, list) or not jobs:
        raise StepsError(f"{place}.jobs: {_kind(jobs)} where a list with at least one job name is needed")
    names: dict[str, int] = {}
    for index, item in enumerate(jobs):
        job = _job(f"{place}.jobs[{index}]", item, known_jobs)
        if job in names:
            raise StepsError(
                f"{place}.jobs[{index}]: {quoted(job)} stands in this step already (jobs[{names[job]}]); "
                "put the repeat into a step of its own"
            )
        names[job] = index
    return Step(name, tuple(names))


def _job(place: str, value: object, known_jobs: Collection[str] | None) -> str:
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
