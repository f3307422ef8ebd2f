"""What the tables say as metrics: right, bounded in labels and in work, and silent when the database is away."""

import shutil
import subprocess
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import CollectorRegistry

from jobs_app.dialect import database_now
from jobs_app.models import Job, JobStatus, PassRun
from requests_app import metrics
from requests_app.metrics import DatabaseCollector, last_successes, look_at_open_rows
from requests_app.models import Request, RequestStatus
from requests_app.pass_totals import PassTotals
from tests.requests_app.test_views import database_away as database_away

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
    monkeypatch.setattr(metrics, "_MOST_COUNTED", 3)
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


def test_what_ended_is_the_sum_over_all_passes(registry):
    make_run("run_jobs", claimed=12, completed=9, retry=2, failure=1, lease_lost=1, too_late=1)
    make_run("run_worker", ended=None, claimed=3, completed=3, requests_completed=2, started=4)
    make_run("run_new_requests", started=7, refused=1)
    make_run("run_inprogress_requests", requests_completed=5, requests_failed=2)
    assert registry.get_sample_value("tasker_jobs_ended_total", {"status": "completed"}) == 12
    assert registry.get_sample_value("tasker_jobs_ended_total", {"status": "retry"}) == 2
    assert registry.get_sample_value("tasker_jobs_ended_total", {"status": "failure"}) == 1
    assert registry.get_sample_value("tasker_jobs_claimed_total") == 15
    assert registry.get_sample_value("tasker_job_leases_lost_total") == 1
    assert registry.get_sample_value("tasker_job_results_too_late_total") == 1
    assert registry.get_sample_value("tasker_requests_started_total") == 11
    assert registry.get_sample_value("tasker_requests_ended_total", {"status": "Completed"}) == 7
    assert registry.get_sample_value("tasker_requests_ended_total", {"status": "Failed"}) == 3


def test_rows_that_can_no_longer_change_are_read_once():
    day = 24 * 3600
    for days in (400, 90, 1):
        make_run(began=days * day + 10, ended=days * day, completed=100)
    running = make_run(began=10, ended=None, completed=1)
    totals = PassTotals()
    assert totals.read(connection)["completed"] == 301

    # Later scrapes do not read them again: also when they are purged, what was counted stays counted.
    PassRun.objects.exclude(pk=running.pk).delete()
    assert totals.read(connection)["completed"] == 301

    # A run that goes on is read anew each time, and counted once.
    PassRun.objects.filter(pk=running.pk).update(counts={"completed": 5}, ended_at=ago(0))
    assert totals.read(connection)["completed"] == 305
    assert totals.read(connection)["completed"] == 305


def test_two_workers_come_to_the_same_totals():
    for hours in range(0, 48, 3):
        make_run(began=hours * 3600 + 5, ended=hours * 3600 + 1, completed=1)
    early = PassTotals()
    early.read(connection)
    make_run(completed=1)
    assert early.read(connection) == PassTotals().read(connection)


def test_a_scrape_takes_as_many_statements_for_many_rows_as_for_none(django_assert_num_queries):
    def scrape() -> None:
        look_at_open_rows(connection)
        last_successes(connection)
        totals.read(connection)

    totals = PassTotals()
    totals.read(connection)
    with django_assert_num_queries(4):
        scrape()
    request = make_request("Inprogress")
    for number in range(50):
        make_request()
        make_job(request, f"job{number}")
        make_run(completed=1)
    with django_assert_num_queries(4):
        scrape()


def test_labels_are_bounded():
    for name in ("run_jobs", "run_worker", "something_else"):
        make_run(name, completed=1)
    make_job(make_request("Inprogress"), "job")
    known = {*RequestStatus.values, *JobStatus.values}
    known |= {"run_new_requests", "run_jobs", "run_inprogress_requests", "run_worker"}
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
    monkeypatch.setattr(
        metrics, "look_at_open_rows", lambda connection: connection.cursor().execute("SELECT * FROM no")
    )
    assert registry.get_sample_value("tasker_database_up") == 0


def test_prometheus_finds_no_fault_with_the_metrics(client):
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not here: it comes with Debian's package prometheus")
    make_run(completed=1)
    text = client.get("/metrics").content
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.integration
def test_the_look_at_open_rows_reads_nothing_but_ranges_of_indexes():
    request = make_request("Inprogress")
    for number in range(20):
        make_request()
        make_request("Completed")
        make_job(request, f"open{number}")
        make_job(request, f"lost{number}", "inprogress", lease_until=ago(1))
        make_job(request, f"done{number}", "completed")
    with CaptureQueriesContext(connection) as statements:
        look_at_open_rows(connection)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {statements[0]['sql']}", [])
        plan = [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor.fetchall()]
    read = [row for row in plan if row["table"] in {"requests", "jobs"}]
    assert len(read) >= 5
    for row in read:
        assert row["key"] in {"requests_status_due", "jobs_status_due", "jobs_status_lease"}
        assert "Using index" in row["Extra"]
        assert "filesort" not in row["Extra"]
