"""Gets jobs that need a permit for an executor: looks at the lanes of the limits, and claims as permits come."""

import math
import time
from collections.abc import Mapping
from functools import partial
from uuid import uuid4

from django.db.models import Max

from jobs_app.limit_rules import MOST_SLACK_SECONDS, LimitRule
from jobs_app.models import Job, Limit
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.permit_claims import FromLane, Lane
from jobs_app.registry import definitions, limits_of, names
from jobs_app.worker.claimer import Claimer, run_claim
from jobs_app.worker.executor import Executor

_LOOK_SECONDS = 0.05
_SOON_SECONDS = 0.005  # when a permit of ours may have come back
_LOOKING_SHARE = 0.1  # of the time, at most
_SELDOM_SECONDS = 0.5  # permits that are further apart are looked for at their very time
_PLACE_SECONDS = 0.25  # the place of a callback that has run for longer will hardly be free soon
# A run of `run_jobs` waits for permits for no longer: with a backlog of days, the runs of cron would add up.
_MOST_RUN_SECONDS = 900.0


class PermitClaimer:
    """Without limits in WRK_LIMITS it does nothing and sends no statement.

    `once`: of a run that ends: it claims no more than what waited at its start.
    """

    def __init__(
        self, claimer: Claimer, executor: Executor, run: RunRecord, *, lease_seconds: float, once: bool
    ) -> None:
        self._claimer, self._executor, self._run, self._lease = claimer, executor, run, lease_seconds
        self._jobs = limits_of(names())
        self._rules = {rule.name: rule for rule in self._jobs.values()}
        self._kinds: dict[str, set[bool]] = {name: set() for name in self._rules}  # whether its jobs are async
        for job in definitions():
            if job.limit:
                self._kinds[job.limit.name].add(job.is_async)
        self._took = 0.0  # the last claim, in seconds until its jobs were at the executor
        self._upto: int | None = None  # of a run that ends: the last id that it may claim
        self._saw_all = False  # of such a run: true once it has looked at the lanes after its claims were done
        self._ours: dict[str, set[int]] = {name: set() for name in self._rules}  # claimed and not recorded yet
        self._waits = False
        self._has_recorded = False  # since the last look
        self._began, self._looked_at, self._due_at = time.monotonic(), -math.inf, -math.inf
        if self._rules:
            self._run.transact(partial(Limit.objects.ensure, self._rules.values()))
        if self._rules and once:
            last = self._run.transact(lambda: Job.objects.aggregate(id=Max("id")))
            self._upto = last["id"] or 0

    def is_done(self) -> bool:
        """Of a run that ends: whether nothing is left that could get a permit soon."""
        if not self._rules or not self._claimer.allowed(1) or time.monotonic() - self._began > _MOST_RUN_SECONDS:
            return True
        return self._saw_all and not (self._waits or self._has_recorded or any(self._ours.values()))

    def turn(self) -> int:
        """Claims what gets a permit, if it is time to look; returns how many."""
        if not self._rules:
            return 0
        began = time.monotonic()
        self._forget_recorded()
        if began < (self._looked_at + _SOON_SECONDS if self._has_recorded else self._due_at):
            return 0
        self._has_recorded = False
        lanes = self._run.transact(partial(Job.objects.look_at_lanes, [*self._rules]))
        self._hand_back_put_off(lanes)
        going = self._going(lanes)
        claimed = sum(self._claim(self._rules[name], lane) for name, lane in going.items())
        self._waits = bool(going)
        self._looked_at = now = time.monotonic()
        self._due_at = now + max(self._look_after(going), (now - began) / _LOOKING_SHARE)
        return claimed

    def _look_after(self, going: Mapping[str, Lane]) -> float:
        """Seconds until the next look: at the very time of a permit that is seldom, else a fixed while."""
        of = [(self._rules[name], lane.until_next) for name, lane in going.items()]
        waits = [rule.wait_seconds(until_next) for rule, until_next in of if rule.interval > _SELDOM_SECONDS]
        return min([_LOOK_SECONDS, *(max(_SOON_SECONDS, wait) for wait in waits)])

    def _forget_recorded(self) -> None:
        for name, ours in self._ours.items():
            if recorded := ours - self._executor.unrecorded:
                self._ours[name] = ours - recorded
                self._has_recorded = True

    def _hand_back_put_off(self, lanes: Mapping[str, Lane]) -> None:
        """What has not begun of a limit whose breaker is open."""
        put_off = {name for name, lane in lanes.items() if lane.is_open and self._ours[name]}
        if put_off:
            self._executor.hand_back_waiting([name for name, rule in self._jobs.items() if rule.name in put_off])

    def _going(self, lanes: Mapping[str, Lane]) -> dict[str, Lane]:
        """Those in which something waits that this run may claim, now or soon."""
        self._saw_all = self._saw_all or self._claimer.is_done()
        return {
            name: lane
            for name, lane in lanes.items()
            if lane.first is not None
            and not lane.is_open
            and not (lane.is_half_open and lane.running)
            and (self._upto is None or lane.first <= self._upto)
        }

    def _claim(self, rule: LimitRule, lane: Lane) -> int:
        slack, room = self._slack(rule), self._room(rule)
        if not lane.permits(rule, room, slack):
            return 0
        claim, sent_at, paused = str(uuid4()), time.monotonic(), self._claimer.paused
        work = partial(
            Job.objects.claim_from_lane, rule, claim, room, self._lease, paused, upto=self._upto, slack=slack
        )
        claimed = run_claim(self._run, claim, work, lambda won: FromLane(won, []))
        if claimed.paused:
            self._run.transact(partial(Job.objects.park_from_lane, paused, claimed.paused))
        self._ours[rule.name].update(claimed.ids)
        begin_by = sent_at + rule.late + slack if rule.is_paced else None
        self._claimer.run_claimed(claim, claimed.ids, sent_at, begin_by)
        if claimed.ids:
            self._took = time.monotonic() - sent_at
        return len(claimed.ids)

    def _slack(self, rule: LimitRule) -> float:
        """Seconds added to a permit, where claims take so long that it would be over before its job is here."""
        return min(MOST_SLACK_SECONDS, max(0.0, 2 * self._took - rule.late)) if rule.is_paced else 0.0

    def _room(self, rule: LimitRule) -> int:
        """How many callbacks can begin at once: a job that waits here for a place keeps its permit from others."""
        ours, kinds = self._ours[rule.name], self._kinds[rule.name]
        others = [one for one in self._executor.runs_for_long(_PLACE_SECONDS) if one.job.id not in ours]
        taken = min(sum(one.definition.is_async is kind for one in others) for kind in kinds)
        return self._claimer.allowed(self._executor.concurrency - len(ours) - taken)
