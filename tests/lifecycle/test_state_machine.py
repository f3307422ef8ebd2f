"""Random lives of requests on the real database: after every step the tables say what a small pure model says."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs_app.db.dialect import dialect
from jobs_app.models import Job, PausedJob
from jobs_app.models.attempts import ClaimedJob, JobStatus, Result
from jobs_app.models.pass_run import PassRun, RunRecord
from jobs_app.models.pause import PARKED_FROM
from jobs_app.outcomes import JobContext
from jobs_app.passes import run_jobs
from jobs_app.pausing import pause_job, resume_job
from jobs_app.registry import job, unregister
from jobs_app.worker.completer import record_results
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.operations.verify import ReadCount, findings
from requests_app.passes import run_inprogress_requests, run_new_requests
from tests.depth import LONG
from tests.lifecycle.model import (
    BY_HAND,
    CONTINUE,
    FINISH,
    JOBS,
    MAX_ATTEMPTS,
    SLOW,
    STOP,
    SUCCEEDS_AT,
    Model,
    ModelRequest,
    Steps,
    canonical,
)

MOST_REQUESTS = 5
EXAMPLES, STEPS = (600, 25) if LONG else (30, 25)

_jobs = st.dictionaries(st.sampled_from(JOBS), st.sampled_from([STOP, FINISH, CONTINUE]), min_size=1, max_size=3)
_steps = st.lists(_jobs, min_size=1, max_size=3)


class Life(RuleBasedStateMachine):
    """`model` says what must be; the rules do it to both."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.dead: list[ClaimedJob] = []  # held by processes that were killed, and may yet speak

    @initialize(first=st.lists(_steps, min_size=1, max_size=3))
    def empty_tables_but_for_the_first_requests(self, first: list[Steps]) -> None:
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
        ids = Job.objects.claim(claim := str(uuid4()), limit, lease_seconds=300, paused=paused)
        for held, row in Job.objects.with_requests(claim, ids) if ids else ():
            state = self.model.requests[row.token].jobs[held.step, held.name][held.attempt - 1]
            assert (state.status, state.due, held.name in self.model.paused) == ("new", True, False)
            state.status = "inprogress"
            self.dead.append(held)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), status=st.sampled_from([JobStatus.COMPLETED, JobStatus.FAILURE, JobStatus.NEW]))
    def speak_after_death(self, data: st.DataObject, status: JobStatus) -> None:
        """As a process that was frozen: its word counts while nobody has taken its job over, never after that."""
        held = self.dead.pop(data.draw(st.integers(0, len(self.dead) - 1)))
        request = self._request(held)
        place = held.step, held.name
        still_its_own = (
            len(request.jobs[place]) == held.attempt and Job.objects.get(pk=held.id).claimed_by == held.claim
        )
        won = record_results([Result(held, status, "late")], RunRecord("run_jobs"))

        assert bool(won) == still_its_own
        if still_its_own and status == JobStatus.COMPLETED:
            request.jobs[place][-1].status = "completed"  # and brings no extras
        elif still_its_own and status == JobStatus.FAILURE:
            request.fail(place, held.attempt)
        elif still_its_own:
            request.jobs[place][-1].status = "cancelled" if request.doomed() else "new"
            request.jobs[place][-1].lost = False

    def _request(self, held: ClaimedJob) -> ModelRequest:
        return self.model.requests[Request.objects.get(pk=held.request_id).token]

    # Time ------------------------------------------------------------------------------------------------------------
    @rule()
    def backoffs_pass(self) -> None:
        self._shift(f"due_at = created_at WHERE status = 'new' AND due_at < '{PARKED_FROM:%Y-%m-%d}'")
        for _, _, _, state in self.model.attempts("new"):
            state.due = True

    @rule()
    def leases_run_out(self) -> None:
        self._shift(f"lease_until = {dialect('default').now_plus} WHERE status = 'inprogress'", -1)
        for _, _, _, state in self.model.attempts("inprogress"):
            state.lost = True

    def _shift(self, assignment: str, *values: float) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE jobs SET {assignment}", list(values))

    # Verbs -----------------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.model.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = self._any(data)
        assert Request.objects.cancel(request.token) == self.model.cancel(request)

    @precondition(lambda self: any(request.status == "Failed" for request in self.model.requests.values()))
    @rule(data=st.data())
    def retry_by_hand(self, data: st.DataObject) -> None:
        request = self._any(data)
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
        move = PausedJob.objects.resume if is_killed else resume_job
        assert move(name, by="x", reason="") == self.model.resume(name)

    def _any(self, data: st.DataObject) -> ModelRequest:
        return self.model.requests[data.draw(st.sampled_from(sorted(self.model.requests)))]

    # What holds after each of them -----------------------------------------------------------------------------------
    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        if self.model.requests:
            assert _seen(self.model) == {token: request.seen() for token, request in self.model.requests.items()}

    @invariant()
    def verify_finds_nothing(self) -> None:
        assert [str(finding) for finding in findings(ReadCount())] == []


def _seen(model: Model) -> dict[str, tuple[object, ...]]:
    """The tables, as ModelRequest.seen() says them."""
    found: dict[str, tuple[object, ...]] = {}
    for request in Request.objects.all():
        jobs: dict[tuple[int, str], list[str]] = {}
        for row in request.jobs.order_by("attempt"):
            jobs.setdefault((row.step, row.name), []).append(row.status)
        latest = {row.name: row for row in request.jobs.filter(step=request.step).order_by("attempt")}
        stopped = any((row.status, row.if_fails) == ("failure", STOP) for row in latest.values())
        compared = {place: canonical(rows, stopped=stopped) for place, rows in jobs.items()}
        found[request.token] = request.status, request.step, request.shortfall, compared, request.extras
    return found


def _written(jobs: dict[str, str]) -> list[str | dict[str, str]]:
    return [name if reach == STOP else {"job": name, "if_fails": reach} for name, reach in jobs.items()]


@pytest.fixture
def slow_job(settings: Any) -> Iterator[None]:
    """A callback that never ends in time; backoffs that no test outlasts."""
    settings.WRK_JOB_MAX_ATTEMPTS = MAX_ATTEMPTS
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = settings.WRK_JOB_BACKOFF_CAP_SECONDS = 1e7

    async def slow(context: JobContext) -> None:
        await asyncio.sleep(60)

    job(SLOW, timeout=0.1)(slow)
    yield
    unregister(SLOW)


@pytest.mark.long
@pytest.mark.usefixtures("transactional_db", "slow_job")
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
