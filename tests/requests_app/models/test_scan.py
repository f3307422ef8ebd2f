"""How run_inprogress_requests finds the requests whose step has ended, among all that wait for their jobs."""

import pytest

from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.operations import interventions
from requests_app.passes import inprogress_requests
from requests_app.worker import run_worker
from tests.factories import insert_raw, make_job, make_request, pass_inprogress, pass_jobs, pass_new
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = 4


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inprogress_requests, "SCANNED", PAGE)


def wait_for_jobs(number: int) -> list[Request]:
    """That many requests in progress whose jobs are not due."""
    requests = [make_request("Inprogress") for _ in range(number)]
    for request in requests:
        make_job(request, due_in=60)
    return requests


def settle(*requests: Request) -> None:
    Job.objects.filter(request__in=requests).update(status="completed", completed_at="2026-01-01 00:00Z")


def status_of(request: Request) -> str:
    return str(Request.objects.get(pk=request.pk).status)


def test_what_is_settled_is_moved_on_wherever_it_stands() -> None:
    requests = wait_for_jobs(3 * PAGE + 1)
    settled = [requests[0], requests[PAGE], requests[-1]]
    settle(*settled)
    assert pass_inprogress() == {"requests_completed": 3}
    assert {status_of(request) for request in settled} == {"Completed"}
    assert pass_inprogress() == {}


def test_requests_that_are_due_at_the_same_moment_are_all_seen() -> None:
    requests = wait_for_jobs(2 * PAGE)
    Request.objects.update(due_at="2026-01-01 00:00Z")
    settle(*requests)
    assert pass_inprogress() == {"requests_completed": 2 * PAGE}


def test_a_limit_leaves_the_rest_to_the_next_pass() -> None:
    settle(*wait_for_jobs(2 * PAGE))
    assert pass_inprogress(limit=PAGE + 1) == {"requests_completed": PAGE + 1}
    assert pass_inprogress() == {"requests_completed": PAGE - 1}


def test_what_does_not_add_up_takes_nobody_s_place_within_a_limit() -> None:
    make_request("Inprogress")  # and it has no job
    settle(*wait_for_jobs(1))
    assert pass_inprogress(limit=1) == {"requests_completed": 1}


@pytest.mark.parametrize("verb", ["complete_job", "retry_request"])
def test_what_an_operator_has_made_ready_is_moved_on(verb: str) -> None:
    wait_for_jobs(PAGE)
    request = make_request("Failed")
    if verb == "complete_job":
        make_job(request, status="failure")
        interventions.complete_job(request.token, "noop", None, by="a test", reason="")
    else:
        make_job(request, status="completed")
        interventions.retry_request(request.token, by="a test", reason="")
    assert pass_inprogress() == {"requests_completed": 1}
    assert status_of(request) == "Completed"


def test_a_scan_takes_one_statement_a_page() -> None:
    asked = []
    for number in (PAGE - 1, 4 * PAGE):
        wait_for_jobs(number)
        with listening() as heard:
            assert pass_inprogress() == {}
        asked.append(len(heard))
    # The run's row twice, a look for answers, one for receipts, and one page; then 19 requests are five pages.
    assert asked == [5, 5 + 4]


def test_a_worker_scans_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests_app.worker._SCAN_SECONDS", 0)
    requests = wait_for_jobs(3 * PAGE)
    settle(requests[1], requests[-1])
    run_worker(Stop(max_seconds=0.5), RunRecord("run_worker"))
    assert (status_of(requests[1]), status_of(requests[-1])) == ("Completed", "Completed")


def test_the_way_by_cron() -> None:
    for _ in range(2 * PAGE):
        insert_raw(steps='[{"name": "a", "jobs": ["noop", "noop_1"]}, {"name": "b", "jobs": ["noop_2"]}]')
    pass_new()
    for _ in range(2):
        pass_jobs()
        pass_inprogress()
    assert set(Request.objects.values_list("status", flat=True)) == {"Completed"}
