"""One request of the pure model: its attempts, how each of them may end, and what follows from that."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_ATTEMPTS = 3
COMPLETES, FAILS, RETRIES, RAISES, SLOW = "returns_extras", "fails", "retries", "raises", "slow_to_the_end"
WAITS_ONCE = "waits_once"  # its second call looks, and completes
WAITS, WAITS_BRIEFLY = "waits", "waits_briefly"  # at every call; with the other the time for an answer is over at once
WAITING = (WAITS_ONCE, WAITS, WAITS_BRIEFLY)
JOBS = (COMPLETES, FAILS, RETRIES, RAISES, SLOW, *WAITING)
BY_HAND = 0  # what a job that was completed by hand found out
SUCCEEDS_AT = 2  # RETRIES does, in its second attempt
STOP, FINISH, CONTINUE = "stop", "finish", "continue"  # how far a failure reaches

Place = tuple[int, str]  # step, job
Steps = list[dict[str, str]]  # of each step: job -> how far its failure reaches


@dataclass
class Attempt:
    status: str = "new"
    due: bool = True
    lost: bool = False  # its lease is over
    last: int = MAX_ATTEMPTS
    checks: int = 0  # how often its callback has asked to wait
    over: bool = False  # its time for an answer is

    @property
    def open(self) -> bool:
        return self.status in {"new", "inprogress"}

    @property
    def waits(self) -> bool:
        return self.status == "new" and self.checks > 0

    @property
    def shown(self) -> str:
        return shown(self.status, self.checks)


@dataclass
class ModelRequest:
    token: str
    steps: Steps  # empty: of no shape, to be refused
    status: str = "Queuing"
    step: int = 0
    shortfall: int = 0
    jobs: dict[Place, list[Attempt]] = field(default_factory=dict)
    extras: dict[str, int] = field(default_factory=dict)

    def current(self) -> dict[str, list[Attempt]]:
        return {name: attempts for (step, name), attempts in self.jobs.items() if step == self.step}

    def failed(self) -> set[str]:
        """The reaches of what failed in the current step."""
        latest = {name: attempts[-1].status for name, attempts in self.current().items()}
        return {self.steps[self.step][name] for name, status in latest.items() if status == "failure"}

    def doomed(self) -> bool:
        return STOP in self.failed() or self.status != "Inprogress"

    def begin_step(self, step: int) -> None:
        self.step = step
        self.jobs |= {(step, name): [Attempt()] for name in self.steps[step]}

    # How attempts end ------------------------------------------------------------------------------------------------
    def complete(self, place: Place, attempt: int, found: int | None) -> None:
        self.jobs[place][attempt - 1].status = "completed"
        if found is not None:
            self.extras[place[1]] = found

    def fail(self, place: Place, attempt: int) -> None:
        step, name = place
        self.jobs[place][attempt - 1].status = "failure"
        if self.steps[step][name] == STOP:
            self.cancel_new()

    def retry(self, place: Place, attempt: int) -> None:
        ended = self.jobs[place][attempt - 1]
        ended.status = "retry"
        if not self.doomed():
            self.jobs[place].append(Attempt(due=False, last=ended.last))

    def wait(self, place: Place, attempt: int, *, over: bool) -> None:
        state = self.jobs[place][attempt - 1]
        state.checks, state.over = state.checks + 1, state.over or over
        self.reopen(place, attempt, due=state.over)

    def reopen(self, place: Place, attempt: int, *, due: bool = True) -> None:
        """The same row again."""
        state = self.jobs[place][attempt - 1]
        state.status, state.due, state.lost = "cancelled" if self.doomed() else "new", due, False

    def cancel_new(self) -> None:
        for attempts in self.jobs.values():
            if attempts[-1].status == "new":
                attempts[-1].status = "cancelled"

    def try_again(self, *, has_failed: bool = True) -> None:
        """Whatever of the current step needs an attempt gets one, with a fresh budget.

        In a request that goes on, a failure that stops nothing stays what it is.
        """
        for name, attempts in self.current().items():
            kept = not has_failed and attempts[-1].status == "failure" and self.steps[self.step][name] != STOP
            if attempts[-1].status in {"failure", "retry", "cancelled"} and not kept:
                attempts.append(Attempt(last=len(attempts) + MAX_ATTEMPTS))

    def follow(self, rows: Mapping[Place, int]) -> None:
        """No rule decides whether a retry is recorded before its sibling's failure: see `canonical`. The tables say."""
        for place, attempts in self.jobs.items():
            if rows[place] < len(attempts):
                attempts.pop()
            elif rows[place] > len(attempts):
                attempts.append(Attempt("cancelled", last=attempts[-1].last))

    # What is compared ------------------------------------------------------------------------------------------------
    def seen(self) -> tuple[object, ...]:
        stopped = STOP in self.failed()
        statuses = {place: [attempt.shown for attempt in attempts] for place, attempts in self.jobs.items()}
        jobs = {place: canonical(rows, stopped=stopped) for place, rows in statuses.items()}
        return self.status, self.step, self.shortfall, jobs, self.extras


def shown(status: str, checks: int) -> str:
    """Of a job that waits for an answer also how often it has looked."""
    return f"waits {checks}" if status == "new" and checks else status


def canonical(statuses: list[str], *, stopped: bool) -> list[str]:
    """A retry recorded before its sibling's failure has a successor, which that cancels; one after it has none."""
    return statuses[:-1] if stopped and statuses[-2:] == ["retry", "cancelled"] else statuses
