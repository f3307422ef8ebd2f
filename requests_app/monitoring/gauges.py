"""What the tables say, as Prometheus metrics; read anew at every scrape, by few statements that indexes serve.

Work is done in processes that die, so nothing is counted in memory. Open rows are counted in the tables, up to a bound.
Finished rows are not: counting five million takes seconds, and they may be purged. What ended is counted in the table
`tallies` (counters.py). No label holds a token, an id or a URL.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs_app.db.faults import fault_line
from jobs_app.db.statements import fetch_all
from jobs_app.models.attempts import JobStatus
from jobs_app.models.tally import OTHER
from jobs_app.registry import names
from requests_app.models.status import UNFINISHED
from requests_app.monitoring.awaited_answers import MOST_READ, AwaitedAnswers, UntakenAnswers, read_untaken
from requests_app.monitoring.backlog import MOST_COUNTED, Backlog, read_backlog
from requests_app.monitoring.counters import read_sums, tally_families
from requests_app.monitoring.deadlines import MOST_LATE, DeadlineState, count_by_deadline
from requests_app.monitoring.due_receipts import MOST_DUE, DueReceipts, read_due_receipts
from requests_app.monitoring.limits import Breaker, LimitState, read_limits
from requests_app.monitoring.pass_health import WORKER, Health, is_late, read_health
from requests_app.monitoring.probe_connection import probe_connection

log = structlog.stdlib.get_logger(__name__)

_ANSWER_SECONDS = 5  # Prometheus gives up after 10


class DatabaseCollector(Collector):
    """All metrics that come from the database. Without it, `tasker_database_up` is 0 and the others are missing."""

    def collect(self) -> Iterator[Metric]:
        began = time.perf_counter()
        try:
            with probe_connection(_ANSWER_SECONDS) as connection:
                families = [
                    *_backlog_families(
                        backlog := read_backlog(connection, UNFINISHED),
                        limits := read_limits(connection, settings.WRK_LIMITS.values()),
                    ),
                    _waiting_family(backlog.awaited),
                    *_untaken_families(read_untaken(connection)),
                    *_deadline_families(count_by_deadline(connection)),
                    *_receipt_families(read_due_receipts(connection)),
                    _paused_family(connection),
                    *_limit_families(limits),
                    *_pass_families(read_health(connection)),
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


# The backlog ---------------------------------------------------------------------------------------------------------
def _backlog_families(backlog: Backlog, limits: Sequence[LimitState]) -> Iterator[Metric]:
    bound = f"Counted up to {MOST_COUNTED}."
    jobs = {JobStatus.NEW: backlog.new, JobStatus.INPROGRESS: backlog.running}
    yield _gauge("tasker_requests", f"Unfinished requests by status. {bound}", "status", backlog.requests)
    yield _gauge("tasker_jobs", f"Open job attempts by status. {bound}", "status", jobs)
    yield GaugeMetricFamily(
        "tasker_oldest_due_request_age_seconds",
        "How long the longest-waiting request has been due for its pick-up; 0 when none is.",
        _age(backlog.oldest_request, backlog.now),
    )
    yield GaugeMetricFamily(
        "tasker_oldest_due_job_age_seconds",
        "How long the longest-waiting new job has been due, for a pass or for a permit; 0 when none is.",
        max(_age(oldest, backlog.now) for oldest in (backlog.oldest_job, *(limit.oldest for limit in limits))),
    )
    yield GaugeMetricFamily(
        "tasker_expired_leases",
        f"Jobs in progress whose worker fell silent, not yet tried again. {bound}",
        backlog.lost,
    )


def _age(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _deadline_families(counts: Mapping[DeadlineState, Mapping[str, int]]) -> Iterator[Metric]:
    bound = f"Counted up to {MOST_LATE} of each status."
    yield _gauge(
        "tasker_requests_overdue",
        f"Requests past their deadline and not done (Failed ones too), by action. {bound}",
        "action",
        counts[DeadlineState.OVERDUE],
    )
    yield _gauge(
        "tasker_requests_due_soon",
        f"Requests not done with a tenth of their time left, or less, by action. {bound}",
        "action",
        counts[DeadlineState.DUE_SOON],
    )


def _receipt_families(receipts: DueReceipts) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "tasker_receipts_due",
        f"Requests that have ended and whose receipt is not written yet. Counted up to {MOST_DUE}.",
        receipts.due,
    )
    yield GaugeMetricFamily(
        "tasker_receipts_due_oldest_seconds",
        "How long ago the first of those that are written next ended; 0 when none is due.",
        _age(receipts.since, receipts.now),
    )


def _paused_family(connection: BaseDatabaseWrapper) -> Metric:
    """Names, not counts: of a job that is not paused there is no line."""
    rows = fetch_all("SELECT name FROM paused_jobs WHERE resumed_at IS NULL ORDER BY name", on=connection)
    names = [name for (name,) in rows]
    return _gauge("tasker_job_paused", "1 for each paused job name.", "job_name", dict.fromkeys(names, 1))


def _limit_families(limits: Sequence[LimitState]) -> Iterator[Metric]:
    """Of the limits that WRK_LIMITS names; where it is empty there is no line."""
    yield _gauge(
        "tasker_limit_open",
        "1 while the limit's breaker is open or half-open, else 0.",
        "limit",
        {limit.rule.name: int(limit.breaker != Breaker.CLOSED) for limit in limits},
    )
    bound = f"Counted up to {MOST_COUNTED}."
    yield _gauge(
        "tasker_limit_waiting",
        f"Jobs that are due and wait for a permit, by limit. {bound}",
        "limit",
        {limit.rule.name: limit.waiting for limit in limits},
    )
    yield _gauge(
        "tasker_limit_running",
        f"Jobs that run by a permit, by limit. {bound}",
        "limit",
        {limit.rule.name: limit.running for limit in limits},
    )


# Answers -------------------------------------------------------------------------------------------------------------
def _waiting_family(awaited: AwaitedAnswers) -> Metric:
    known = dict.fromkeys([*names(), OTHER], 0)
    for name, count in awaited.by_name.items():
        known[name if name in known else OTHER] += count
    return _gauge(
        "tasker_jobs_waiting", f"Jobs that wait for an answer, by job. Of the first {MOST_READ}.", "job_name", known
    )


def _untaken_families(untaken: UntakenAnswers) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "tasker_answers_untaken",
        f"Answers that are there, and that their jobs wait for; not those that came early. Of the first {MOST_READ}.",
        untaken.count,
    )
    yield GaugeMetricFamily(
        "tasker_answers_untaken_oldest_seconds",
        "How long the oldest of them could have been taken; 0 when there is none.",
        _age(untaken.since, untaken.now),
    )
    yield GaugeMetricFamily(
        "tasker_answers_untaken_late",
        "1 when that is longer than three periods of run_inprogress_requests, as this process knows its cron line.",
        bool(untaken.since) and is_late("run_inprogress_requests", untaken.since or untaken.now, untaken.now),
    )


# The passes ----------------------------------------------------------------------------------------------------------
def _pass_families(health: Health) -> Iterator[Metric]:
    successes = {name: one.own_success for name, one in health.passes.items() if one.own_success}
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
        {name: success.seconds for name, success in successes.items() if name != WORKER},
    )
    yield _gauge(
        "tasker_pass_late",
        "1 when the pass has not succeeded for three periods of its cron line as this process knows it, else 0.",
        "pass",
        {name: int(one.is_late) for name, one in health.passes.items() if name != WORKER},
    )


# Families ---------------------------------------------------------------------------------------------------------
def _gauge(name: str, documentation: str, label: str, values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family
