"""What the tables say, as Prometheus metrics; read anew at every scrape, by few statements that indexes serve.

Work is done in processes that die, so nothing is counted in memory. Open rows are counted in the tables, up to a bound.
Finished rows are not: counting five million takes seconds, and they may be purged. What ended is told by the table
`tallies` (tally_metrics.py). No label holds a token, an id or a URL.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs_app.db.dialect import dialect
from jobs_app.db.transactions import fault_line
from jobs_app.models.attempts import OPEN
from requests_app.models.request import UNFINISHED
from requests_app.monitoring.counters import read_sums, tally_families
from requests_app.monitoring.dead_man import Late, late_passes
from requests_app.monitoring.pass_health import CRON_PASSES, Success, last_successes, seconds_since
from requests_app.monitoring.probe_connection import probe_connection

log = structlog.stdlib.get_logger(__name__)

_ANSWER_SECONDS = 5  # Prometheus gives up after 10
_MOST_COUNTED = 50_000  # entries of an index, of each status; about 8 ms


class DatabaseCollector(Collector):
    """All metrics that come from the database. Without it, `tasker_database_up` is 0, the tables' are missing."""

    def collect(self) -> Iterator[Metric]:
        began = time.perf_counter()
        try:
            with probe_connection(_ANSWER_SECONDS) as connection:
                successes = last_successes(connection)
                families = [
                    *_open_families(look_at_open_rows(connection)),
                    _paused_family(connection),
                    *_pass_families(successes),
                    _late_family(late_passes(connection, successes)),
                    *tally_families(read_sums(connection)),
                ]
        except Error as error:
            log.warning("metrics_without_database", fault=fault_line(error))
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
        request_age=seconds_since(request_due, now),
        job_age=seconds_since(job_due, now),
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


def _paused_family(connection: BaseDatabaseWrapper) -> Metric:
    """Names, not counts: of a job that is not paused there is no line."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM paused_jobs WHERE resumed_at IS NULL ORDER BY name", [])
        names = [row[0] for row in cursor.fetchall()]
    return _gauge("tasker_job_paused", "1 for each paused job name.", "job_name", dict.fromkeys(names, 1))


# The passes ----------------------------------------------------------------------------------------------------------
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
        {name: successes[name].seconds for name in CRON_PASSES if name in successes},
    )


def _late_family(late: list[Late]) -> Metric:
    names = {one.name for one in late} if settings.WRK_ENABLED else set()
    return _gauge(
        "tasker_pass_late",
        "1 when the pass has not succeeded for three periods of its cron line as this process knows it, else 0.",
        "pass",
        {name: int(name in names) for name in CRON_PASSES},
    )


# Families ---------------------------------------------------------------------------------------------------------
def _gauge(name: str, documentation: str, label: str, values: dict[str, float] | dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family
