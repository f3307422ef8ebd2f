"""A verb's connection is cut at its COMMIT: it is done once, and its command says so."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection

from jobs_app.db import transactions
from jobs_app.db.columns import UtcNow
from jobs_app.models import JobIntervention, PausedJob
from jobs_app.worker.pausing import pause_job
from requests_app.models import Intervention, Purge, Request
from requests_app.monitoring.counters import read_sums
from requests_app.monitoring.tallies import INTERVENTIONS
from tests.conftest import called_here
from tests.factories import make_job, make_request
from tests.faults.clock import HastyClock
from tests.proxy import Cut, Proxy

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

ARRIVES = pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "not even sent"])


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "time", HastyClock())


def failed() -> Request:
    request = make_request("Failed", ["noop"])
    make_job(request, "noop", "failure")
    return request


def waiting() -> Request:
    request = make_request("Inprogress", ["noop"])
    make_job(request, "noop", "new", due_in=3600)
    return request


VERBS: dict[str, tuple[Callable[[], Request], list[str], str]] = {
    "retry_request": (failed, [], "Inprogress"),
    "retry_now": (waiting, [], "Inprogress"),
    "complete_job": (waiting, ["noop"], "Inprogress"),
    "fail_job": (waiting, ["noop"], "Inprogress"),
    "cancel_request": (waiting, [], "Cancelled"),
}


@ARRIVES
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_whose_commit_is_cut_is_done_once_and_says_so(
    verb: str, arrives: bool, through_proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    make, more, status = VERBS[verb]
    request = make()
    through_proxy.cut = Cut(b"COMMIT", within=b"INSERT INTO `interventions`", arrives=arrives)
    with caplog.at_level("INFO", "requests_app.monitoring.events"):
        ran = called_here(verb, request.token, *more, "--reason", "x")
    assert through_proxy.cut.done
    assert ran.returncode == 0
    assert ran.stderr.count(f" {verb} [requests_app") == 1
    request.refresh_from_db()
    assert request.status == status
    assert Intervention.objects.get().verb == verb
    sums = {key.subject: amount for key, amount in read_sums(connection).items() if key.metric == INTERVENTIONS}
    assert sums == {verb: 1}


@pytest.mark.parametrize(("verb", "said"), [("pause_job", "is paused"), ("resume_job", "is resumed")])
@ARRIVES
def test_a_pause_or_resume_whose_commit_is_cut_is_done_once_and_says_so(
    verb: str, said: str, arrives: bool, through_proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    if verb == "resume_job":
        pause_job("noop", by="bob", reason="x")
    before = JobIntervention.objects.count()
    through_proxy.cut = Cut(b"COMMIT", within=b"INSERT INTO `job_interventions`", arrives=arrives)
    with caplog.at_level("INFO", "jobs_app.telemetry.events"):
        ran = called_here(verb, "noop", "--reason", "x")
    assert through_proxy.cut.done
    assert ran.stderr.count(f" {verb} [jobs_app") == 1
    assert (ran.returncode, ran.stdout) == (0, f"noop {said}\n")
    assert JobIntervention.objects.count() == before + 1
    assert PausedJob.objects.paused().exists() == (verb == "pause_job")


@ARRIVES
@pytest.mark.parametrize("at", ["INSERT INTO `purges`", "DELETE FROM `requests`", "`ended_at` = "])
def test_a_purge_whose_commit_is_cut_leaves_one_row_and_counts_all(
    at: str, arrives: bool, through_proxy: Proxy
) -> None:
    for _ in range(3):
        make_request("Cancelled")
    Request.objects.update(completed_at=UtcNow() - timedelta(days=9))
    text = b"`ended_at` = " if at == "`ended_at` = " else b"COMMIT"
    through_proxy.cut = Cut(text, within=b"" if text in at.encode() else at.encode(), arrives=arrives)
    ran = called_here("purge_requests", "--older-than", "1d")
    assert through_proxy.cut.done
    assert ran.returncode == 0
    assert "purge_requests requests=3 " in ran.stdout
    row = Purge.objects.get()
    assert row.counts["requests"] == 3
    assert row.ended_at


def test_a_verb_whose_answer_never_comes_does_not_say_that_it_was_not_done(through_proxy: Proxy) -> None:
    request = failed()
    through_proxy.cut = Gone(through_proxy)
    ran = called_here("retry_request", request.token, "--reason", "x")
    through_proxy.refuses = False
    assert ran.returncode == 1
    assert "whether it was done is not known" in ran.stderr
    assert "show_request" in ran.stderr


def test_a_verb_that_could_not_even_begin_does_not_raise_doubts(through_proxy: Proxy) -> None:
    through_proxy.refuses = True
    ran = called_here("retry_request", "t", "--reason", "x")
    assert ran.returncode == 1
    assert "not known" not in ran.stderr


class Gone(Cut):
    """After that COMMIT nobody is let in any more."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(b"COMMIT", within=b"INSERT INTO `interventions`")
        self._proxy = proxy

    def is_at(self, query: bytes, number: int, transaction: list[bytes]) -> bool:
        self._proxy.refuses = super().is_at(query, number, transaction)
        return self._proxy.refuses
