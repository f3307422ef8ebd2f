"""What a test says: `tasker.run(...)`, and what is to go wrong meanwhile."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self
from uuid import uuid4

import pytest
from django.db.models import Max, Model

from jobs_app.models import Answer, Job
from jobs_app.models.answer import AnswerOutcome
from jobs_app.outcomes import Json, Retry
from jobs_app.registry import definition, names
from requests_app.models import Request
from requests_app.recipes.steps import Step, to_json
from tasker_testing.calls import seeing_calls
from tasker_testing.kills import Kill
from tasker_testing.play import PlannedAnswer, Play
from tasker_testing.played import PlayedRequest, read_played
from tasker_testing.stand_ins import Raised, StandIns


def _nothing() -> None:
    """There is nothing to put back."""


class Tasker:
    """Plays requests. `fails` and `answers` are for the next `run`, `twice` and `killed_at_each_commit` for all later.

    Each of the four returns the kit itself: `tasker.fails("a").twice().run("b")`.
    """

    def __init__(self) -> None:
        self.timelines: list[tuple[str, str]] = []  # (title, text) of what was played, for the report of a failed test
        self._failures: dict[str, list[Raised]] = {}
        self._answers: dict[str, list[PlannedAnswer]] = {}
        self._twice = self._kills = False
        self._before_each: Callable[[], object] = _nothing

    # What is to happen -----------------------------------------------------------------------------------------------
    def fails(self, job: str, times: int = 1, *, with_: Raised | None = None) -> Self:
        """The next `times` runs of the job's callback raise `with_` in its place; without it, a `Retry`."""
        raised = Retry("not this time, the test says") if with_ is None else with_
        kind = raised if isinstance(raised, type) else type(raised)
        if times < 1 or not issubclass(kind, BaseException):
            raise ValueError(f"times {times}, with_ {raised!r}: 1 or more, and an exception or its class, are needed")
        self._failures.setdefault(_known(job), []).extend([raised] * times)
        return self

    def answers(
        self,
        job: str,
        outcome: str | None = "completed",
        *,
        extras: Json | None = None,
        reason: str = "",
        early: bool = False,
    ) -> Self:
        """To the next attempt of this job that waits, as soon as it does. Once for each attempt, in turn.

        `outcome`: `completed`, `failure` or `retry`, or None: nobody answers, so that the time for it runs out.
        `extras`, `reason`: as in the table `answers`. `early`: before its job has begun.
        """
        if outcome not in {*AnswerOutcome.values, None} or (early and outcome is None):
            raise ValueError(f"outcome {outcome!r}: {', '.join(AnswerOutcome.values)}, or None, which cannot be early")
        self._answers.setdefault(_known(job), []).append(PlannedAnswer(outcome, extras, reason, early))
        return self

    def twice(self) -> Self:
        """Every callback runs twice, and its second end counts, as when a worker dies before the first is recorded.

        Fails the test where a call that may change something goes out without the Idempotency-Key of the first time.
        """
        self._twice = True
        return self

    def killed_at_each_commit(self, before_each: Callable[[], object] = _nothing) -> Self:
        """Each `run` is repeated, with the worker killed right before and right after its first commit, its second, ...

        Fails the test where a request ends otherwise than undisturbed: by status, extras and completed jobs.
        `before_each`: puts back what callbacks change outside of Tasker Worker, before every time.
        """
        self._kills, self._before_each = True, before_each
        return self

    # And then --------------------------------------------------------------------------------------------------------
    def run(
        self, action: str, params: Mapping[str, Any] | None = None, *, steps: Sequence[Step] = (), token: str = ""
    ) -> PlayedRequest:
        """Places a request and plays it to its end. `steps`: in place of the action's recipe."""
        row: Json = {"action": action, "params": dict(params or {}), "token": token or str(uuid4())}
        if steps:
            row["steps"] = json.loads(to_json(steps))
        try:
            return self._run(row)
        finally:
            self._failures, self._answers = {}, {}

    def refuse_unplayed(self) -> None:
        """At the end of a test: what was planned after its last `run` is a mistake, too."""
        if planned := sorted({*self._failures, *self._answers}):
            says = f"{', '.join(planned)}: fails and answers are for the next run, and none came"
            pytest.fail(f"tasker: {says}", pytrace=False)

    def _run(self, row: Json) -> PlayedRequest:
        last = _last_ids()
        undisturbed = self._play(row, Kill())
        self._keep_timeline(undisturbed)
        if self._kills:
            for kill in _kills():
                _forget_after(last)
                again = self._play(row, kill)
                if not kill.place:  # there are not so many commits
                    break
                self._compare(undisturbed, again, kill)
        return undisturbed

    def _play(self, row: Json, kill: Kill) -> PlayedRequest:
        self._before_each()
        stand_ins = StandIns.of(self._failures, twice=self._twice, kill=kill)
        play = Play.of(row["token"], self._answers, kill)
        Request.objects.create(**row)
        try:
            with stand_ins.in_place(), seeing_calls(kill.raise_if_dead):
                play.to_the_end()
            if stand_ins.key_faults:
                pytest.fail(f"tasker: {'; '.join(dict.fromkeys(stand_ins.key_faults))}", pytrace=False)
            if not kill.place:
                _refuse_unused(stand_ins, play)
        except BaseException:
            self._keep_timeline(read_played(row["token"]), kill)
            raise
        return read_played(row["token"])

    def _keep_timeline(self, played: PlayedRequest, kill: Kill | None = None) -> None:
        killed = f"killed {kill.place}: " if kill and kill.place else ""
        self.timelines.append((f"{killed}{played.action} {played.token}", played.timeline))

    def _compare(self, undisturbed: PlayedRequest, again: PlayedRequest, kill: Kill) -> None:
        differences = [
            f"{what} {there!r}, undisturbed {here!r}"
            for what, here, there in (
                ("status", undisturbed.status, again.status),
                ("extras", undisturbed.extras, again.extras),
                ("completed jobs", sorted(undisturbed.completed_jobs), sorted(again.completed_jobs)),
            )
            if here != there
        ]
        if differences:
            self._keep_timeline(again, kill)
            pytest.fail(f"tasker: killed {kill.place}, it ended otherwise: {'; '.join(differences)}", pytrace=False)


def _known(job: str) -> str:
    if definition(job) is None:
        raise ValueError(f"no callback is registered as job {job!r}; known: {', '.join(names())}")
    return job


def _kills() -> Iterator[Kill]:
    for number in itertools.count(1):
        yield Kill(number)
        yield Kill(number, after=True)


def _refuse_unused(stand_ins: StandIns, play: Play) -> None:
    """A plan that nothing came of is a mistake of the test: it proves less than it says."""
    unused = [
        *(f"{job} was to fail {left} times more" for job, left in stand_ins.unused_failures().items()),
        *(f"{job} was to be answered {left} times more" for job, left in play.unused_answers().items()),
    ]
    if unused:
        pytest.fail(f"tasker: {'; '.join(unused)}, but the request has ended", pytrace=False)


def _last_ids() -> dict[type[Model], int]:
    return {table: table._base_manager.aggregate(last=Max("id"))["last"] or 0 for table in (Answer, Job, Request)}


def _forget_after(last: Mapping[type[Model], int]) -> None:
    """What was played since, so that it can be played again under the same token: jobs before their requests."""
    for table, id_ in last.items():
        table._base_manager.filter(id__gt=id_).delete()
