"""Random lives of requests on the real database: after every step the tables say what a small pure model says."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs_app.db.dialect import dialect
from jobs_app.models import Answer, Job, PausedJob, completions
from jobs_app.models.attempts import ClaimedJob, JobStatus, Result
from jobs_app.models.pass_run import PassRun, RunRecord
from jobs_app.outcomes import JobContext, Json, Retried, Wait
from jobs_app.passes import run_jobs
from jobs_app.registry import job, unregister
from jobs_app.worker.pausing import pause_job, resume_job
from jobs_app.worker.recording import record_results
from jobs_app.worker.retry_policy import result_of
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.operations.verify import ReadCount, findings
from requests_app.passes import run_inprogress_requests, run_new_requests
from tests.depth import LONG
from tests.lifecycle.answer_rules import LONG_SECONDS, MOST_REQUESTS, NOT_PARKED, AnswerRules
from tests.lifecycle.model import End, Model
from tests.lifecycle.model_request import (
    BY_HAND,
    CONTINUE,
    FINISH,
    JOBS,
    MAX_ATTEMPTS,
    SLOW,
    STOP,
    SUCCEEDS_AT,
    WAITING,
    WAITS,
    WAITS_BRIEFLY,
    WAITS_ONCE,
    ModelRequest,
    Place,
    Steps,
    canonical,
    shown,
)

EXAMPLES, STEPS = (600, 25) if LONG else (30, 25)

_jobs = st.dictionaries(st.sampled_from(JOBS), st.sampled_from([STOP, FINISH, CONTINUE]), min_size=1, max_size=3)
_steps = st.lists(_jobs, min_size=1, max_size=3)


class Life(AnswerRules):
    """`model` says what must be; the rules do it to both."""

    @initialize(first=st.lists(_steps, min_size=1, max_size=3))
    def empty_tables_but_for_the_first_requests(self, first: list[Steps]) -> None:
        Answer.objects.all().delete()
        Job.objects.all().delete()
        Request.objects.all().delete()
        PassRun.objects.all().delete()
        PausedJob.objects.all().delete()
        for steps in first:
            self._insert(steps)

    # Requests come ---------------------------------------------------------------------------------------------------
    @precondition(lambda self: len(self.model.requests) < MOST_REQUESTS)
    @rule(steps=_steps)
    def insert(self, steps: Steps) -> None:
        self._insert(steps)

    @precondition(lambda self: len(self.model.requests) < MOST_REQUESTS)
    @rule(text=st.sampled_from(["[]", '"x"', '[{"name": "a", "jobs": ["no such job"]}]']))
    def insert_bad(self, text: str) -> None:
        self._insert([], text)

    def _insert(self, steps: Steps, text: str = "") -> None:
        """`text`: what stands in the column, if not these steps."""
        text = text or json.dumps([{"name": f"step {n}", "jobs": _written(jobs)} for n, jobs in enumerate(steps)])
        token = f"request {len(self.model.requests)}"
        params = json.dumps({"succeed_at": SUCCEEDS_AT, "after": 600})
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO requests (token, action, steps, params) VALUES (%s, 'x', %s, %s)", [token, text, params]
            )
        self.model.requests[token] = ModelRequest(token, steps)

    # Passes ----------------------------------------------------------------------------------------------------------
    @rule()
    def start_due(self) -> None:
        run_new_requests(Stop(), RunRecord("run_new_requests"))
        self.model.run_new_requests()

    @rule()
    def work(self) -> None:
        run_jobs(Stop(), RunRecord("run_jobs"), concurrency=MOST_REQUESTS * 3)
        self.model.run_jobs()
        time.sleep(0.002)  # SQLite's clock has milliseconds: what waits briefly is due after that

    @rule()
    def progress_requests(self) -> None:
        run_inprogress_requests(Stop(), RunRecord("run_inprogress_requests"))
        self.model.run_inprogress_requests()

    @rule()
    def some_time_passes(self) -> None:
        """All backoffs and passes in turn: else a request seldom comes far, and little of what follows is searched."""
        self.start_due()
        for _ in range(2):
            self.work()
            self.backoffs_pass()
        self.progress_requests()

    # Kills -----------------------------------------------------------------------------------------------------------
    @rule(limit=st.integers(1, 4))
    def die_with_claimed_jobs(self, limit: int) -> None:
        """As a pass that is killed after its claim, before, in or after the callbacks."""
        paused = Job.objects.poll().paused
        ids = Job.objects.claim(claim := str(uuid4()), limit, lease_seconds=300, paused=paused).ids
        for held, _ in Job.objects.with_requests(claim, ids) if ids else ():
            state = self.model.requests[held.token].jobs[held.step, held.name][held.attempt - 1]
            assert (state.status, state.due, held.name in self.model.paused) == ("new", True, False)
            state.status = "inprogress"
            self.dead.append(held)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), word=st.sampled_from(["completed", "failure", "handed back", "waits", "no answer"]))
    def speak_after_death(self, data: st.DataObject, word: str) -> None:
        """As a process that was frozen: its word counts while nobody has taken its job over, never after that."""
        held = self.dead.pop(data.draw(st.integers(0, len(self.dead) - 1)))
        request = self._request(held)
        place = held.step, held.name
        state = request.jobs[place][held.attempt - 1]
        if word == "no answer" and not state.over:
            word = "handed back"
        still_its_own = (
            len(request.jobs[place]) == held.attempt and Job.objects.get(pk=held.id).claimed_by == held.claim
        )
        won = record_results([_said(held, word)], RunRecord("run_jobs")).won

        assert bool(won) == still_its_own
        if still_its_own and word == "handed back":
            request.reopen(place, held.attempt)
        elif still_its_own and word == "waits":
            request.wait(place, held.attempt, over=False)
        elif still_its_own and word == "no answer":
            self.model.record([self.model.unanswered(request, place, held.attempt, state)])
        elif still_its_own:  # and brings no extras
            self.model.record([End(request, place, held.attempt, word)])

    def _request(self, held: ClaimedJob) -> ModelRequest:
        return self.model.requests[Request.objects.get(pk=held.request_id).token]

    # Time ------------------------------------------------------------------------------------------------------------
    @rule()
    def backoffs_pass(self) -> None:
        self._shift(f"due_at = created_at WHERE {NOT_PARKED} AND answer_by IS NULL")
        for _, _, _, state in self.model.attempts("new"):
            state.due |= not state.waits

    @rule()
    def leases_run_out(self) -> None:
        self._shift(f"lease_until = {dialect('default').now_plus} WHERE status = 'inprogress'", -1)
        for _, _, _, state in self.model.attempts("inprogress"):
            state.lost = True

    # Verbs -----------------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.model.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = self._any(data)
        assert Request.objects.cancel(request.token) == self.model.cancel(request)

    @precondition(lambda self: any(request.status == "Failed" for request in self.model.requests.values()))
    @rule(data=st.data(), is_answered=st.booleans())
    def retry_by_hand(self, data: st.DataObject, is_answered: bool) -> None:
        """Also when somebody has answered since it failed."""
        request = self._any(data)
        if is_answered and request.jobs:
            place = data.draw(st.sampled_from(sorted(request.jobs)))
            self._answer(data, request.token, place, len(request.jobs[place]), "completed")
        assert Request.objects.retry_failed(request.token) == self.model.retry_failed(request)

    @precondition(lambda self: self.model.requests)
    @rule(data=st.data())
    def retry_now(self, data: st.DataObject) -> None:
        request = self._any(data)
        assert Request.objects.retry_now(request.token) == self.model.retry_now(request)

    @precondition(lambda self: any(request.jobs for request in self.model.requests.values()))
    @rule(data=st.data())
    def complete_by_hand(self, data: st.DataObject) -> None:
        request = self._any(data)
        name = data.draw(st.sampled_from(sorted(request.current()) or JOBS))
        done = Request.objects.complete_job(request.token, name, {name: BY_HAND})
        assert done == self.model.complete_job(request, name)

    @precondition(lambda self: any(self.model.attempts("new")))
    @rule(data=st.data())
    def fail_by_hand(self, data: st.DataObject) -> None:
        request = self._any(data)
        name = data.draw(st.sampled_from(sorted(request.current()) or JOBS))
        assert Request.objects.fail_job(request.token, name) == self.model.fail_job(request, name)

    @precondition(lambda self: not self.model.paused)  # more would bring everything to a stand
    @rule(name=st.sampled_from(JOBS))
    def pause(self, name: str) -> None:
        assert pause_job(name, by="x", reason="") == self.model.pause(name)

    @precondition(lambda self: self.model.paused)
    @rule(is_killed=st.booleans())
    def resume(self, is_killed: bool) -> None:
        """A killed one leaves its parked jobs to the next pass."""
        (name,) = self.model.paused
        won = PausedJob.objects.resume(name) if is_killed else resume_job(name, by="x", reason="")
        assert won == self.model.resume(name)

    # What holds after each of them -----------------------------------------------------------------------------------
    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        if self.model.requests:
            assert _seen(self.model) == {token: request.seen() for token, request in self.model.requests.items()}
            for token, request in self.model.requests.items():
                if STOP in request.failed():
                    request.follow(Counter(Job.objects.filter(request__token=token).values_list("step", "name")))

    @invariant()
    def the_answers_say_what_the_model_says(self) -> None:
        effects = list(Answer.objects.order_by("id").values_list("effect", flat=True))
        assert effects == [answer.effect for answer in self.model.answers]

    @invariant()
    def verify_finds_nothing(self) -> None:
        assert [str(finding) for finding in findings(ReadCount())] == []


def _seen(model: Model) -> dict[str, tuple[object, ...]]:
    """The tables, as ModelRequest.seen() says them."""
    found: dict[str, tuple[object, ...]] = {}
    for request in Request.objects.all():
        jobs: dict[Place, list[str]] = {}
        for row in request.jobs.order_by("attempt"):
            assert (row.answer_by is not None) == (row.checks > 0)
            jobs.setdefault((row.step, row.name), []).append(shown(row.status, row.checks))
        latest = {row.name: row for row in request.jobs.filter(step=request.step).order_by("attempt")}
        stopped = any((row.status, row.if_fails) == ("failure", STOP) for row in latest.values())
        compared = {place: canonical(rows, stopped=stopped) for place, rows in jobs.items()}
        found[request.token] = request.status, request.step, request.shortfall, compared, request.extras
    return found


def _said(held: ClaimedJob, word: str) -> Result:
    match word:
        case "handed back":
            return Result(held, JobStatus.NEW)
        case "waits":
            return Result(held, JobStatus.NEW, "another vendor", wait=(LONG_SECONDS, LONG_SECONDS))
        case "no answer":
            return result_of(held, Retried("no answer", is_unanswered=True))
    return Result(held, JobStatus(word), "late")


def _written(jobs: dict[str, str]) -> list[str | dict[str, str]]:
    return [name if reach == STOP else {"job": name, "if_fails": reach} for name, reach in jobs.items()]


@pytest.fixture
def jobs_of_lives(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A callback that never ends in time, three that wait; backoffs that no test outlasts."""
    monkeypatch.setattr(completions, "_TAKEN_WITHIN_SECONDS", LONG_SECONDS)
    settings.WRK_JOB_MAX_ATTEMPTS = MAX_ATTEMPTS
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = settings.WRK_JOB_BACKOFF_CAP_SECONDS = 1e7

    async def slow(context: JobContext) -> None:
        await asyncio.sleep(60)

    async def waits(context: JobContext) -> Json:
        if context.name == WAITS_ONCE and context.checks:
            return {context.name: context.attempt}
        raise Wait(
            "the vendor",
            within=0.001 if context.name == WAITS_BRIEFLY else LONG_SECONDS,
            check_after=3600 if context.name == WAITS else None,
        )

    job(SLOW, timeout=0.1)(slow)
    for name in WAITING:
        job(name)(waits)
    yield
    for name in (SLOW, *WAITING):
        unregister(name)


@pytest.mark.long
@pytest.mark.usefixtures("transactional_db", "jobs_of_lives")
def test_any_life_of_requests_is_as_the_model_says():
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
