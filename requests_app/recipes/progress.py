"""Decides where a request goes from its current step: by the rows of the step and the jobs that it names. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs_app.models.attempts import OPEN, Attempt, IfFails, JobStatus
from jobs_app.outcomes import storable_error
from jobs_app.printable import first_line
from requests_app.recipes.steps import Step


@dataclass(frozen=True, slots=True)
class Stay:
    """Left alone. `reason` is empty while jobs are open, else it says what does not add up."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """To the next step, with these jobs. `short`: how many jobs of this one failed and are gone on without."""

    jobs: tuple[str, ...]
    short: int = 0


@dataclass(frozen=True, slots=True)
class Complete:
    """The last step is done. `short`: as of Advance."""

    short: int = 0


@dataclass(frozen=True, slots=True)
class Fail:
    error: str


Decision = Stay | Advance | Complete | Fail


def decide(steps: Sequence[Step], step: int, attempts: Iterable[Attempt]) -> Decision:
    """Open jobs: stay. A latest attempt is a failure of `stop` or `finish`: fail. Anything that does not add up: stay.

    All named jobs completed, or failed with the reach `continue`: on.
    """
    rows = sorted(attempts, key=lambda row: row.attempt)
    if any(row.status in OPEN for row in rows):
        return Stay()
    latest = {row.name: row for row in rows}
    failed = [row for row in latest.values() if row.status == JobStatus.FAILURE]
    if fatal := [row for row in failed if row.if_fails != IfFails.CONTINUE]:
        return Fail(_error(fatal))
    if step not in range(len(steps)):  # nor is a text or a fraction, which SQLite lets anybody write there
        return Stay(f"step {step} is not one of its {len(steps)} steps")
    for name in steps[step].jobs:
        if name not in latest:
            return Stay(f"step {step} has no row for its job {name}")
        if latest[name].status not in {JobStatus.COMPLETED, JobStatus.FAILURE}:
            return Stay(f"the latest attempt of {name} is {latest[name].status} and nothing follows it")
    short = sum(latest[name].status == JobStatus.FAILURE for name in steps[step].jobs)
    return Advance(steps[step + 1].jobs, short) if step + 1 < len(steps) else Complete(short)


def _error(failed: Iterable[Attempt]) -> str:
    """Its first line names every one, those that stopped the request first; a line for each of the others follows."""
    rows = sorted(failed, key=lambda row: (row.if_fails != IfFails.STOP, row.name))
    names = [" ".join(row.name.split()) for row in rows]  # of one line, whoever wrote them
    first, *others = (first_line(row.error) for row in rows)
    also = f" (as did {', '.join(names[1:])})" if others else ""
    lines = [f"{name} failed: {line}" for name, line in zip(names[1:], others, strict=True)]
    return storable_error("\n".join([f"{names[0]} failed{also}: {first}", *lines]))
