"""Decides where a request goes from its current step, by the latest attempt of every job that the step names. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs_app.models.attempts import OPEN, JobStatus
from jobs_app.models.attempts import Attempt as Attempt
from jobs_app.outcomes import storable_error
from jobs_app.telemetry.printable import first_line
from requests_app.steps import Step


@dataclass(frozen=True, slots=True)
class Wait:
    """Left alone. `reason` is empty while jobs are open, else it says what does not add up."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """To the next step, with these jobs."""

    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Complete:
    """The last step is done."""


@dataclass(frozen=True, slots=True)
class Fail:
    error: str


Decision = Wait | Advance | Complete | Fail


def decide(steps: Sequence[Step], step: int, attempts: Iterable[Attempt]) -> Decision:
    """Open jobs: wait. A latest attempt that is `failure`: fail. All named jobs completed: on. Anything else: wait."""
    rows = sorted(attempts, key=lambda row: row.attempt)
    if any(row.status in OPEN for row in rows):
        return Wait()
    latest = {row.name: row for row in rows}
    if failed := next((row for row in latest.values() if row.status == JobStatus.FAILURE), None):
        name = " ".join(failed.name.split())  # of one line, whoever wrote it
        return Fail(storable_error(f"{name} failed: {first_line(failed.error)}"))
    if step not in range(len(steps)):  # nor is a text or a fraction, which SQLite lets anybody write there
        return Wait(f"step {step} is not one of its {len(steps)} steps")
    for name in steps[step].jobs:
        if name not in latest:
            return Wait(f"step {step} has no row for its job {name}")
        if latest[name].status != JobStatus.COMPLETED:
            return Wait(f"the latest attempt of {name} is {latest[name].status} and nothing follows it")
    return Advance(steps[step + 1].jobs) if step + 1 < len(steps) else Complete()
