"""The counters and histograms of /metrics: the sums of the table `tallies`, which only grow, whatever is purged.

Labels are names of this or an earlier release (jobs, actions, verbs), ends, and buckets; there is a bounded number. A
job's is `job_name`: Prometheus has a `job` of its own, which says what was scraped.
"""

from collections.abc import Iterator, Mapping

from django.db.backends.base.base import BaseDatabaseWrapper
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from jobs_app.db.statements import fetch_all
from jobs_app.models.tally import BOUNDS, OTHER, OVER, SUM, Key
from jobs_app.registry import names
from jobs_app.telemetry.tallies import JOB_RUN, JOB_WAIT, JOBS_ENDED, LEASES_LOST, TOO_LATE
from requests_app.models.status import FINAL
from requests_app.monitoring.ended_attempts import OUTCOMES
from requests_app.monitoring.tallies import INTERVENTIONS, REQUESTS_ENDED, REQUESTS_SHORT, REQUESTS_STARTED
from requests_app.recipes import recipes

Sums = dict[Key, int]


def read_sums(connection: BaseDatabaseWrapper) -> Sums:
    """One statement that reads the primary key in its order."""
    rows = fetch_all(
        "SELECT metric, subject, label, SUM(amount) FROM tallies GROUP BY metric, subject, label "
        "ORDER BY metric, subject, label",
        on=connection,
    )
    return {Key(*key): int(amount) for *key, amount in rows}


def tally_families(sums: Sums) -> Iterator[Metric]:
    """What never happened is there as 0, so that its first time shows as an increase."""
    jobs, actions = [*names(), OTHER], [*(recipe.action for recipe in recipes()), OTHER]
    yield _counter(
        "tasker_requests_started_total",
        "Requests picked up, by action.",
        ["action"],
        _zeros(REQUESTS_STARTED, actions) | _only(sums, REQUESTS_STARTED),
    )
    yield _counter(
        "tasker_requests_ended_total",
        "Requests that came to a final status, by action; one that is retried by hand ends again.",
        ["action", "status"],
        _zeros(REQUESTS_ENDED, actions, FINAL) | _only(sums, REQUESTS_ENDED),
    )
    yield _counter(
        "tasker_requests_short_total",
        "Requests that were completed although a job had failed, which they went on without, by action.",
        ["action"],
        _zeros(REQUESTS_SHORT, actions) | _only(sums, REQUESTS_SHORT),
    )
    yield _counter(
        "tasker_jobs_ended_total",
        "Job attempts that ended, by job and outcome.",
        ["job_name", "outcome"],
        _zeros(JOBS_ENDED, jobs, OUTCOMES) | _only(sums, JOBS_ENDED),
    )
    yield _counter(
        "tasker_job_leases_lost_total",
        "Job attempts ended because their worker fell silent, by job.",
        ["job_name"],
        _zeros(LEASES_LOST, jobs) | _only(sums, LEASES_LOST),
    )
    yield _counter(
        "tasker_job_results_too_late_total",
        "Results of callbacks that changed nothing, since the attempt had been ended meanwhile, by job.",
        ["job_name"],
        _zeros(TOO_LATE, jobs) | _only(sums, TOO_LATE),
    )
    yield _counter(
        "tasker_interventions_total",
        "What operators did to requests by hand, by verb.",
        ["verb"],
        _only(sums, INTERVENTIONS),
    )
    yield _histogram(
        "tasker_job_wait_seconds", "From when an attempt was due until it was claimed, by job.", _only(sums, JOB_WAIT)
    )
    yield _histogram("tasker_job_run_seconds", "How long an attempt's callback took, by job.", _only(sums, JOB_RUN))


def _only(sums: Sums, metric: str) -> Sums:
    return {key: amount for key, amount in sums.items() if key.metric == metric}


def _zeros(metric: str, subjects: list[str], labels: tuple[str, ...] = ("",)) -> Sums:
    return {Key(metric, subject, str(label)): 0 for subject in subjects for label in labels}


def _counter(name: str, documentation: str, labels: list[str], sums: Sums) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for key, amount in sums.items():
        family.add_metric([key.subject, key.label][: len(labels)], amount)
    return family


def _histogram(name: str, documentation: str, sums: Mapping[Key, int]) -> Metric:
    """Prometheus's buckets count what is below them too; the table's do not."""
    by_job: dict[str, dict[str, int]] = {}
    for key, amount in sums.items():
        by_job.setdefault(key.subject, {})[key.label] = amount
    family = HistogramMetricFamily(name, documentation, labels=["job_name"])
    for job, amounts in by_job.items():
        buckets, below = [], 0
        for bound in (*BOUNDS, OVER):
            below += amounts.get(bound, 0)
            buckets.append((bound, float(below)))
        family.add_metric([job], buckets, amounts.get(SUM, 0) / 1_000_000)
    return family
