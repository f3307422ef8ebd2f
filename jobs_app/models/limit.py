"""The table `limits`: where the schedule and the breaker of each limit stand, for all processes. docs/moves.md."""

from collections.abc import Iterable
from typing import ClassVar

from django.db import models

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow
from jobs_app.limit_rules import LimitRule
from jobs_app.models.breaker import BreakerMoves


class LimitQuerySet(BreakerMoves["Limit"], models.QuerySet["Limit"]):
    def ensure(self, rules: Iterable[LimitRule]) -> None:
        """A row for each: who gives permits locks it."""
        self.bulk_create([Limit(name=rule.name, lane=rule.lane) for rule in rules], ignore_conflicts=True)


class Limit(models.Model):
    """One limit over all processes, as WRK_LIMITS names it. Its row's lock is held while permits are given.

    `next_at`: when the next permit would be due if they were spaced evenly (GCRA's theoretical arrival time).
    `lane`: the due time of its jobs that wait for a permit, or run by one. `failures`: ends in a row without an answer.
    Its breaker is closed while `open_until` is NULL, open before it, half-open after it: then `probe` is the claim of
    the one job that tries. `openings`: how often in a row it opened. `reason`: what the last of these ends said.
    """

    name = ByteCharField(max_length=50, primary_key=True)
    lane = models.DateTimeField()
    next_at = models.DateTimeField(db_default=UtcNow())
    failures = models.IntegerField(db_default=0)
    openings = models.IntegerField(db_default=0)
    opened_at = models.DateTimeField(null=True, blank=True)
    open_until = models.DateTimeField(null=True, blank=True)
    probe = models.CharField(max_length=36, null=True, blank=True)  # noqa: DJ001 - no claim is NULL, as of jobs
    reason = models.TextField(blank=True, db_default="")

    objects: ClassVar[LimitQuerySet] = LimitQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "limits"
        constraints: ClassVar = [
            SqliteTypes(
                name="limits_types",
                moments=("lane", "next_at", "opened_at", "open_until"),
                integers=("failures", "openings"),
            ),
        ]

    def __str__(self) -> str:
        return str(self.name)
