"""Limits of services: the table `limits`, with each one's rate, and its breaker's state."""

from typing import ClassVar

from django.db import models

from jobs_app.db.columns import ByteCharField, SqliteTypes, UtcNow


class Limit(models.Model):
    """One limit over all processes, as `WRK_LIMITS` names it. Its row's lock is held while permits are given.

    `next_at`: when the next permit would be due if they were spaced evenly (GCRA's theoretical arrival time).
    `lane`: the due time of its jobs that wait for a permit, far from all claims. `failures`: ends in a row without an
    answer. Its breaker is closed while `open_until` is NULL, open before it, half-open after it: then `probe` is the
    claim of the one job that tries. `openings`: how often in a row it opened. `reason`: of the last end that opened it.
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
