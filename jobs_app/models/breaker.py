"""The breaker of a limit: how attempts end opens and closes it. Part of LimitQuerySet (limit.py). docs/moves.md."""

import time
from collections.abc import Sequence
from datetime import timedelta
from enum import Enum, auto
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.db import models, transaction

from jobs_app.db.columns import UtcNow
from jobs_app.limit_rules import LimitRule
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.printable import first_line
from jobs_app.registry import limits_of

log = structlog.stdlib.get_logger(__name__)

Row = TypeVar("Row", bound=models.Model)  # Limit, whose file imports this one

MOST_OPEN_SECONDS = 900.0
_JUDGE_TRIES, _JUDGE_SECONDS = 40, 0.005


class _Says(Enum):
    """What an attempt's end says of its service."""

    NOTHING = auto()  # it was not asked, or we cut the attempt short
    ANSWERED = auto()
    SILENT = auto()  # no answer, or a 5xx
    UNCLEAR = auto()  # a bug, a timeout of ours, or a 429


def _says(result: Result) -> _Says:
    if result.ran_microseconds is None:
        return _Says.NOTHING
    if result.is_unavailable:
        return _Says.SILENT
    if result.status != JobStatus.RETRY and not result.gave_up:
        return _Says.ANSWERED
    was_stopped = result.last_attempt > result.job.last_attempt  # a restart of ours
    return _Says.NOTHING if was_stopped else _Says.UNCLEAR


class BreakerMoves(models.QuerySet[Row]):
    def count_ends(self, results: Sequence[Result]) -> None:
        """Opens and closes breakers by how these attempts ended, right before that is recorded.

        In the other order a second probe could be claimed before the first one's end has counted. Jobs without a
        breaker cost no statement, breakers without a failure one that locks nothing.
        """
        rules = {name: rule for name, rule in limits_of(r.job.name for r in results).items() if rule.breaker}
        if not rules:
            return
        by_rule: dict[LimitRule, list[Result]] = {}
        for result in results:
            if (rule := rules.get(result.job.name)) and _says(result) is not _Says.NOTHING:
                by_rule.setdefault(rule, []).append(result)
        found = self.filter(name__in=[rule.name for rule in by_rule]).values_list("name", "failures", "open_until")
        ill = {name for name, failures, open_until in found if failures or open_until}
        for rule, ends in by_rule.items():
            if rule.name in ill or any(_says(end) is _Says.SILENT for end in ends):
                tries = (self._judge(rule, ends) for _ in range(_JUDGE_TRIES))
                if not any(tries):
                    log.warning("limit_locked", limit=rule.name)

    def _judge(self, rule: LimitRule, ends: Sequence[Result]) -> bool:
        """False: another session holds its row, so this waits a moment; ours hold it for no longer."""
        with transaction.atomic():
            limit: Any = self.select_for_update(skip_locked=True).filter(name=rule.name).first()
            if limit is not None:
                if limit.open_until is None:
                    self._count(limit, rule, ends)
                elif probes := [end for end in ends if end.job.claim == limit.probe]:  # others began before it opened
                    self._judge_probe(limit, probes[-1])
                return True
        time.sleep(_JUDGE_SECONDS)
        return False

    def _count(self, limit: Any, rule: LimitRule, ends: Sequence[Result]) -> None:
        failures = limit.failures
        for end in ends:
            failures = failures + 1 if _says(end) is _Says.SILENT else 0
        if failures >= (rule.breaker or failures + 1):
            silent = [end for end in ends if _says(end) is _Says.SILENT]
            self._open(limit, failures, limit.openings + 1, first_line(silent[-1].error))
        elif failures != limit.failures:
            self.filter(name=rule.name).update(failures=failures)

    def _judge_probe(self, limit: Any, probe: Result) -> None:
        """Its success closes the breaker. Silent, it opens it for twice the time; unclear, for the same time again."""
        says = _says(probe)
        if says is _Says.ANSWERED:
            self.filter(name=limit.name).update(
                failures=0, openings=0, opened_at=None, open_until=None, probe=None, reason=""
            )
            log.warning("limit_closed", limit=limit.name)
        else:
            more = 1 if says is _Says.SILENT else 0
            self._open(limit, limit.failures + more, limit.openings + more, first_line(probe.error))

    def _open(self, limit: Any, failures: int, openings: int, reason: str) -> None:
        seconds = min(MOST_OPEN_SECONDS, settings.WRK_BREAKER_SECONDS * 2.0 ** min(openings - 1, 32))
        self.filter(name=limit.name).update(
            failures=failures,
            openings=openings,
            opened_at=limit.opened_at or UtcNow(),
            open_until=UtcNow() + timedelta(seconds=seconds),
            probe=None,
            reason=reason,
        )
        log.warning("limit_opened", limit=limit.name, seconds=seconds, failures=failures)
