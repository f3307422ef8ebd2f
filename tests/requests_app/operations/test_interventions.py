"""The operators' verbs: what each does in each state, that a refusal changes nothing, that each leaves its trace."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.passes import run_jobs
from jobs_app.worker.shutdown import Stop
from requests_app.models import Intervention, Request
from requests_app.operations.interventions import (
    Refused,
    cancel_request,
    complete_job,
    fail_job,
    retry_now,
    retry_request,
)
from requests_app.passes import run_inprogress_requests, run_new_requests
from tests.conftest import called_here

pytestmark = pytest.mark.django_db(transaction=True)
BY: dict[str, Any] = {"by": "ada", "reason": "user 4711 asked"}


def placed(*steps: tuple[str, ...], params: dict[str, object] | None = None) -> Request:
    shaped = [{"name": f"step {index}", "jobs": list(jobs)} for index, jobs in enumerate(steps)]
    row = Request.objects.create(action="test", params=params or {}, steps=shaped)
    return Request.objects.get(pk=row.pk)


def one_round() -> None:
    for work in (run_new_requests, run_jobs, run_inprogress_requests):
        work(Stop(), RunRecord(work.__name__))


def failed(*jobs: str) -> Request:
    request = placed(jobs or ("fails", "noop"))
    one_round()
    request.refresh_from_db()
    assert request.status == "Failed"
    return request


def waiting() -> Request:
    """One job waits for a second attempt, an hour from now."""
    request = placed(("retries", "noop"), params={"after": 3600, "succeed_at": 2})
    one_round()
    request.refresh_from_db()
    return request


def rows() -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        found = []
        for table in ("requests", "jobs"):
            cursor.execute(f"SELECT * FROM {table} ORDER BY id")
            found += cursor.fetchall()
    return found


def statuses(request: Request) -> dict[tuple[str, int], str]:
    return {(job.name, job.attempt): job.status for job in request.jobs.all()}


def in_state(state: str) -> Request:
    match state:
        case "Queuing":
            return placed(("noop",))
        case "Inprogress":
            return waiting()
        case "Failed":
            return failed()
    request = placed(("noop",))
    if state == "Cancelled":
        cancel_request(request.token, by="somebody", reason="")
    else:
        one_round()
    request.refresh_from_db()
    return request


VERBS = {
    "cancel_request": (cancel_request, {"Queuing", "Inprogress"}),
    "retry_request": (retry_request, {"Failed"}),
    "retry_now": (retry_now, {"Inprogress"}),
    "complete_job": (lambda token, **by: complete_job(token, "fails", None, **by), {"Failed"}),
    "fail_job": (lambda token, **by: fail_job(token, "retries", **by), {"Inprogress"}),
}


@pytest.mark.parametrize("state", ["Queuing", "Inprogress", "Completed", "Failed", "Cancelled"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_acts_in_its_states_and_changes_nothing_in_the_others(verb: str, state: str) -> None:
    act, allowed = VERBS[verb]
    request = in_state(state)
    Intervention.objects.all().delete()
    before = rows()
    if state in allowed:
        act(request.token, **BY)
        assert rows() != before
        trace = Intervention.objects.get()
        assert (trace.request_id, trace.verb, trace.by, trace.reason) == (request.id, verb, "ada", "user 4711 asked")
    else:
        with pytest.raises(Refused, match=f"this one is {state}"):
            act(request.token, **BY)
        assert rows() == before
        assert not Intervention.objects.exists()


def test_a_retried_request_keeps_its_completed_jobs_and_gives_the_others_a_fresh_budget() -> None:
    request = failed("fails", "noop")
    retry_request(request.token, **BY)
    request.refresh_from_db()
    assert (request.status, request.error, request.completed_at) == ("Inprogress", "", None)
    assert statuses(request) == {("fails", 1): "failure", ("noop", 1): "completed", ("fails", 2): "new"}
    again = request.jobs.get(name="fails", attempt=2)
    assert again.last_attempt == 1 + 10


def test_siblings_that_a_failure_cancelled_are_tried_again_too() -> None:
    request = placed(("fails", "retries"), params={"after": 3600, "succeed_at": 3})
    run_new_requests(Stop(), RunRecord("run_new_requests"))
    Job.objects.filter(name="fails").update(due_at="2999-01-01T00:00:00Z")
    run_jobs(Stop(), RunRecord("run_jobs"))
    Job.objects.filter(name="fails").update(due_at="2000-01-01T00:00:00Z")
    run_jobs(Stop(), RunRecord("run_jobs"))
    run_inprogress_requests(Stop(), RunRecord("run_inprogress_requests"))
    assert statuses(request)["retries", 2] == "cancelled"
    retry_request(request.token, **BY)
    assert statuses(request)["retries", 3] == "new"
    one_round()
    assert statuses(request)["retries", 3] == "completed"


def test_a_request_that_was_refused_is_queued_again() -> None:
    request = placed(("no_such_job",))
    one_round()
    retry_request(request.token, **BY)
    request.refresh_from_db()
    assert (request.status, request.error, request.completed_at) == ("Queuing", "", None)


def test_a_retried_request_that_is_good_now_is_completed() -> None:
    request = failed("fails")
    Job.objects.filter(request=request).update(name="noop")
    Request.objects.filter(pk=request.pk).update(
        steps=[{"name": "s", "jobs": ["noop"]}, {"name": "t", "jobs": ["noop"]}]
    )
    retry_request(request.token, **BY)
    one_round()
    one_round()
    request.refresh_from_db()
    assert request.status == "Completed"


def test_a_job_done_by_hand_lets_a_failed_request_go_on_with_what_it_found() -> None:
    request = failed("fails", "returns_extras")
    complete_job(request.token, "fails", {"email": "ada@example.com"}, **BY)
    one_round()
    request.refresh_from_db()
    assert request.status == "Completed"
    assert request.extras == {"email": "ada@example.com", "returns_extras": 1}
    assert statuses(request)["fails", 2] == "completed"
    assert Intervention.objects.get().job == "fails"


def test_a_job_that_waits_for_its_next_attempt_can_be_done_by_hand() -> None:
    request = waiting()
    complete_job(request.token, "retries", None, **BY)
    assert statuses(request) == {
        ("retries", 1): "retry",
        ("retries", 2): "cancelled",
        ("retries", 3): "completed",
        ("noop", 1): "completed",
    }
    one_round()
    request.refresh_from_db()
    assert request.status == "Completed"


@pytest.mark.parametrize("name", ["noop", "no_such_job"])
def test_a_job_that_is_done_or_not_of_the_step_cannot_be_done_by_hand(name: str) -> None:
    request, before = failed("fails", "noop"), rows()
    with pytest.raises(Refused):
        complete_job(request.token, name, None, **BY)
    assert rows() == before


def test_a_hurried_job_is_tried_by_the_next_pass() -> None:
    request = waiting()
    retry_now(request.token, **BY)
    one_round()
    request.refresh_from_db()
    assert request.status == "Completed"


def test_the_commands_say_what_they_did_and_why_they_refuse() -> None:
    request = failed("fails")
    done = called_here("retry_request", request.token, "--reason", "mended")
    assert (done.returncode, done.stdout) == (0, f"{request.token} is taken up again\n")
    refused = called_here("retry_request", request.token, "--reason", "mended")
    assert refused.returncode == 1
    assert "only a Failed request can be retried; this one is Inprogress" in refused.stderr
    assert "Traceback" not in refused.stderr
    unknown = called_here("cancel_request", "nobody", "--reason", "x")
    assert (unknown.returncode, unknown.stderr) == (1, "CommandError: there is no request with token nobody\n")
    assert called_here("cancel_request", request.token).returncode == 2
    assert called_here("complete_job", request.token, "fails", "--extras", "[1]", "--reason", "x").returncode == 2
    shown = json.loads(called_here("show_request", request.token, "--json").stdout)
    assert [(row["verb"], row["reason"]) for row in shown["interventions"]] == [("retry_request", "mended")]
    assert "retry_request" in called_here("show_request", request.token).stdout


def test_a_command_takes_many_tokens_and_says_of_each_what_became_of_it() -> None:
    bad, good = failed("fails"), in_state("Completed")
    ended = called_here("retry_request", bad.token, good.token, "nobody", "--reason", "mended")
    assert (ended.returncode, ended.stdout) == (1, f"{bad.token} is taken up again\n")
    refused, unknown = ended.stderr.splitlines()
    assert refused.startswith(f"{good.token}: retry_request: only a Failed request can be retried; this one is Comple")
    assert unknown == "there is no request with token nobody"


def test_a_command_takes_tokens_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    tokens = [in_state("Queuing").token for _ in range(2)]
    monkeypatch.setattr("sys.stdin", StringIO(f"{tokens[0]}\n\n  {tokens[1]}  \n"))
    call_command("cancel_request", "-", reason="a mistake")
    assert capsys.readouterr().out == "".join(f"{token} is cancelled\n" for token in tokens)
    assert Request.objects.filter(status="Cancelled").count() == 2


def test_a_job_of_another_step_than_was_meant_is_not_completed() -> None:
    request = placed(("noop",), ("fails",))
    for _ in range(2):
        one_round()
    with pytest.raises(Refused, match="only a job of the current step"):
        complete_job(request.token, "fails", None, step=0, **BY)
    complete_job(request.token, "fails", None, step=1, **BY)
