"""When each pass last succeeded, as the table `passes` says."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from jobs_app.db.dialect import dialect

CRON_PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
WORKER = "run_worker"  # the three in a loop; it has not ended while all is well
PASSES = (*CRON_PASSES, WORKER)


@dataclass(frozen=True, slots=True)
class Success:
    """When a pass last ended without an error (run_worker: was last seen in health), and how long that run took."""

    at: datetime
    seconds: float


def last_successes(connection: BaseDatabaseWrapper) -> dict[str, Success]:
    """By name of the pass; without those that never succeeded. One statement, of one index range for each name."""
    passes = f"passes {dialect('default').force('passes_name_ended')}"
    ended = (
        f"SELECT * FROM (SELECT name, started_at, ended_at FROM {passes} WHERE name = %s AND ended_at IS NOT NULL "
        "AND error = '' ORDER BY ended_at DESC LIMIT 1) AS newest"
    )
    alive = (
        f"SELECT name, MAX(seen_at), MAX(seen_at) FROM {passes} "
        "WHERE name = %s AND ended_at IS NULL AND error = '' GROUP BY name"
    )
    found: dict[str, Success] = {}
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([ended] * len(PASSES) + [alive]), [*PASSES, WORKER])
        for name, began, at in cursor.fetchall():
            success = Success(aware(at), seconds_since(began, at))
            if name not in found or success.at > found[name].at:
                found[name] = success
    return found


def aware(moment: Any) -> datetime:
    """As a driver gives it: a text on SQLite, else naive; UTC on both."""
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).replace(tzinfo=UTC)


def seconds_since(moment: Any, now: Any) -> float:
    return max(0.0, (aware(now) - aware(moment)).total_seconds()) if moment is not None else 0.0
