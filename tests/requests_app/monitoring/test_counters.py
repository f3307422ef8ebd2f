"""What is tallied is what happened: each end once, whatever is killed, unanswered or purged; and little work."""

from collections import Counter
from typing import Any

import pytest
from django.db import connection, transaction

from jobs_app.models import Job, Tally
from jobs_app.models import tally as tallies
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.models.tally import SUM, Key
from jobs_app.outcomes import Failed, Retried
from jobs_app.worker.lost_leases import end_lost_leases
from jobs_app.worker.recording import record_results
from jobs_app.worker.retry_policy import result_of
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.monitoring.counters import read_sums
from requests_app.operations.interventions import cancel_request
from requests_app.passes.new_requests import start_due
from requests_app.recipes import Job as StepJob
from requests_app.worker import run_worker
from tests.concurrency.interleaving import Actor, lost_answers
from tests.factories import held, insert_raw, make_job, make_request, pass_inprogress, pass_jobs, pass_new
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db(transaction=True)
TWO_STEPS = '[{"name": "first", "jobs": ["noop", "async_noop"]}, {"name": "second", "jobs": ["fails", "noop_2"]}]'


def told(metric: str) -> dict[tuple[str, str], int]:
    return {(key.subject, key.label): amount for key, amount in read_sums(connection).items() if key.metric == metric}


def in_tables() -> tuple[dict[Any, int], dict[Any, int]]:
    """The same as the rows say: attempts that ran, and requests that are over."""
    ended = Job.objects.filter(status__in=("completed", "retry", "failure"))
    requests = Request.objects.exclude(completed_at=None)
    return (
        dict(Counter(ended.values_list("name", "status"))),
        dict(Counter(("other", status) for status in requests.values_list("status", flat=True))),
    )


@pytest.mark.parametrize("by", ["cron", "worker"])
def test_the_tallies_are_what_the_rows_say(by: str) -> None:
    for steps in [TWO_STEPS] * 3 + ['[{"name": "only", "jobs": ["noop_1"]}]', "[]"]:
        insert_raw(steps=steps)
    if by == "worker":
        run_worker(Stop(max_seconds=1), RunRecord("run_worker"))
    else:
        for work in (pass_new, pass_jobs, pass_inprogress) * 2:
            work()
    jobs, requests = in_tables()
    assert requests == {("other", "Completed"): 1, ("other", "Failed"): 4}
    assert told("jobs_ended") == jobs
    assert told("requests_ended") == requests
    assert told("requests_started") == {("other", ""): 4}
    waits = {label: n for (name, label), n in told("job_wait").items() if name == "noop" and label != SUM}
    runs = {label: n for (name, label), n in told("job_run").items() if name == "noop" and label != SUM}
    assert sum(waits.values()) == sum(runs.values()) == jobs["noop", "completed"]
    assert set(runs) <= {"0.01", "0.05", "0.1"}


def test_an_action_with_a_recipe_is_told_by_its_name_and_any_other_text_is_not() -> None:
    cancelled = [insert_raw(action, due_at="2999-01-01 00:00:00") for action in ("delete_user", "user 4711, at once")]
    for token in Request.objects.filter(id__in=cancelled).values_list("token", flat=True):
        cancel_request(token, by="ada", reason="")
    assert told("requests_ended") == {("delete_user", "Cancelled"): 1, ("other", "Cancelled"): 1}
    assert told("interventions") == {("cancel_request", ""): 2}


def test_a_request_that_was_completed_short_is_told_once_and_no_other() -> None:
    for last, shortfall in [("continue", 0), ("continue", 2), ("", 2), ("", 0)]:
        job = StepJob("noop", last or "stop")
        request = make_request("Inprogress", [job], shortfall=shortfall, action="delete_user")
        make_job(request, job, "failure" if last else "completed")
    make_job(make_request("Inprogress", ["noop"], shortfall=1), "noop", "failure")
    pass_inprogress()
    assert told("requests_ended") == {("delete_user", "Completed"): 4, ("other", "Failed"): 1}
    assert told("requests_short") == {("delete_user", ""): 3}


def test_a_job_that_this_release_does_not_know_is_not_told_by_its_name() -> None:
    job = make_job(make_request("Inprogress", ["gone"]), "gone", "inprogress")
    record_results([result_of(held(job), Failed("no"))], RunRecord("run_jobs"))
    assert told("jobs_ended") == {("other", "failure"): 1}


def test_a_lost_lease_is_an_end_and_told_by_itself_as_well() -> None:
    make_job(make_request("Inprogress"), "noop", "inprogress", lease=-1)
    end_lost_leases(Stop(), RunRecord("run_jobs"))
    assert told("jobs_ended") == {("noop", "retry"): 1}
    assert told("job_leases_lost") == {("noop", ""): 1}


def test_how_long_an_attempt_waited_and_ran_is_observed() -> None:
    make_job(make_request("Inprogress"), "noop", due_in=-100)
    pass_jobs()
    waited, ran = told("job_wait"), told("job_run")
    assert waited["noop", "300.0"] == 1
    assert 99e6 < waited["noop", SUM] < 160e6
    assert 0 < ran["noop", SUM] < 1e6


def test_what_is_handed_back_is_no_end_and_what_comes_too_late_is_told() -> None:
    back, late = (make_job(make_request("Inprogress"), "noop", "inprogress") for _ in range(2))
    ends = [Result(held(back), JobStatus.NEW), Result(held(late, "another claim"), JobStatus.COMPLETED)]
    record_results(ends, RunRecord("run_jobs"))
    assert told("jobs_ended") == {}
    assert told("job_results_too_late") == {("noop", ""): 1}


def test_a_commit_that_is_not_answered_counts_once() -> None:
    job, stale = (make_job(make_request("Inprogress"), "noop", "inprogress") for _ in range(2))
    insert_raw(steps=TWO_STEPS)
    run = RunRecord("run_worker")
    ends = [result_of(held(job), Retried("busy")), Result(held(stale, "another claim"), JobStatus.COMPLETED)]
    with lost_answers(1) as lost:
        record_results(ends, run)
    assert lost.left == 0
    with lost_answers(1):
        start_due(run, 10)
    assert told("jobs_ended") == {("noop", "retry"): 1}
    assert told("job_results_too_late") == {("noop", ""): 1}
    assert told("requests_started") == {("other", ""): 1}


def test_a_batch_of_ends_adds_one_statement_of_few_rows() -> None:
    jobs = [make_job(make_request("Inprogress"), name, "inprogress") for name in ("noop", "noop_1") for _ in range(50)]
    run = RunRecord("run_jobs")
    with listening() as heard:
        record_results([Result(held(job), JobStatus.COMPLETED, ran_microseconds=5000) for job in jobs], run)
    [added] = [statement for statement in heard if "tallies" in statement.sql]
    assert len(added.params) / 4 <= 2 * 5
    assert heard[-1] == added


def test_adding_adds_up_and_what_is_nothing_leaves_no_row() -> None:
    for amount in (2, 3, 2**40, 0):
        with transaction.atomic():
            tallies.add({Key("made_up", "noop", "this"): amount, Key("made_up", "noop", "that"): 0})
    assert read_sums(connection) == {Key("made_up", "noop", "this"): 2**40 + 5}


@pytest.mark.integration
def test_two_that_meet_at_the_same_rows_wait_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shard for both, their keys in opposite orders, and a third that holds both up in the middle.

    Without a common order each would then hold what the other wants next.
    """
    monkeypatch.setattr(tallies, "SHARDS", 1)
    keys = [Key("made_up", f"job{number:03}") for number in range(31)]
    tallies.add(dict.fromkeys(keys, 1))

    def add(order: list[Key]) -> None:
        with transaction.atomic():
            tallies.add(dict.fromkeys(order, 1))

    one, other = Actor(lambda: add(keys)), Actor(lambda: add(keys[::-1]))
    with transaction.atomic():
        tallies.add({keys[15]: 1})
        one.__enter__()
        other.__enter__()
        assert not one.done
        assert not other.done
    one.go_on()
    other.go_on()
    assert sum(read_sums(connection).values()) == 3 * len(keys) + 1


@pytest.mark.integration
def test_connections_have_shards_of_their_own() -> None:
    def add() -> None:
        tallies.add({Key("made_up", "noop"): 1})

    with Actor(add) as one, Actor(add) as other:
        one.go_on()
        other.go_on()
    assert len(set(Tally.objects.values_list("shard", flat=True))) == 2
