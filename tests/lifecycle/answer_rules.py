"""The rules of the state machine by which answers are placed and taken, and by which the time for them passes."""

import contextlib
import json

from django.db import connection
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from jobs_app.db.dialect import dialect
from jobs_app.models import Job
from jobs_app.models.attempts import ClaimedJob, ClaimOnInsert
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.pause import PARKED_FROM
from jobs_app.worker.answers import take_answers
from jobs_app.worker.runner import Runner
from jobs_app.worker.shutdown import Stop
from requests_app.passes.inprogress_requests import progress_locked
from tests.concurrency.interleaving import lost_answers
from tests.lifecycle.model import UNREADABLE, Model, ModelAnswer
from tests.lifecycle.model_request import JOBS, Attempt, ModelRequest, Place

MOST_REQUESTS = 5
LONG_SECONDS = 1e7  # what no test outlasts
NOT_PARKED = f"status = 'new' AND due_at < '{PARKED_FROM:%Y-%m-%d}'"

_outcomes = st.sampled_from(["completed", "failure", "retry"])


class AnswerRules(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.dead: list[ClaimedJob] = []  # held by processes that were killed, and may yet speak

    # Answers come ----------------------------------------------------------------------------------------------------
    @precondition(lambda self: any(state.checks for state in self._open()))
    @rule(data=st.data(), outcomes=st.lists(_outcomes, min_size=1, max_size=2))
    def answer_what_waits(self, data: st.DataObject, outcomes: list[str]) -> None:
        """Or looks at this moment. Twice: the first answer counts."""
        found = [*self.model.attempts("new"), *self.model.attempts("inprogress")]
        asked = [(request.token, place, attempt) for request, place, attempt, state in found if state.checks]
        token, place, attempt = data.draw(st.sampled_from(asked))
        for outcome in outcomes:
            self._answer(data, token, place, attempt, outcome)

    @precondition(lambda self: self.model.requests)
    @rule(data=st.data(), outcome=_outcomes)
    def answer_anything(self, data: st.DataObject, outcome: str) -> None:
        """A job that was not called yet, or has ended; one of another step, of another request, of none."""
        request = self._any(data)
        steps = [(step, name) for step, jobs in enumerate(request.steps) for name in jobs]
        token = data.draw(st.sampled_from([request.token, request.token, request.token, "nobody's"]))
        others = [(step, JOBS[0]) for step in range(len(request.steps) + 1)]
        place = data.draw(st.sampled_from([*steps, *others]))
        self._answer(data, token, place, len(request.jobs.get(place, [Attempt()])), outcome)

    def _answer(self, data: st.DataObject, token: str, place: Place, attempt: int, outcome: str) -> None:
        """For that attempt, another one, or whichever waits."""
        named = data.draw(st.sampled_from([None, attempt, attempt, attempt - 1, attempt + 1]))
        found = data.draw(st.sampled_from([None, 100 + len(self.model.answers), UNREADABLE]))
        extras = "[1]" if found == UNREADABLE else json.dumps(found and {place[1]: found})
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO answers (token, step, job, attempt, outcome, extras) VALUES (%s, %s, %s, %s, %s, %s)",
                [token, *place, named, outcome, extras],
            )
        self.model.answers.append(ModelAnswer(token, *place, named, outcome, found))

    # They are taken --------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.model.answers)
    @rule(most=st.sampled_from([1, 2, None]), is_lost=st.booleans())
    def take_some(self, most: int | None, is_lost: bool) -> None:
        """As a pass that is killed after it; or whose first COMMIT brings no reply."""
        with lost_answers(1) if is_lost else contextlib.nullcontext():
            take_answers(Stop(), RunRecord("run_worker"), progress_locked, limit=most)
        self.model.take_answers(most)

    @precondition(lambda self: self.model.answers)
    @rule(most=st.sampled_from([1, None]), is_killed=st.booleans())
    def take_as_a_worker(self, most: int | None, is_killed: bool) -> None:
        """Which claims what follows as it is inserted. Killed: somebody else learns of it when the lease is over."""
        run, paused = RunRecord("run_worker"), Job.objects.poll().paused
        claims: list[ClaimOnInsert] = []
        with Runner(Stop(), run, paused=paused, concurrency=MOST_REQUESTS * 3) as runner:
            take_answers(
                Stop(),
                run,
                progress_locked,
                limit=most,
                claim_on_insert=runner.claimer.claim_on_insert,
                adopt=claims.append,
            )
            for claim in claims:  # later than the worker does it: no answer finds what they have recorded meanwhile
                if is_killed:
                    self._die_with(claim)
                else:
                    runner.claimer.adopt(claim)
        requests = self.model.take_answers(most)
        begun = [
            (request, (request.step, name), 1, attempts[0])
            for request in requests
            for name, attempts in request.current().items()
            if name not in self.model.paused
        ]
        for _, _, _, state in begun:
            state.status = "inprogress"
        if not is_killed:
            self.model.call(begun)

    def _die_with(self, claim: ClaimOnInsert) -> None:
        if claim.steps:
            rows = Job.objects.inserted_with_requests(claim.id, claim.steps)
            self.dead += [held for held, _ in rows]

    # Time ------------------------------------------------------------------------------------------------------------
    @precondition(lambda self: any(state.waits for state in self._open()))
    @rule()
    def checks_come_due(self) -> None:
        self._shift(f"due_at = created_at WHERE {NOT_PARKED} AND answer_by IS NOT NULL")
        for _, _, _, state in self.model.attempts("new"):
            state.due |= state.waits

    @precondition(lambda self: any(state.checks for state in self._open()))
    @rule(data=st.data(), in_the_last_moment=st.none() | _outcomes)
    def the_time_for_answers_is_over(self, data: st.DataObject, in_the_last_moment: str | None) -> None:
        """Of one request. `in_the_last_moment`: one of its jobs was answered before."""
        request = self._any(data)
        asked = sorted(place for place, attempts in request.jobs.items() if attempts[-1].open and attempts[-1].checks)
        if asked and in_the_last_moment:
            place = data.draw(st.sampled_from(asked))
            self._answer(data, request.token, place, len(request.jobs[place]), in_the_last_moment)
        self._shift(
            f"answer_by = {dialect('default').now_plus}, "
            f"due_at = CASE WHEN {NOT_PARKED} THEN created_at ELSE due_at END "
            "WHERE answer_by IS NOT NULL AND status IN ('new', 'inprogress') "
            "AND request_id = (SELECT id FROM requests WHERE token = %s)",
            *(-1, request.token),
        )
        for state in (attempts[-1] for attempts in request.jobs.values()):
            if state.open and state.checks:
                state.over, state.due = True, state.due or state.waits

    def _open(self) -> list[Attempt]:
        latest = (attempts[-1] for request in self.model.requests.values() for attempts in request.jobs.values())
        return [state for state in latest if state.open]

    def _any(self, data: st.DataObject) -> ModelRequest:
        return self.model.requests[data.draw(st.sampled_from(sorted(self.model.requests)))]

    def _shift(self, assignment: str, *values: float | str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE jobs SET {assignment}", list(values))
