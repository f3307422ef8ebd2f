"""The life of requests as a small pure model: what the tables must say after each pass, kill, answer, verb and hour.

No database, no clock, no threads. A job's callback behaves by its name, its attempt and how often it has waited.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.lifecycle.model_request import (
    BY_HAND,
    COMPLETES,
    FAILS,
    FINISH,
    RETRIES,
    STOP,
    SUCCEEDS_AT,
    WAITS,
    WAITS_BRIEFLY,
    WAITS_ONCE,
    Attempt,
    ModelRequest,
    Place,
)

UNREADABLE = -1  # in place of what an answer says was found out: it is no object


@dataclass(eq=False)
class ModelAnswer:
    token: str
    step: int
    job: str
    attempt: int | None  # None: whichever waits
    outcome: str
    found: int | None = None
    effect: str = ""

    @property
    def place(self) -> Place:
        return self.step, self.job


class End(NamedTuple):
    """How an attempt ends: `completed`, `failure`, `retry`, `waits`, or `answered`: it waits on for what is there."""

    request: ModelRequest
    place: Place
    attempt: int
    how: str
    found: int | None = None


@dataclass
class Model:
    requests: dict[str, ModelRequest] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    answers: list[ModelAnswer] = field(default_factory=list)

    def attempts(self, status: str) -> Iterator[tuple[ModelRequest, Place, int, Attempt]]:
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
        lost = [found for found in self.attempts("inprogress") if found[3].lost]
        self.record([self._again(*found) for found in lost])
        begun = [found for found in self.attempts("new") if found[3].due and found[1][1] not in self.paused]
        for _, _, _, state in begun:
            state.status = "inprogress"
        self.call(begun)

    def call(self, begun: Sequence[tuple[ModelRequest, Place, int, Attempt]]) -> None:
        """The callbacks of these attempts, but for those whose time for an answer is over."""
        over = [found for found in begun if found[3].over]
        called = [_called(*found) for found in begun if not found[3].over]
        self.record([*called, *(self.unanswered(*found) for found in over)])

    def unanswered(self, request: ModelRequest, place: Place, attempt: int, state: Attempt) -> End:
        """An answer that is there, and that nobody has taken yet, counts though the time is over."""
        mine = [answer for answer in self._pending(request) if answer.place == place]
        if any(answer.outcome == "completed" or answer.attempt in {None, attempt} for answer in mine):
            return End(request, place, attempt, "answered")
        return self._again(request, place, attempt, state)

    def record(self, ends: Sequence[End]) -> None:
        """Failures before retries and waits, as in one batch."""
        for kind in ("completed", "failure", "retry", "waits", "answered"):
            for request, place, attempt, how, found in ends:
                match how:
                    case _ if how != kind:
                        continue
                    case "completed":
                        request.complete(place, attempt, found)
                    case "failure":
                        request.fail(place, attempt)
                    case "retry":
                        request.retry(place, attempt)
                    case "waits":
                        request.wait(place, attempt, over=place[1] == WAITS_BRIEFLY)
                    case "answered":
                        request.reopen(place, attempt, due=False)

    def run_inprogress_requests(self) -> None:
        self.take_answers()
        for request in self.requests.values():
            self._progress(request)

    def _progress(self, request: ModelRequest) -> None:
        latest = [attempts[-1] for attempts in request.current().values()]
        if request.status != "Inprogress" or any(attempt.open for attempt in latest):
            return
        if {STOP, FINISH} & request.failed():
            request.status = "Failed"
        elif all(attempt.status in {"completed", "failure"} for attempt in latest):
            request.shortfall += sum(attempt.status == "failure" for attempt in latest)
            if request.step + 1 < len(request.steps):
                request.begin_step(request.step + 1)
            else:
                request.status = "Completed"

    # Answers ---------------------------------------------------------------------------------------------------------
    def take_answers(self, most: int | None = None) -> list[ModelRequest]:
        """The oldest `most` that have an effect; returns the requests whose next step has begun by it.

        Those that are there together are one batch; of two for one job the second one is decided after the first.
        """
        done, begun = 0, []
        while batch := [answer for answer in self.answers if self._effect(answer)][
            : None if most is None else most - done
        ]:
            late = [answer for answer in batch if self._effect(answer) == "late"]
            taken: dict[tuple[str, Place], ModelAnswer] = {}
            for answer in batch:
                if answer not in late:
                    taken.setdefault((answer.token, answer.place), answer)
            ends = [self._end(answer) for answer in taken.values()]
            self.record(ends)
            for answer in late:
                answer.effect = "late"
            for answer in taken.values():
                answer.effect = "taken"
            for request in {end.request.token: end.request for end in ends}.values():
                step = request.step
                self._progress(request)
                begun += [request] if request.step > step else []
            done += len(late) + len(taken)
        return begun

    def _effect(self, answer: ModelAnswer) -> str:
        """Empty: it was taken or marked before; it came early; or its job runs."""
        request = self.requests.get(answer.token)
        if answer.effect:
            return ""
        if request is None or request.status in {"Completed", "Failed", "Cancelled"}:
            return "late"
        if request.status == "Queuing":
            return ""
        if answer.step > request.step:
            is_to_come = answer.step < len(request.steps) and answer.job in request.steps[answer.step]
            return "" if is_to_come else "late"
        latest = request.jobs.get(answer.place, [Attempt("none")])
        names_older = answer.outcome != "completed" and answer.attempt is not None and answer.attempt < len(latest)
        if answer.step < request.step or not latest[-1].open or names_older:
            return "late"
        names_later = answer.outcome != "completed" and answer.attempt is not None and answer.attempt > len(latest)
        return "taken" if latest[-1].waits and not names_later else ""

    def _end(self, answer: ModelAnswer) -> End:
        """Nobody sees the row in progress; but no sibling's failure of the same batch cancels it any more."""
        request = self.requests[answer.token]
        attempts = request.jobs[answer.place]
        attempts[-1].status = "inprogress"
        if answer.outcome == "retry":
            return self._again(request, answer.place, len(attempts), attempts[-1])
        how = "failure" if answer.found == UNREADABLE and answer.outcome == "completed" else answer.outcome
        return End(request, answer.place, len(attempts), how, answer.found)

    def _again(self, request: ModelRequest, place: Place, attempt: int, state: Attempt) -> End:
        return End(request, place, attempt, "failure" if attempt >= state.last else "retry")

    def _pending(self, request: ModelRequest) -> list[ModelAnswer]:
        return [answer for answer in self.answers if answer.token == request.token and not answer.effect]

    def _forget_answers(self, request: ModelRequest) -> None:
        """What was said before a `Failed` request goes on is not meant for what follows."""
        for answer in self._pending(request):
            answer.effect = "late"

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
        self._forget_answers(request)
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
        if request.status == "Failed":
            self._forget_answers(request)
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


def _called(request: ModelRequest, place: Place, attempt: int, state: Attempt) -> End:
    match place[1]:
        case name if name == COMPLETES or (name == RETRIES and attempt == SUCCEEDS_AT):
            return End(request, place, attempt, "completed", attempt)
        case name if name == WAITS_ONCE and state.checks:
            return End(request, place, attempt, "completed", attempt)
        case name if name in {WAITS_ONCE, WAITS, WAITS_BRIEFLY}:
            return End(request, place, attempt, "waits")
        case name if name == FAILS:
            return End(request, place, attempt, "failure")
    return End(request, place, attempt, "failure" if attempt >= state.last else "retry")
