"""What each pass did last, and whether it is late against its cron line. run_worker counts as all three."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from jobs_app.db.dialect import dialect
from jobs_app.models import PassRun
from requests_app.cron import moments_after
from requests_app.monitoring.pass_health import CRON_PASSES, PASSES, WORKER

CRON_SETTINGS = {
    "run_new_requests": "WRK_REQUEST_NEW_CRON",
    "run_jobs": "WRK_JOB_CRON",
    "run_inprogress_requests": "WRK_REQUEST_INPROGRESS_CRON",
}
# One moment of the line may be just now, or its run may still be going on. When the second has passed, it is late.
_MOMENTS_MISSED = 2


@dataclass(frozen=True, slots=True)
class PassState:
    """`line`: empty for run_worker. `last`: its newest run. `well_at`: when it, or run_worker, was last well."""

    name: str
    line: str
    last: PassRun | None
    well_at: datetime | None
    by_worker: bool
    is_late: bool


def pass_states(now: datetime) -> dict[str, PassState]:
    """By name, run_worker last. `now`: the database's clock. One statement of short ranges of an index."""
    runs = _newest_runs()
    well = {name: _well_at(run for run in runs if run.name == name) for name in PASSES}
    return {name: _state(name, [run for run in runs if run.name == name], well, now) for name in PASSES}


def _state(name: str, runs: list[PassRun], well: dict[str, datetime | None], now: datetime) -> PassState:
    own, worker = well[name], well[WORKER]
    by_worker = name != WORKER and worker is not None and (own is None or worker > own)
    at = worker if by_worker else own
    line = str(getattr(settings, CRON_SETTINGS[name])) if name in CRON_PASSES else ""
    return PassState(
        name=name,
        line=line,
        last=max(runs, key=lambda run: run.seen_at, default=None),
        well_at=at,
        by_worker=by_worker,
        is_late=at is not None and _is_late(line, at, now),
    )


def _is_late(line: str, at: datetime, now: datetime) -> bool:
    moments = moments_after(line, at, _MOMENTS_MISSED) if line else []
    return len(moments) == _MOMENTS_MISSED and moments[-1] < now


def _well_at(runs: Iterable[PassRun]) -> datetime | None:
    """When it ended without an error, or was last seen while it ran."""
    return max((run.ended_at or run.seen_at for run in runs if not run.error), default=None)


def _newest_runs() -> list[PassRun]:
    """Of each pass: the newest that ended, the newest that ended well, and of those that did not end the last seen."""
    newest = (
        "SELECT * FROM (SELECT id, name, process, started_at, seen_at, ended_at, counts, error FROM passes "
        f"{dialect('default').force('passes_name_ended')} WHERE name = %s AND {{}} DESC LIMIT 1) AS newest"
    )
    kinds = (
        "ended_at IS NOT NULL ORDER BY ended_at",
        "ended_at IS NOT NULL AND error = '' ORDER BY ended_at",
        "ended_at IS NULL ORDER BY seen_at",
    )
    parts = [newest.format(kind) for kind in kinds]
    names = [name for name in PASSES for _ in kinds]
    return list(PassRun.objects.raw(" UNION ALL ".join(parts * len(PASSES)), names))
