"""What the tables say as metrics: right, bounded in labels and in work, and silent when the database is away."""

import subprocess
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import CollectorRegistry

from jobs_app.db.dialect import database_now
from jobs_app.models import Job, PassRun
from jobs_app.models import tally as tallies
from jobs_app.models.attempts import JobStatus
from jobs_app.models.pause import PARKED_AT
from jobs_app.models.tally import BOUNDS, Key
from jobs_app.registry import names
from requests_app.models import Request, RequestStatus
from requests_app.models.receipt_moves import ReceiptState
from requests_app.models.status import UNFINISHED
from requests_app.monitoring import awaited_answers, backlog, gauges
from requests_app.monitoring.awaited_answers import awaiting_requests, read_awaited, read_untaken
from requests_app.monitoring.backlog import read_backlog
from requests_app.monitoring.counters import read_sums
from requests_app.monitoring.gauges import DatabaseCollector
from requests_app.monitoring.pass_health import read_health
from requests_app.operations.verify import ReadCount, findings
from requests_app.recipes import recipes
from tests import factories
from tests.deploy.prometheus import of_prometheus
from tests.factories import pass_new
from tests.lifecycle.test_explain import fill
from tests.requests_app.monitoring.test_probes import database_away as database_away

pytestmark = pytest.mark.django_db(transaction=True)  # the scrape has a connection of its own: rows must be committed


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    return registry


def ago(seconds: float):
    return database_now() - timedelta(seconds=seconds)


def make_request(status: str = "Queuing", due_at=None) -> Request:
    final = status in {"Completed", "Failed", "Cancelled"}
    return Request.objects.create(
        action="a", status=status, due_at=due_at or ago(0), completed_at=ago(0) if final else None
    )


def test_receipts_that_are_due_are_counted_with_the_age_of_the_first(registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("tasker_receipts_due") == 0
    assert registry.get_sample_value("tasker_receipts_due_oldest_seconds") == 0
    for receipt, seconds in ((ReceiptState.DUE, 30), (ReceiptState.DUE, 90), (ReceiptState.WRITTEN, 900)):
        request = make_request("Completed")
        Request.objects.filter(pk=request.pk).update(receipt=receipt, completed_at=ago(seconds))
    assert registry.get_sample_value("tasker_receipts_due") == 2
    assert 90 <= (registry.get_sample_value("tasker_receipts_due_oldest_seconds") or 0) < 100


def make_job(request: Request, name: str, status: str = "new", *, due_at=None, lease_until=None) -> Job:
    running = status == "inprogress"
    return Job.objects.create(
        request=request,
        step=0,
        name=name,
        status=status,
        due_at=due_at or ago(0),
        claimed_by="c" if running else None,
        lease_until=(lease_until or ago(-60)) if running else None,
        completed_at=None if status in {"new", "inprogress"} else ago(0),
    )


def make_run(name: str = "run_jobs", *, began: float = 10, ended: float | None = 5, error: str = "", **counts: int):
    """`began`, `ended`: seconds ago."""
    return PassRun.objects.create(
        name=name,
        process="host:1",
        started_at=ago(began),
        seen_at=ago(ended or 0),
        ended_at=None if ended is None else ago(ended),
        counts=counts,
        error=error,
    )


def test_open_rows_are_counted_by_status(registry):
    in_progress = make_request("Inprogress")
    for status in ("Queuing", "Queuing", "Completed", "Failed"):
        make_request(status)
    for number, status in enumerate(("new", "new", "new", "inprogress", "completed", "retry")):
        make_job(in_progress, f"job{number}", status)
    assert registry.get_sample_value("tasker_requests", {"status": "Queuing"}) == 2
    assert registry.get_sample_value("tasker_requests", {"status": "Inprogress"}) == 1
    assert registry.get_sample_value("tasker_jobs", {"status": "new"}) == 3
    assert registry.get_sample_value("tasker_jobs", {"status": "inprogress"}) == 1


def test_counting_stops_at_its_bound(registry, monkeypatch):
    monkeypatch.setattr(backlog, "MOST_COUNTED", 3)
    for _ in range(5):
        make_request()
    assert registry.get_sample_value("tasker_requests", {"status": "Queuing"}) == 3


def test_ages_are_those_of_the_longest_waiting(registry):
    request = make_request(due_at=ago(100))
    make_request(due_at=ago(10))
    make_job(request, "old", due_at=ago(50))
    make_job(request, "later", due_at=ago(-50))
    assert registry.get_sample_value("tasker_oldest_due_request_age_seconds") == pytest.approx(100, abs=5)
    assert registry.get_sample_value("tasker_oldest_due_job_age_seconds") == pytest.approx(50, abs=5)


def test_ages_are_zero_while_nothing_is_due(registry):
    make_job(make_request("Inprogress"), "later", due_at=ago(-50))
    assert registry.get_sample_value("tasker_oldest_due_request_age_seconds") == 0
    assert registry.get_sample_value("tasker_oldest_due_job_age_seconds") == 0


def test_a_lease_counts_as_expired_once_it_is_over(registry):
    request = make_request("Inprogress")
    make_job(request, "lost", "inprogress", lease_until=ago(1))
    make_job(request, "held", "inprogress", lease_until=ago(-60))
    assert registry.get_sample_value("tasker_expired_leases") == 1


# Jobs that wait for an answer, and answers ----------------------------------------------------------------------------
def test_jobs_that_wait_are_told_by_name_and_are_neither_late_nor_backlog(registry):
    request = factories.make_request("Inprogress")
    for number, name in enumerate(("noop", "noop", "of_an_older_release"), start=1):
        factories.make_job(request, name, attempt=number, due_in=3600, answer_in=86_400)
    factories.make_job(request, "noop", attempt=4, due_in=60)
    value = registry.get_sample_value
    assert value("tasker_jobs_waiting", {"job_name": "noop"}) == 2
    assert value("tasker_jobs_waiting", {"job_name": "other"}) == 1
    assert value("tasker_jobs_waiting", {"job_name": "noop_1"}) == 0
    assert value("tasker_jobs", {"status": "new"}) == 1
    assert value("tasker_oldest_due_job_age_seconds") == 0


def test_a_job_that_waits_is_due_as_any_other_once_it_is_to_look_again(registry):
    factories.make_job(factories.make_request("Inprogress"), due_in=-50, answer_in=86_400)
    value = registry.get_sample_value
    assert (value("tasker_jobs_waiting", {"job_name": "noop"}), value("tasker_jobs", {"status": "new"})) == (1, 1)
    assert value("tasker_oldest_due_job_age_seconds") == pytest.approx(50, abs=5)


def test_those_that_wait_are_found_before_and_behind_many_others(monkeypatch):
    monkeypatch.setattr(awaited_answers, "MOST_READ", 3)
    request = factories.make_request("Inprogress")
    for number in range(5):
        factories.make_job(request, f"due_{number}", due_in=-number)
        factories.make_job(request, f"backoff_{number}", due_in=60 + number)
    factories.make_job(request, "past", due_in=-60, answer_in=-60, created_at=ago(90))
    factories.make_job(request, "waits", due_in=900, answer_in=900)
    factories.make_job(request, "paused", due_at=PARKED_AT, answer_in=900)
    awaited = read_awaited(connection)
    assert awaited.by_name == {"past": 1, "waits": 1, "paused": 1}
    assert (awaited.later, awaited.past, awaited.is_cut) == (1, 1, True)
    assert awaited.oldest == pytest.approx(ago(90), abs=timedelta(seconds=5))
    assert awaiting_requests() == awaiting_requests(only_past=True) == [request.pk]


@pytest.mark.parametrize(
    ("job", "answer"),
    [
        ({"step": 1}, {"step": 1}),
        ({"status": "inprogress"}, {}),
        ({"status": "new"}, {}),
        ({"answer_in": 60, "attempt": 2}, {"attempt": 1, "outcome": "retry"}),
        ({"answer_in": 60}, {"job": "noop_1"}),
        ({"answer_in": 60}, {"effect": "late", "taken_at": "2026-01-01 00:00Z"}),
    ],
    ids=["its step is to come", "its job runs", "its job has not begun", "older", "another's", "late"],
)
def test_an_answer_that_nobody_waits_for_now_does_not_count_as_untaken(registry, job, answer):
    request = factories.make_request("Inprogress")
    if "step" not in job:
        factories.make_job(request, **job)
    factories.make_answer(request, came_in=-9999, **answer)
    assert registry.get_sample_value("tasker_answers_untaken") == 0
    assert registry.get_sample_value("tasker_answers_untaken_late") == 0


def test_an_answer_is_late_after_three_periods_in_which_it_could_be_taken(registry, settings):
    settings.WRK_REQUEST_INPROGRESS_CRON = "*/1 * * * *"
    for came_in, checks in ((-100, 1), (-200, 2), (-9999, 1)):  # the last came early: its job waits since 10 seconds
        request = factories.make_request("Inprogress")
        factories.make_job(request, answer_in=60, checks=checks, started_at=ago(120 if checks > 1 else 10))
        factories.make_answer(request, came_in=came_in)
    value = registry.get_sample_value
    assert value("tasker_answers_untaken") == 3
    assert value("tasker_answers_untaken_oldest_seconds") == pytest.approx(200, abs=5)
    assert value("tasker_answers_untaken_late") == 1
    settings.WRK_REQUEST_INPROGRESS_CRON = "0 * * * *"
    assert value("tasker_answers_untaken_late") == 0


def test_an_answer_from_the_end_of_the_calendar_is_counted_and_not_late(registry):
    """Its caller may have written any `created_at`."""
    request = factories.make_request("Inprogress")
    factories.make_job(request, answer_in=60)
    factories.insert_answer(request, created_at="9999-12-31 23:59:59.999999")
    value = registry.get_sample_value
    assert (value("tasker_answers_untaken"), value("tasker_answers_untaken_late")) == (1, 0)
    assert list(findings(ReadCount())) == []


@pytest.mark.integration
def test_waiting_jobs_and_untaken_answers_are_found_by_indexes_however_many_rows_there_are():
    fill("Inprogress", "new")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET answer_by = '2999-01-01' WHERE id % 2 = 0")
        cursor.execute("INSERT INTO answers (token, step, job, outcome) SELECT token, 0, 'noop', 'retry' FROM requests")
        cursor.execute("ANALYZE TABLE requests, jobs, answers")
    asked = {
        read_awaited: {"jobs_status_due"},
        read_untaken: {"answers_effect", "token", "jobs_attempt"},
        lambda _: awaiting_requests(): {"jobs_status_due"},
    }
    for read, indexes in asked.items():
        with CaptureQueriesContext(connection) as statements:
            read(connection)
        (statement,) = statements
        plan = plan_of(statement["sql"])
        assert {row["key"] for row in plan if not row["table"].startswith("<")} == indexes, plan
        assert not [row for row in plan if row["table"] in {"jobs", "answers"} and "filesort" in (row["Extra"] or "")]


def plan_of(sql):
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {sql.replace('%', '%%')}", [])
        return [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor.fetchall()]


def test_the_last_success_is_the_last_end_without_an_error(registry):
    make_run(began=500, ended=400)
    good = make_run(began=310, ended=300)
    make_run(began=200, ended=100, error="database away")
    make_run(began=50, ended=None)
    labels = {"pass": "run_jobs"}
    success = registry.get_sample_value("tasker_pass_last_success_timestamp_seconds", labels)
    assert success == pytest.approx(good.ended_at.timestamp(), abs=0.01)
    assert registry.get_sample_value("tasker_pass_last_duration_seconds", labels) == pytest.approx(10, abs=1)


def test_a_running_worker_succeeds_as_long_as_it_reports(registry):
    make_run("run_worker", began=500, ended=400)
    alive = make_run("run_worker", began=300, ended=None)
    success = registry.get_sample_value("tasker_pass_last_success_timestamp_seconds", {"pass": "run_worker"})
    assert success == pytest.approx(alive.seen_at.timestamp(), abs=0.01)


def test_a_pass_that_never_succeeded_has_no_last_success(registry):
    make_run(error="database away")
    labels = {"pass": "run_jobs"}
    assert registry.get_sample_value("tasker_pass_last_success_timestamp_seconds", labels) is None


def test_what_ended_is_told_by_job_and_outcome_and_by_action_and_status(registry):
    transfers = [
        Key("jobs_ended", "service1_get_user", "completed"),
        Key("jobs_ended", "gone_in_this_release", "completed"),
        Key("requests_ended", "delete_user", "Failed"),
        Key("requests_started", "delete_user"),
        Key("job_leases_lost", "service1_get_user"),
        Key("job_results_too_late", "service1_get_user"),
        Key("interventions", "cancel_request"),
    ]
    for number, key in enumerate(transfers, start=1):
        tallies.add({key: number})
        tallies.add({key: 10})
    value = registry.get_sample_value
    assert value("tasker_jobs_ended_total", {"job_name": "service1_get_user", "outcome": "completed"}) == 11
    assert value("tasker_jobs_ended_total", {"job_name": "gone_in_this_release", "outcome": "completed"}) == 12
    assert value("tasker_requests_ended_total", {"action": "delete_user", "status": "Failed"}) == 13
    assert value("tasker_requests_started_total", {"action": "delete_user"}) == 14
    assert value("tasker_job_leases_lost_total", {"job_name": "service1_get_user"}) == 15
    assert value("tasker_job_results_too_late_total", {"job_name": "service1_get_user"}) == 16
    assert value("tasker_interventions_total", {"verb": "cancel_request"}) == 17


def test_what_never_happened_is_there_as_zero_so_that_the_first_time_shows(registry):
    value = registry.get_sample_value
    assert value("tasker_jobs_ended_total", {"job_name": "service3_delete_user", "outcome": "failure"}) == 0
    assert value("tasker_requests_ended_total", {"action": "other", "status": "Cancelled"}) == 0


def test_a_histogram_counts_in_each_bucket_what_is_below_as_well(registry):
    found: Counter[Key] = Counter()
    tallies.observe(found, "job_wait", "noop", [2_000_000, -5, 10_000, 4 * 3600 * 1_000_000, 10_001])
    tallies.add(found)
    value = registry.get_sample_value
    buckets = {le: value("tasker_job_wait_seconds_bucket", {"job_name": "noop", "le": le}) for le in (*BOUNDS, "+Inf")}
    assert (buckets["0.01"], buckets["0.05"], buckets["1.0"], buckets["5.0"]) == (2, 3, 3, 4)
    assert (buckets["3600.0"], buckets["+Inf"]) == (4, 5)
    assert value("tasker_job_wait_seconds_count", {"job_name": "noop"}) == 5
    assert value("tasker_job_wait_seconds_sum", {"job_name": "noop"}) == pytest.approx(14402.020001)


def test_a_scrape_takes_as_many_statements_for_many_rows_as_for_none(django_assert_num_queries):
    def scrape() -> None:
        read_backlog(connection, UNFINISHED)
        read_untaken(connection)
        read_health(connection)
        read_sums(connection)

    with django_assert_num_queries(5):
        scrape()
    request = make_request("Inprogress")
    for number in range(50):
        make_request()
        make_job(request, f"job{number}")
        factories.make_answer(request, f"job{number}")
        make_run(completed=1)
        tallies.add({Key("jobs_ended", f"job{number}", "completed"): 1})
    with django_assert_num_queries(5):
        scrape()


def test_labels_are_bounded():
    for name in ("run_jobs", "run_worker", "something_else"):
        make_run(name)
    make_job(make_request("Inprogress"), "job")
    pass_new()
    known = {*RequestStatus.values, *JobStatus.values, *names(), *(recipe.action for recipe in recipes()), "other"}
    known |= {"run_new_requests", "run_jobs", "run_inprogress_requests", "run_worker", *BOUNDS, "+Inf"}
    for family in DatabaseCollector().collect():
        assert family.name.startswith("tasker_")
        for sample in family.samples:
            assert set(sample.labels.values()) <= known


def test_without_the_database_it_says_so_and_the_process_still_tells_of_itself(client, database_away):
    text = client.get("/metrics").content.decode()
    assert "\ntasker_database_up 0.0\n" in text
    assert "\npython_info{" in text
    assert "tasker_requests" not in text


def test_without_tables_it_counts_as_away(registry, monkeypatch):
    monkeypatch.setattr(gauges, "read_backlog", lambda connection, _: connection.cursor().execute("SELECT * FROM no"))
    assert registry.get_sample_value("tasker_database_up") == 0


def test_prometheus_finds_no_fault_with_the_metrics(client):
    promtool = of_prometheus("promtool")
    make_run(completed=1)
    observed: Counter[Key] = Counter()
    tallies.observe(observed, "job_run", "noop", [5])
    tallies.add(observed)
    text = client.get("/metrics").content
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.integration
def test_the_backlog_is_counted_by_nothing_but_ranges_of_indexes():
    request = make_request("Inprogress")
    for number in range(20):
        make_request()
        make_request("Completed")
        make_job(request, f"open{number}")
        make_job(request, f"lost{number}", "inprogress", lease_until=ago(1))
        make_job(request, f"done{number}", "completed")
    with CaptureQueriesContext(connection) as statements:
        read_backlog(connection, UNFINISHED)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {statements[0]['sql']}", [])
        plan = [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor.fetchall()]
    read = [row for row in plan if row["table"] in {"requests", "jobs"}]
    assert len(read) >= 5
    for row in read:
        assert row["key"] in {"requests_status_due", "jobs_status_due", "jobs_status_lease"}
        assert "Using index" in row["Extra"]
        assert "filesort" not in row["Extra"]
