"""Plays one request to its end: the three passes, in turn, with answers and jumps of time in between."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from jobs_app.models import Answer, Job
from jobs_app.models.attempts import JobStatus
from jobs_app.models.pass_run import RunRecord
from jobs_app.passes import run_jobs
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.models.status import UNFINISHED, RequestStatus
from requests_app.passes import run_inprogress_requests, run_new_requests
from tasker_testing.clock import end_wait, jump
from tasker_testing.kills import Kill

MOST_ROUNDS = 300  # a job that looks each hour, for a week, takes 168
_STILL_ROUNDS = 4  # that leave it as it was: it will not move


@dataclass(frozen=True, slots=True)
class PlannedAnswer:
    """To the next attempt of a job that waits. `outcome` None: nobody answers it. `early`: before its job is begun."""

    outcome: str | None
    extras: Mapping[str, Any] | None = None
    reason: str = ""
    early: bool = False


@dataclass
class Play:
    """`answers`: by job, in turn."""

    token: str
    answers: Mapping[str, deque[PlannedAnswer]]
    kill: Kill
    _decided: set[int] = field(default_factory=set)  # ids of the waiting attempts that had their turn

    @classmethod
    def of(cls, token: str, answers: Mapping[str, Sequence[PlannedAnswer]], kill: Kill) -> "Play":
        return cls(token, {name: deque(planned) for name, planned in answers.items()}, kill)

    def to_the_end(self) -> None:
        """Fails the test when the request does not come to one."""
        states = deque([self._state()], _STILL_ROUNDS)
        for _ in range(MOST_ROUNDS):
            if not self._round():
                return
            states.append(self._state())
            if states.count(states[-1]) == _STILL_ROUNDS:
                pytest.fail(f"tasker: {self.token} does not move any more", pytrace=False)
            jump(self._request())
        pytest.fail(f"tasker: {self.token} has not ended after {MOST_ROUNDS} rounds", pytrace=False)

    def unused_answers(self) -> dict[str, int]:
        return {name: len(left) for name, left in self.answers.items() if left}

    def _round(self) -> bool:
        """Each pass once, if it can have something to do. Returns whether the request goes on."""
        if self._status() == RequestStatus.QUEUING:
            self._pass(run_new_requests)
            if self._status() != RequestStatus.QUEUING:  # a kill left it without its steps
                self._answer_early()
        if self._status() == RequestStatus.INPROGRESS:
            self._pass(run_jobs)
            self._answer_waiting()
            self._pass(run_inprogress_requests)
        return self._status() in UNFINISHED

    def _pass(self, run_pass: Callable[[Stop, RunRecord], None]) -> None:
        with self.kill.over(run_pass.__name__):
            run = RunRecord(run_pass.__name__)
            run_pass(Stop(), run)
            run.end()

    def _answer_early(self) -> None:
        if not any(planned and planned[0].early for planned in self.answers.values()):
            return
        steps = [(index, step["jobs"]) for index, step in enumerate(self._request().steps or [])]
        for name, planned in self.answers.items():
            while planned and planned[0].early:
                step = next((index for index, jobs in steps if name in _names(jobs)), 0)
                self._place(planned.popleft(), name, step)

    def _answer_waiting(self) -> None:
        if not self.answers:
            return
        waiting = Job.objects.filter(request__token=self.token, status=JobStatus.NEW, answer_by__isnull=False)
        for job in waiting.exclude(id__in=self._decided).order_by("id"):
            if planned := self.answers.get(job.name):
                self._decided.add(job.id)
                self._place(planned.popleft(), job.name, job.step, job)

    def _place(self, planned: PlannedAnswer, name: str, step: int, job: Job | None = None) -> None:
        if planned.outcome is not None:
            said = {"outcome": planned.outcome, "extras": planned.extras, "reason": planned.reason or None}
            Answer.objects.create(token=self.token, step=step, job=name, **said)
        elif job:
            end_wait(job)

    def _request(self) -> Request:
        return Request.objects.get(token=self.token)

    def _status(self) -> str:
        return Request.objects.values_list("status", flat=True).get(token=self.token)

    def _state(self) -> tuple[Any, ...]:
        """What changes when it moves."""
        jobs = Job.objects.filter(request__token=self.token).order_by("id").values_list("id", "status", "checks")
        return self._status(), *jobs


def _names(jobs: Sequence[str | Mapping[str, str]]) -> list[str]:
    return [job if isinstance(job, str) else job["job"] for job in jobs]
