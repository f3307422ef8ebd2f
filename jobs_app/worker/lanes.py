"""Gets jobs that need a permit for an executor: looks at the lanes of the limits, and claims as permits come."""

import math
import time
from collections.abc import Mapping
from functools import partial
from uuid import uuid4

from jobs_app.db.transactions import run_transaction
from jobs_app.limit_rules import LimitRule
from jobs_app.models import Job, Limit
from jobs_app.models.lane_moves import FromLane, Lane
from jobs_app.registry import limits_of, names
from jobs_app.worker.claimer import Claimer
from jobs_app.worker.executor import Executor

_LOOK_SECONDS = 0.05
_SOON_SECONDS = 0.005  # when a permit of ours may have come back
_LOOKING_SHARE = 0.1  # of the time, at most
# A run of `run_jobs` goes on for what waits for permits; a backlog of days is left to later runs, so that they do not
# add up.
_MOST_RUN_SECONDS = 900.0


class Lanes:
    """Without limits in WRK_LIMITS it does nothing, and without a statement.

    `once`: of a run that ends: it claims no more than what waited at its start.
    """

    def __init__(
        self, claimer: Claimer, executor: Executor, *, lease_seconds: float, reconnect_seconds: float, once: bool
    ) -> None:
        self._claimer, self._executor = claimer, executor
        self._lease, self._seconds, self._once = lease_seconds, reconnect_seconds, once
        self._jobs = limits_of(names())
        self._rules = {rule.name: rule for rule in self._jobs.values()}
        self._upto: dict[str, int] = {}  # of a run that ends: by limit the last id that it may claim
        self._knows_upto = False
        self._ours: dict[str, set[int]] = {name: set() for name in self._rules}  # claimed and not recorded yet
        self._waits = False
        self._has_recorded = False  # since the last look
        self._began, self._looked_at, self._due_at = time.monotonic(), -math.inf, -math.inf
        if self._rules:
            run_transaction(partial(Limit.objects.ensure, self._rules.values()), seconds=self._seconds)

    def is_done(self) -> bool:
        """Of a run that ends: whether nothing is left that could get a permit soon."""
        if not self._rules or not self._claimer.allowed(1) or time.monotonic() - self._began > _MOST_RUN_SECONDS:
            return True
        return self._knows_upto and not (self._waits or self._has_recorded or any(self._ours.values()))

    def turn(self) -> int:
        """Claims what gets a permit, if it is time to look; answers how many."""
        if not self._rules:
            return 0
        began = time.monotonic()
        self._forget_recorded()
        if began < (self._looked_at + _SOON_SECONDS if self._has_recorded else self._due_at):
            return 0
        self._has_recorded = False
        lanes = run_transaction(partial(Job.objects.look_at_lanes, [*self._rules]), seconds=self._seconds)
        self._hand_back_put_off(lanes)
        going = self._going(lanes)
        claimed = sum(self._claim(self._rules[name], lane) for name, lane in going.items())
        self._waits = bool(going)
        self._looked_at = now = time.monotonic()
        self._due_at = now + max(_LOOK_SECONDS, (now - began) / _LOOKING_SHARE)
        return claimed

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
        if self._once and not self._knows_upto:
            self._upto = {name: lane.last or 0 for name, lane in lanes.items()}
            self._knows_upto = self._claimer.is_done()  # else its claims go on putting off what was due
        return {
            name: lane
            for name, lane in lanes.items()
            if lane.first is not None
            and not lane.is_open
            and not (lane.is_half_open and lane.running)
            and lane.first <= self._upto.get(name, lane.first)
        }

    def _claim(self, rule: LimitRule, lane: Lane) -> int:
        room = self._claimer.allowed(self._executor.concurrency - len(self._ours[rule.name]))
        if not lane.permits(rule, room):
            return 0
        claim, sent_at, tried = str(uuid4()), time.monotonic(), False
        paused = self._claimer.paused

        def work() -> FromLane:
            nonlocal tried
            won = Job.objects.won_by(claim) if tried else []  # by a COMMIT whose answer was lost
            tried = True
            return FromLane(won, []) if won else Job.objects.claim_from_lane(rule, claim, room, self._lease, paused)

        claimed = run_transaction(work, seconds=self._seconds)
        if claimed.paused:
            run_transaction(partial(Job.objects.park_from_lane, paused, claimed.paused), seconds=self._seconds)
        self._ours[rule.name].update(claimed.ids)
        self._claimer.run_claimed(claim, claimed.ids, sent_at, rule)
        return len(claimed.ids)
