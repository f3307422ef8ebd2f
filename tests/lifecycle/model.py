"""The life of requests as a small pure model: what the tables must say after each pass, kill, verb and hour.

No database, no clock, no threads. A job's callback behaves by its name and attempt alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_ATTEMPTS = 3
COMPLETES, FAILS, RETRIES, RAISES, SLOW = "returns_extras", "fails", "retries", "raises", "slow_to_the_end"
JOBS = (COMPLETES, FAILS, RETRIES, RAISES, SLOW)
BY_HAND = 0  # what a job that was completed by hand found out
SUCCEEDS_AT = 2  # RETRIES does, in its second attempt
STOP, FINISH, CONTINUE = "stop", "finish", "continue"  # how far a failure reaches

Steps = list[dict[str, str]]  # of each step: job -> how far its failure reaches


@dataclass
class Attempt:
    status: str = "new"
    due: bool = True
    lost: bool = False  # its lease is over
    last: int = MAX_ATTEMPTS

    @property
    def open(self) -> bool:
        return self.status in {"new", "inprogress"}


@dataclass
class ModelRequest:
    token: str
    steps: Steps  # empty: of no shape, to be refused
    status: str = "Queuing"
    step: int = 0
    shortfall: int = 0
    jobs: dict[tuple[int, str], list[Attempt]] = field(default_factory=dict)
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
    def complete(self, place: tuple[int, str], attempt: int) -> None:
        self.jobs[place][attempt - 1].status = "completed"
        if place[1] in {COMPLETES, RETRIES}:
            self.extras[place[1]] = attempt

    def fail(self, place: tuple[int, str], attempt: int) -> None:
        step, name = place
        self.jobs[place][attempt - 1].status = "failure"
        if self.steps[step][name] == STOP:
            self.cancel_new()

    def retry(self, place: tuple[int, str], attempt: int) -> None:
        ended = self.jobs[place][attempt - 1]
        ended.status = "retry"
        if not self.doomed():
            self.jobs[place].append(Attempt(due=False, last=ended.last))

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

    # What is compared ------------------------------------------------------------------------------------------------
    def seen(self) -> tuple[object, ...]:
        stopped = STOP in self.failed()
        statuses = {place: [attempt.status for attempt in attempts] for place, attempts in self.jobs.items()}
        jobs = {place: canonical(rows, stopped=stopped) for place, rows in statuses.items()}
        return self.status, self.step, self.shortfall, jobs, self.extras


def canonical(statuses: list[str], *, stopped: bool) -> list[str]:
    """A retry recorded before its sibling's failure has a successor, which that cancels; one after it has none."""
    return statuses[:-1] if stopped and statuses[-2:] == ["retry", "cancelled"] else statuses


@dataclass
class Model:
    requests: dict[str, ModelRequest] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)

    def attempts(self, status: str) -> Iterator[tuple[ModelRequest, tuple[int, str], int, Attempt]]:
        """All latest attempts of this status: (request, (step, name), attempt, its state)."""
        for request in self.requests.values():
            for place, attempts in request.jobs.items():
                if attempts[-1].status == status:
                    yield request, place, len(attempts), attempts[-1]

    # Passes ----------------------------------------------------------------------------------------------------------
    def run_new_requests(self) -> None:
        for request in self.requests.values():
            if request.status == "Queuing":
                request.status = "Inprogress" if request.steps else "Failed"
                if request.steps:
                    request.begin_step(0)

    def run_jobs(self) -> None:
        self._end_lost_leases()
        begun = [found for found in self.attempts("new") if found[3].due and found[1][1] not in self.paused]
        for _, _, _, state in begun:
            state.status = "inprogress"
        ends = [
            (request, place, attempt, _outcome(place[1], attempt, state)) for request, place, attempt, state in begun
        ]
        self._record(ends)

    def _end_lost_leases(self) -> None:
        lost = [found for found in self.attempts("inprogress") if found[3].lost]
        self._record([(request, place, n, "failure" if n >= a.last else "retry") for request, place, n, a in lost])

    def _record(self, ends: list[tuple[ModelRequest, tuple[int, str], int, str]]) -> None:
        """Failures before retries, as in one batch."""
        for kind in ("completed", "failure", "retry"):
            for request, place, attempt, how in ends:
                if how == kind:
                    {"completed": request.complete, "failure": request.fail, "retry": request.retry}[how](
                        place, attempt
                    )

    def run_inprogress_requests(self) -> None:
        for request in self.requests.values():
            latest = [attempts[-1] for attempts in request.current().values()]
            if request.status != "Inprogress" or any(attempt.open for attempt in latest):
                continue
            if {STOP, FINISH} & request.failed():
                request.status = "Failed"
            elif all(attempt.status in {"completed", "failure"} for attempt in latest):
                request.shortfall += sum(attempt.status == "failure" for attempt in latest)
                if request.step + 1 < len(request.steps):
                    request.begin_step(request.step + 1)
                else:
                    request.status = "Completed"

    # Verbs -----------------------------------------------------------------------------------------------------------
    def cancel(self, request: ModelRequest) -> bool:
        if request.status not in {"Queuing", "Inprogress"}:
            return False
        request.status = "Cancelled"
        request.cancel_new()
        return True

    def retry_failed(self, request: ModelRequest) -> bool:
        if request.status != "Failed":
            return False
        request.status = "Inprogress" if request.current() else "Queuing"
        request.try_again()
        return True

    def retry_now(self, request: ModelRequest) -> int:
        if request.status != "Inprogress":
            return 0
        waiting = [attempts[-1] for attempts in request.jobs.values() if attempts[-1].status == "new"]
        hurried = [attempt for attempt in waiting if not attempt.due]
        for attempt in hurried:
            attempt.due = True
        return len(hurried)

    def complete_job(self, request: ModelRequest, name: str) -> bool:
        attempts = request.current().get(name)
        if request.status not in {"Failed", "Inprogress"} or attempts is None:
            return False
        if attempts[-1].status in {"inprogress", "completed"}:
            return False
        if attempts[-1].status == "new":
            attempts[-1].status = "cancelled"
        attempts.append(Attempt("completed"))
        request.try_again(has_failed=request.status == "Failed")
        request.status = "Inprogress"
        request.extras[name] = BY_HAND
        return True

    def fail_job(self, request: ModelRequest, name: str) -> bool:
        attempts = request.current().get(name)
        if request.status != "Inprogress" or attempts is None or attempts[-1].status != "new":
            return False
        attempts[-1].status = "cancelled"
        attempts.append(Attempt())
        request.fail((request.step, name), len(attempts))
        return True

    def pause(self, name: str) -> bool:
        is_new = name not in self.paused
        self.paused.add(name)
        return is_new

    def resume(self, name: str) -> bool:
        was_paused = name in self.paused
        self.paused.discard(name)
        return was_paused


def _outcome(name: str, attempt: int, state: Attempt) -> str:
    match name:
        case "returns_extras":
            return "completed"
        case "fails":
            return "failure"
        case "retries" if attempt == SUCCEEDS_AT:
            return "completed"
    return "failure" if attempt >= state.last else "retry"
