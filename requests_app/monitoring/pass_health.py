"""Whether a pass is late: one rule, asked by the overview, a request's explanation, the probes and the metrics.

A pass is late when three periods of its cron line have gone by since its last success. A run succeeds when it ends
without an error. `run_worker`, which does the work of all three, succeeds as long as it gives signs of life.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import dialect, from_driver
from jobs_app.db.statements import fetch_all
from requests_app.formatting import clock_utc
from requests_app.monitoring.cron_lines import CRON_SETTINGS, moments_after

WORKER = "run_worker"
PASSES = (*CRON_SETTINGS, WORKER)
PERIODS = 3
SWITCHED_OFF = "WRK_ENABLED is false: no pass is meant to run"
REMEDY = "see whether cron (or run_worker) runs, and what the passes print"


class Run(NamedTuple):
    """One run of a pass. `at`: when it ended, or gave its last sign of life. `ended`: not if it runs or was killed."""

    name: str
    started_at: datetime
    at: datetime
    ended: bool
    failed: bool
    counts: dict[str, int]

    @property
    def succeeded(self) -> bool:
        return not self.failed and (self.ended or self.name == WORKER)

    @property
    def seconds(self) -> float:
        return max(0.0, (self.at - self.started_at).total_seconds())


@dataclass(frozen=True, slots=True)
class PassHealth:
    """`line`: empty for run_worker, which is never late itself. `last_run`: successful or not.

    `success`: the last run that counts for the pass, its own or run_worker's. `since`: when that was; if there is none,
    when the tables were made.
    """

    name: str
    line: str
    last_run: Run | None
    own_success: Run | None
    success: Run | None
    since: datetime
    is_late: bool

    @property
    def done_by_worker(self) -> bool:
        return self.success is not None and self.success.name != self.name

    @property
    def lateness(self) -> str:
        """Follows the pass's name in a sentence."""
        what = "has not succeeded since" if self.success else "has never succeeded since the tables were made at"
        return f"{what} {clock_utc(self.since)}"


@dataclass(frozen=True, slots=True)
class Health:
    """Of all passes, run_worker last; `now`: the database's clock."""

    now: datetime
    passes: dict[str, PassHealth]

    @property
    def late(self) -> list[PassHealth]:
        return [one for one in self.passes.values() if one.is_late]

    @property
    def sentence(self) -> str:
        if not settings.WRK_ENABLED:
            return SWITCHED_OFF
        if not self.late:
            return f"each pass has succeeded within {PERIODS} of its periods, or is not due yet"
        return f"{', '.join(f'{one.name} ({one.line}) {one.lateness}' for one in self.late)}: {REMEDY}"


def read_health(connection: BaseDatabaseWrapper, started_seconds_ago: float | None = None) -> Health:
    """By one statement. New tables have three periods before any pass is late.

    `started_seconds_ago`: of the machine or container that runs the passes; the time before is not counted.
    """
    now, made_at, runs = _read(connection)
    counted_from = made_at if started_seconds_ago is None else now - timedelta(seconds=started_seconds_ago)
    return Health(now, {name: _health(name, runs, now, made_at, counted_from) for name in PASSES})


def _health(name: str, runs: list[Run], now: datetime, made_at: datetime, counted_from: datetime) -> PassHealth:
    line = str(getattr(settings, CRON_SETTINGS[name])) if name in CRON_SETTINGS else ""
    success = _newest(run for run in runs if run.succeeded and run.name in {name, WORKER})
    since = success.at if success else made_at
    return PassHealth(
        name=name,
        line=line,
        last_run=_newest(run for run in runs if run.name == name),
        own_success=_newest(run for run in runs if run.succeeded and run.name == name),
        success=success,
        since=since,
        is_late=bool(line) and is_late(name, max(since, counted_from), now),
    )


def _newest(runs: Iterable[Run]) -> Run | None:
    return max(runs, key=lambda run: run.at, default=None)


def is_late(name: str, since: datetime, now: datetime) -> bool:
    """Whether three periods of the pass's cron line have gone by since then; no, while passes are switched off."""
    if not settings.WRK_ENABLED:
        return False
    moments = moments_after(str(getattr(settings, CRON_SETTINGS[name])), since, PERIODS)
    return len(moments) == PERIODS and moments[-1] <= now


def _read(connection: BaseDatabaseWrapper) -> tuple[datetime, datetime, list[Run]]:
    """The database's clock; when its tables were made; and of each pass the newest run of each of three kinds."""
    sql = dialect()
    newest = (
        "SELECT * FROM (SELECT name, started_at, COALESCE(ended_at, seen_at) AS at, ended_at IS NOT NULL AS ended, "
        f"error <> '' AS failed, counts FROM passes {sql.force('passes_name_ended')} WHERE name = %s AND {{}} "
        "DESC LIMIT 1) AS newest"
    )
    kinds = (
        "ended_at IS NOT NULL ORDER BY ended_at",
        "ended_at IS NOT NULL AND error = '' ORDER BY ended_at",
        "ended_at IS NULL ORDER BY seen_at",
    )
    runs = " UNION ALL ".join([newest.format(kind) for kind in kinds] * len(PASSES))
    tables = f"SELECT {sql.now} AS read_at, MIN(applied) AS made_at FROM django_migrations WHERE app = 'jobs_app'"
    rows = fetch_all(
        f"SELECT * FROM ({tables}) AS tables_made LEFT JOIN ({runs}) AS runs ON 1 = 1",
        [name for name in PASSES for _ in kinds],
        on=connection,
    )
    now, made_at = rows[0][:2]
    return from_driver(now), from_driver(made_at or now), [_run(*row[2:]) for row in rows if row[2]]


def _run(name: str, started_at: Any, at: Any, ended: int, failed: int, counts: str) -> Run:
    return Run(name, from_driver(started_at), from_driver(at), bool(ended), bool(failed), json.loads(counts))
