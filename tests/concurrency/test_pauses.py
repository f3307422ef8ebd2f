"""A pause, a resume, a parking and a claim that meet at the worst moment: no job is parked for ever, none that runs."""

from collections.abc import Iterator

import pytest

from jobs_app.models import Job, PausedJob
from jobs_app.worker.pausing import pause_job, resume_job
from requests_app.models import Request
from requests_app.operations.verify import ReadCount, findings
from tests.concurrency.interleaving import Actor
from tests.factories import make_job, make_request, statuses

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]
BY = {"by": "ada", "reason": "a test"}


@pytest.fixture
def waiting(transactional_db: None) -> Request:
    request = make_request("Inprogress", ["noop"])
    make_job(request, "noop")
    return request


@pytest.fixture(autouse=True)
def _nothing_is_wrong_at_the_end(transactional_db: None) -> Iterator[None]:
    yield
    assert [str(finding) for finding in findings(ReadCount())] == []


def test_a_job_that_is_being_parked_while_its_name_is_resumed_comes_back(waiting: Request):
    PausedJob.objects.pause("noop", **BY)
    with Actor(lambda: Job.objects.park(["noop"]), stop_before="UPDATE jobs") as parking:
        assert parking.stands
        with Actor(lambda: resume_job("noop", **BY)) as resume:
            assert not resume.done  # it waits for the name's row
            assert parking.go_on() == 1
            assert resume.go_on()
    assert not Job.objects.get().is_parked
    assert not PausedJob.objects.exists()


def test_a_job_that_was_chosen_for_parking_before_its_name_was_resumed_is_not_parked(waiting: Request):
    PausedJob.objects.pause("noop", **BY)
    with Actor(lambda: Job.objects.park(["noop"]), stop_before="FROM `paused_jobs`") as parking:
        assert parking.stands
        resume_job("noop", **BY)
        assert parking.go_on() == 0
    assert not Job.objects.get().is_parked


def test_a_name_is_not_forgotten_while_others_pause_park_and_resume_it(waiting: Request):
    PausedJob.objects.pause("noop", **BY)
    PausedJob.objects.resume("noop")

    def pause_park_and_resume() -> None:
        pause_job("noop", **BY)
        PausedJob.objects.resume("noop")

    with Actor(lambda: Job.objects.bring_back(["noop"]), stop_before="DELETE FROM") as bringing_back:
        assert bringing_back.stands
        with Actor(pause_park_and_resume) as others:
            assert bringing_back.go_on() == 0
            others.go_on()
    assert Job.objects.get().is_parked
    assert PausedJob.objects.get().resumed_at
    assert Job.objects.bring_back(["noop"]) == 1


def test_a_job_that_was_claimed_while_it_was_to_be_parked_runs_on_as_it_is(waiting: Request):
    due = Job.objects.get().due_at
    with Actor(lambda: Job.objects.claim("the claim", 5, 300).ids, stop_before="UPDATE jobs") as claim:
        assert claim.stands
        PausedJob.objects.pause("noop", **BY)
        with Actor(lambda: Job.objects.park(["noop"])) as parking:
            assert parking.go_on() == 0  # what the claim has locked is left alone
        assert len(claim.go_on()) == 1
    assert statuses(waiting) == {("noop", 1): "inprogress"}
    assert Job.objects.get().due_at == due


def test_two_pauses_at_once_are_one(waiting: Request):
    with Actor(lambda: pause_job("noop", **BY), stop_before="INSERT INTO `job_interventions`") as first:
        assert first.stands
        with Actor(lambda: pause_job("noop", by="bob", reason="too")) as second:
            assert [first.go_on(), second.go_on()] == [True, False]
    assert PausedJob.objects.get().by == "ada"
