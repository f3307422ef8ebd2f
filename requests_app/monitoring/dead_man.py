"""The dead man's switch: says in a sentence which pass has not succeeded for three of its cron periods, and since when.

`manage.py healthcheck` and `GET /ready?passes=1` say the same.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import dialect
from requests_app.cron import moments_after
from requests_app.monitoring.pass_health import WORKER, Success, aware, last_successes
from requests_app.monitoring.pass_states import CRON_SETTINGS

PERIODS = 3


@dataclass(frozen=True, slots=True)
class Late:
    """A pass that is late. `since`: its last success, or from when on it was waited for."""

    name: str
    line: str
    since: datetime
    ever_succeeded: bool

    def __str__(self) -> str:
        what = "has not succeeded since" if self.ever_succeeded else "has never succeeded since the tables were made at"
        return f"{self.name} ({self.line}) {what} {self.since:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Verdict:
    healthy: bool
    sentence: str


def look_at_passes(connection: BaseDatabaseWrapper, started_seconds_ago: float | None = None) -> Verdict:
    """`started_seconds_ago`: of the machine or container that runs the passes; it owes nothing for the time before."""
    if not settings.WRK_ENABLED:
        return Verdict(True, "WRK_ENABLED is false: no pass is meant to run")
    late = late_passes(connection, last_successes(connection), started_seconds_ago)
    if not late:
        return Verdict(True, f"each pass has succeeded within {PERIODS} of its periods, or is not due yet")
    named = ", ".join(map(str, late))
    return Verdict(False, f"{named}: see whether cron (or run_worker) runs, and what the passes print")


def late_passes(
    connection: BaseDatabaseWrapper, successes: dict[str, Success], started_seconds_ago: float | None = None
) -> list[Late]:
    """By the database's clock. run_worker counts for all three passes. None is late before it has had its periods."""
    now, installed = _now_and_installed(connection)
    not_before = installed if started_seconds_ago is None else now - timedelta(seconds=started_seconds_ago)
    late = []
    for name, line in cron_lines().items():
        seen = [successes[one].at for one in (name, WORKER) if one in successes]
        since = max(seen, default=installed)
        due = moments_after(line, max(since, not_before), PERIODS)
        if len(due) == PERIODS and due[-1] <= now:
            late.append(Late(name, line, since, bool(seen)))
    return late


def cron_lines() -> dict[str, str]:
    return {name: str(getattr(settings, setting)) for name, setting in CRON_SETTINGS.items()}


def _now_and_installed(connection: BaseDatabaseWrapper) -> tuple[datetime, datetime]:
    """The database's clock, and when its tables were made."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {dialect('default').now}, MIN(applied) FROM django_migrations WHERE app = 'jobs_app'", []
        )
        now, installed = cursor.fetchone()
    return aware(now), aware(installed or now)
