"""What the tables say, as Prometheus metrics; read anew at every scrape, by few statements that indexes serve.

Work is done in processes that die, so nothing is counted in memory. Open rows are counted in the tables, up to a bound.
Finished rows are not: counting five million takes seconds. What ended is the sum of what each pass wrote into its row
of `passes`, in the transaction that recorded the ends. No label holds a token, an id or a job's name.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs_app.dialect import dialect, marks
from jobs_app.faults import fault_line
from jobs_app.models import OPEN
from requests_app.models import UNFINISHED
from requests_app.probe_connection import probe_connection

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 5  # Prometheus gives up after 10
_MOST_COUNTED = 50_000  # entries of an index, of each status; about 8 ms
_CRON_PASSES = ("run_new_requests", "run_jobs", "run_inprogress_requests")
_WORKER = "run_worker"  # the three in a loop; it has not ended while all is well
_PASSES = (*_CRON_PASSES, _WORKER)
_COUNTS = (
    "started",
    "refused",
    "requests_completed",
    "requests_failed",
    "claimed",
    "completed",
    "retry",
    "failure",
    "lease_lost",
)
_SETTLED_AFTER = timedelta(minutes=5)  # no transaction that ends a pass lasts so long
_FOLD_EVERY = timedelta(minutes=10)
_FOLD_AT_ONCE = timedelta(days=30)  # so that a statement ends in time, however long the history is


class DatabaseCollector(Collector):
    """All metrics that come from the database. When it is away, `tasker_database_up` 0 and nothing else."""

    def __init__(self) -> None:
        self._totals = PassTotals()

    def collect(self) -> Iterator[Metric]:
        began = time.perf_counter()
        try:
            with probe_connection(_ANSWER_SECONDS) as connection:
                families = [
                    *_open_families(look_at_open_rows(connection)),
                    *_pass_families(last_successes(connection)),
                    *_ended_families(self._totals.read(connection)),
                ]
        except Error as error:
            log.warning("metrics without the database: %s", fault_line(error))
            families = []
        yield GaugeMetricFamily(
            "tasker_database_up", "Whether the database answered this scrape: 1 or 0.", bool(families)
        )
        yield from families
        yield GaugeMetricFamily(
            "tasker_database_scrape_seconds",
            "How long this scrape's statements took, connecting included.",
            time.perf_counter() - began,
        )


# Open rows -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class OpenRows:
    """One look at the tables. Counts stop at the bound; ages are in seconds, 0 when nothing is due."""

    requests: dict[str, int]
    jobs: dict[str, int]
    request_age: float
    job_age: float
    expired_leases: int


def look_at_open_rows(connection: BaseDatabaseWrapper) -> OpenRows:
    """One statement of subqueries, each the range of one index."""
    sql = dialect("default")
    requests, jobs = f"requests {sql.force('requests_status_due')}", f"jobs {sql.force('jobs_status_due')}"
    leases = f"jobs {sql.force('jobs_status_lease')}"
    parts = [
        *(_count(requests, f"status = '{status}'") for status in UNFINISHED),
        *(_count(jobs, f"status = '{status}'") for status in OPEN),
        _count(leases, f"status = 'inprogress' AND lease_until < {sql.now}"),
        f"(SELECT MIN(due_at) FROM {requests} WHERE status = 'Queuing')",
        f"(SELECT MIN(due_at) FROM {jobs} WHERE status = 'new')",
        sql.now,
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", [])
        *counts, request_due, job_due, now = cursor.fetchone()
    return OpenRows(
        requests=dict(zip(UNFINISHED, counts[0:2], strict=True)),
        jobs=dict(zip(OPEN, counts[2:4], strict=True)),
        expired_leases=counts[4],
        request_age=_seconds_since(request_due, now),
        job_age=_seconds_since(job_due, now),
    )


def _count(table: str, where: str) -> str:
    return f"(SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT {_MOST_COUNTED}) AS counted)"


def _open_families(look: OpenRows) -> Iterator[Metric]:
    bound = f"Counted up to {_MOST_COUNTED}."
    yield _gauge("tasker_requests", f"Unfinished requests by status. {bound}", "status", look.requests)
    yield _gauge("tasker_jobs", f"Open job attempts by status. {bound}", "status", look.jobs)
    yield GaugeMetricFamily(
        "tasker_oldest_due_request_age_seconds",
        "How long the longest-waiting request has been due for its pick-up; 0 when none is.",
        look.request_age,
    )
    yield GaugeMetricFamily(
        "tasker_oldest_due_job_age_seconds",
        "How long the longest-waiting new job has been due; 0 when none is.",
        look.job_age,
    )
    yield GaugeMetricFamily(
        "tasker_expired_leases",
        f"Jobs in progress whose worker fell silent, not yet tried again. {bound}",
        look.expired_leases,
    )


# The passes ----------------------------------------------------------------------------------------------------------
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
        cursor.execute(" UNION ALL ".join([ended] * len(_PASSES) + [alive]), [*_PASSES, _WORKER])
        for name, began, at in cursor.fetchall():
            success = Success(_aware(at), _seconds_since(began, at))
            if name not in found or success.at > found[name].at:
                found[name] = success
    return found


def _pass_families(successes: dict[str, Success]) -> Iterator[Metric]:
    yield _gauge(
        "tasker_pass_last_success_timestamp_seconds",
        "When the pass last ended without an error, in unix time; of run_worker: when it last reported to be well.",
        "pass",
        {name: success.at.timestamp() for name, success in successes.items()},
    )
    yield _gauge(
        "tasker_pass_last_duration_seconds",
        "How long the last run that ended without an error took.",
        "pass",
        {name: successes[name].seconds for name in _CRON_PASSES if name in successes},
    )


# What ended ----------------------------------------------------------------------------------------------------------
class PassTotals:
    """Sums of what the passes counted. Rows that can no longer change are read once and kept as a sum.

    Every web worker so comes to the same figures. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._folded = dict.fromkeys(_COUNTS, 0)
        self._folded_until: datetime | None = None

    def read(self, connection: BaseDatabaseWrapper) -> dict[str, int]:
        with self._lock:
            begin, now = self._folded_until or _first_end(connection), _now(connection)
            self._folded_until = self._fold(connection, begin, now - _SETTLED_AFTER)
            recent = _sums(connection, "(ended_at > %s OR ended_at IS NULL)", [self._folded_until])
            return _added(self._folded, recent)

    def _fold(self, connection: BaseDatabaseWrapper, begin: datetime, until: datetime) -> datetime:
        """Adds the rows that ended after `begin`; answers up to when. What a lost connection leaves undone is next."""
        while until - begin > _FOLD_EVERY:
            end = min(until, begin + _FOLD_AT_ONCE)
            newly = _sums(connection, "ended_at > %s AND ended_at <= %s", [begin, end])
            self._folded, self._folded_until, begin = _added(self._folded, newly), end, end
        return begin


def _first_end(connection: BaseDatabaseWrapper) -> datetime:
    """A moment before any of the passes ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, MIN(ended_at) FROM passes GROUP BY name", [])
        firsts = [_aware(first) for _, first in cursor.fetchall() if first is not None]
    return min(firsts, default=_now(connection)) - _FOLD_EVERY


def _sums(connection: BaseDatabaseWrapper, where: str, moments: list[datetime]) -> dict[str, int]:
    columns = ", ".join(f"SUM(JSON_EXTRACT(counts, '$.{count}'))" for count in _COUNTS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM passes {dialect('default').force('passes_name_ended')} "
            f"WHERE name IN ({marks(_PASSES)}) AND {where}",
            [*_PASSES, *(connection.ops.adapt_datetimefield_value(moment) for moment in moments)],
        )
        return {count: int(value or 0) for count, value in zip(_COUNTS, cursor.fetchone(), strict=True)}


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {count: one[count] + other[count] for count in _COUNTS}


def _ended_families(totals: dict[str, int]) -> Iterator[Metric]:
    """Cancelled ones are missing: they are an operator's doing, not a pass's."""
    yield CounterMetricFamily("tasker_requests_started_total", "Requests picked up.", totals["started"])
    ended = {"Completed": totals["requests_completed"], "Failed": totals["requests_failed"] + totals["refused"]}
    yield _counter("tasker_requests_ended_total", "Requests that passes ended, by final status.", "status", ended)
    yield CounterMetricFamily("tasker_jobs_claimed_total", "Job attempts claimed.", totals["claimed"])
    attempts = {status: totals[status] for status in ("completed", "retry", "failure")}
    yield _counter("tasker_jobs_ended_total", "Job attempts that passes ended, by status.", "status", attempts)
    yield CounterMetricFamily(
        "tasker_job_leases_lost_total", "Job attempts ended because their worker fell silent.", totals["lease_lost"]
    )


# Families and moments ------------------------------------------------------------------------------------------------
def _gauge(name: str, documentation: str, label: str, values: dict[str, float] | dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family


def _counter(name: str, documentation: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _now(connection: BaseDatabaseWrapper) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {dialect('default').now}", [])
        return _aware(cursor.fetchone()[0])


def _aware(moment: Any) -> datetime:
    """As a driver gives it: a text on SQLite, else naive; UTC on both."""
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).replace(tzinfo=UTC)


def _seconds_since(moment: Any, now: Any) -> float:
    return max(0.0, (_aware(now) - _aware(moment)).total_seconds()) if moment is not None else 0.0
