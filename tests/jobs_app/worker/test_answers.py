"""A job that waits for an answer: how it waits, what ends it, what an answer does that comes early, late or twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F

from jobs_app.db.dialect import MYSQL, database_now, dialect
from jobs_app.models import Answer, Job
from jobs_app.outcomes import Failure, JobContext, Retry, Wait
from requests_app.models import Request
from requests_app.operations.explain import explain
from requests_app.operations.verify import ReadCount, findings
from requests_app.recipes import steps
from tests.factories import (
    changes_by,
    insert_answer,
    make_job,
    make_request,
    make_waiting,
    pass_inprogress,
    pass_jobs,
    pass_new,
    seconds_from_now,
    statuses,
    update_raw,
    waiting_request,
)

pytestmark = pytest.mark.django_db(transaction=True)
Register = Callable[..., str]
DAY = 86_400.0


def waits(_: JobContext) -> None:
    raise Wait("the vendor erases in batches", within=7 * DAY, check_after=3600)


@contextmanager
def checks_off() -> Iterator[None]:
    off, on = "PRAGMA ignore_check_constraints = 1", "PRAGMA ignore_check_constraints = 0"
    if connection.vendor == "mysql":
        off, on = "SET check_constraint_checks = 0", "SET check_constraint_checks = 1"
    with connection.cursor() as cursor:
        cursor.execute(off)
        yield
        cursor.execute(on)


def effects() -> list[str]:
    return list(Answer.objects.order_by("id").values_list("effect", flat=True))


# Waiting -------------------------------------------------------------------------------------------------------------
def test_a_job_that_waits_is_new_again_and_uses_up_no_attempt(register: Register) -> None:
    register("waits_long", waits)
    request = make_request("Inprogress", ["waits_long"])
    make_job(request, "waits_long")
    assert pass_jobs() == {"claimed": 1, "waiting": 1}
    job = Job.objects.get()
    assert (job.status, job.attempt, job.checks, job.waits_for) == ("new", 1, 1, "the vendor erases in batches")
    assert (job.claimed_by, job.lease_until, job.error) == (None, None, "")
    assert seconds_from_now(job.due_at) == pytest.approx(3600, abs=5)
    assert seconds_from_now(job.answer_by) == pytest.approx(7 * DAY, abs=5)
    assert job.answer_within == 7 * DAY
    assert pass_inprogress() == {}


@pytest.mark.parametrize("message", ["", " \n"])
def test_a_wait_without_a_message_waits_for_an_answer(register: Register, message: str) -> None:
    def waits_silently(_: JobContext) -> None:
        raise Wait(message, within=60)

    register("waits_silently", waits_silently)
    make_job(make_request("Inprogress", ["waits_silently"]), "waits_silently")
    assert pass_jobs() == {"claimed": 1, "waiting": 1}
    assert Job.objects.get().awaited == "an answer"


def test_a_check_calls_it_again_and_does_not_move_the_end_of_its_time(register: Register) -> None:
    checks: list[int] = []

    def looks(context: JobContext) -> None:
        checks.append(context.checks)
        waits(context)

    register("looks", looks)
    request = make_request("Inprogress", ["looks"])
    make_job(request, "looks")
    for hour in range(3):
        assert pass_jobs()["waiting"] == 1
        ends = Job.objects.get().answer_by
        Job.objects.update(due_at=F("created_at"), answer_by=ends - timedelta(hours=hour))  # type: ignore[operator]
    assert checks == [0, 1, 2]
    assert pass_jobs()["waiting"] == 1
    assert seconds_from_now(Job.objects.get().answer_by) == pytest.approx(7 * DAY - 3 * 3600, abs=10)
    assert Job.objects.get().attempt == 1


def test_without_checks_it_is_due_when_its_time_is_over(register: Register) -> None:
    def waits_a_day(_: JobContext) -> None:
        raise Wait("a colleague", within=DAY)

    register("waits_a_day", waits_a_day)
    make_job(make_request("Inprogress", ["waits_a_day"]), "waits_a_day")
    pass_jobs()
    job = Job.objects.get()
    assert job.due_at == job.answer_by


def test_a_check_never_comes_after_the_end_of_its_time(register: Register) -> None:
    register("waits_long", waits)
    make_waiting(make_request("Inprogress", ["waits_long"]), "waits_long", within=60, check=-1)
    pass_jobs()
    job = Job.objects.get()
    assert job.due_at == job.answer_by
    assert seconds_from_now(job.due_at) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("ends", "status"), [(Failure("no"), "failure"), (Retry("later"), "retry"), (None, "completed")]
)
def test_a_check_may_end_it(register: Register, ends: Exception | None, status: str) -> None:
    def looks(_: JobContext) -> None:
        if ends:
            raise ends

    register("looks", looks)
    make_waiting(make_request("Inprogress", ["looks"]), "looks", check=-1)
    pass_jobs()
    first, *later = Job.objects.order_by("attempt")
    assert (first.status, [job.answer_by for job in later]) == (status, [None] if status == "retry" else [])


def test_a_wait_in_a_request_that_failed_meanwhile_is_cancelled(register: Register) -> None:
    def fails_its_request(_: JobContext) -> None:
        Request.objects.update(status="Cancelled", completed_at=database_now())
        raise Wait("nobody", within=DAY)

    register("late_wait", fails_its_request)
    make_job(make_request("Inprogress", ["late_wait"]), "late_wait")
    pass_jobs()
    assert Job.objects.get().status == "cancelled"


@pytest.mark.parametrize("within", [0, -1, 1e12, float("nan")])
def test_a_wait_without_an_end_is_a_bug_of_its_callback(register: Register, within: float) -> None:
    def waits_for_ever(_: JobContext) -> None:
        raise Wait("nobody", within=within)

    register("waits_for_ever", waits_for_ever)
    make_job(make_request("Inprogress", ["waits_for_ever"]), "waits_for_ever")
    assert pass_jobs() == {"claimed": 1, "retry": 1}
    assert "within" in (Job.objects.get(attempt=1).answer or "")


@pytest.mark.parametrize(
    ("check", "due_in"), [(0, 1), (-5, 1), (float("nan"), 1), (3600, 60), (1e12, 60), (1e300, 60), (float("inf"), 60)]
)
def test_a_check_is_due_after_a_second_and_within_the_wait(register: Register, check: float, due_in: float) -> None:
    def looks(_: JobContext) -> None:
        raise Wait("the vendor", within=60, check_after=check)

    register("looks", looks)
    make_job(make_request("Inprogress", ["looks"]), "looks")
    assert pass_jobs() == {"claimed": 1, "waiting": 1}
    assert seconds_from_now(Job.objects.get().due_at) == pytest.approx(due_in, abs=0.9)


class BadWait(Wait):
    """Of a callback's own kind, which does not call Wait's __init__."""

    def __init__(self, within: float, check_after: float | None = None) -> None:
        self.within, self.check_after = within, check_after


@pytest.mark.parametrize(
    ("wait", "counts"),
    [
        (BadWait(float("inf")), {"retry": 1}),
        (BadWait(-1.0), {"retry": 1}),
        (BadWait(60.0, float("inf")), {"waiting": 1}),
        (BadWait(60.0, "an hour"), {"waiting": 1}),  # type: ignore[arg-type]
    ],
    ids=["without an end", "before now", "a check that never comes", "no number"],
)
def test_a_wait_of_another_kind_ends_no_worker(register: Register, wait: Wait, counts: dict[str, int]) -> None:
    def waits_badly(_: JobContext) -> None:
        raise wait

    register("waits_badly", waits_badly)
    make_job(make_request("Inprogress", ["waits_badly"]), "waits_badly")
    assert pass_jobs() == {"claimed": 1, **counts}


# Its time is over ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("waited", "says"),
    [
        (timedelta(days=7, minutes=15), "7 days"),
        (timedelta(hours=30), "30 hours"),
        (timedelta(minutes=10), "10 minutes"),
        (timedelta(days=2.5), "60 hours"),
        (timedelta(days=1), "1 day"),
        (timedelta(seconds=90), "90 seconds"),
        (timedelta(seconds=30), "30 seconds"),
        (timedelta(seconds=1), "1 second"),
    ],
    ids=str,
)
def test_without_an_answer_in_time_the_attempt_ends_uncalled_and_counts(
    register: Register, waited: timedelta, says: str
) -> None:
    register("never", lambda _: pytest.fail("called"))
    request = make_request("Inprogress", ["never"])
    make_waiting(request, "never", within=-1, answer_within=waited.total_seconds())
    assert pass_jobs() == {"claimed": 1, "retry": 1}
    first, second = Job.objects.order_by("attempt")
    said = f"no answer within {says} from its first call: the vendor's answer"
    assert (first.status, first.error) == ("retry", said)
    assert (second.status, second.answer_by, second.checks) == ("new", None, 0)


def test_the_last_attempt_without_an_answer_gives_up(register: Register) -> None:
    request = make_request("Inprogress", ["noop"])
    make_waiting(request, within=-1, attempt=10)
    assert pass_jobs() == {"claimed": 1, "failure": 1}
    assert Job.objects.get().error.startswith("gave up after 10 attempts: no answer within")
    assert pass_inprogress() == {"requests_failed": 1}


def test_an_answer_that_is_there_counts_though_the_time_is_over(register: Register) -> None:
    request = waiting_request(within=-1)
    insert_answer(request)
    assert pass_jobs() == {"claimed": 1, "handed_back": 1}
    assert seconds_from_now(Job.objects.get().due_at) > 1  # not again and again in one pass
    assert pass_inprogress() == {"completed": 1, "answers_taken": 1, "advanced": 1}
    assert statuses(request) == {("noop", 1): "completed", ("noop_1", 1): "new"}


def test_an_answer_to_an_older_attempt_does_not_count_then(register: Register) -> None:
    request = make_request("Inprogress", ["noop"])
    make_waiting(request, within=-1, attempt=2)
    insert_answer(request, outcome="failure", attempt=1)
    assert pass_jobs() == {"claimed": 1, "retry": 1}


# Answers -------------------------------------------------------------------------------------------------------------
def test_an_answer_completes_its_job_and_moves_its_request_on() -> None:
    called_at = database_now() - timedelta(days=5)
    request = waiting_request(started_at=called_at, created_at=called_at)
    insert_answer(request, extras={"erased": 3}, reason="done on Friday")
    assert pass_inprogress() == {"completed": 1, "answers_taken": 1, "advanced": 1}
    job = Job.objects.get(name="noop")
    assert (job.status, job.extras, job.attempt, job.started_at) == ("completed", {"erased": 3}, 1, called_at)
    request.refresh_from_db()
    assert (request.step, request.extras) == (1, {"erased": 3})
    answer = Answer.objects.get()
    assert (answer.effect, answer.taken_at is not None) == ("taken", True)


def test_one_that_was_handed_back_before_a_check_has_begun_when_it_is_answered() -> None:
    request = waiting_request(started_at=None)
    insert_answer(request, outcome="retry")
    assert pass_inprogress()["retry"] == 1
    assert list(findings(ReadCount())) == []


def test_a_failure_fails_its_request_and_its_reason_is_kept_apart() -> None:
    request = waiting_request("noop", "noop_2")
    insert_answer(request, outcome="failure", reason="a@b.example is no customer")
    assert pass_inprogress() == {"failure": 1, "answers_taken": 1, "requests_failed": 1}
    assert statuses(request) == {("noop", 1): "failure", ("noop_2", 1): "cancelled"}
    job = Job.objects.get(name="noop")
    assert (job.error, job.answer) == ("the answer that it waited for: failure", "a@b.example is no customer")


def test_a_retry_has_its_job_called_again() -> None:
    request = waiting_request()
    insert_answer(request, outcome="retry")
    assert pass_inprogress() == {"retry": 1, "answers_taken": 1}
    assert statuses(request) == {("noop", 1): "retry", ("noop", 2): "new"}
    assert Job.objects.get(attempt=2).answer_by is None


def test_a_retry_of_the_last_attempt_gives_up() -> None:
    request = waiting_request(attempt=10)
    insert_answer(request, outcome="retry")
    assert pass_inprogress() == {"failure": 1, "answers_taken": 1, "requests_failed": 1}


@pytest.mark.parametrize("extras", ["[1]", '"text"', '{"a": 1, "a": 2}', '{"a": ' * 31 + "1" + "}" * 31])
def test_extras_that_cannot_be_kept_fail_the_job_and_hold_up_no_other(extras: str) -> None:
    bad, good = waiting_request(), waiting_request()
    insert_answer(bad, extras=extras)
    insert_answer(good)
    assert pass_inprogress()["answers_taken"] == 2
    assert Job.objects.get(request=good, name="noop").status == "completed"
    failed = Job.objects.get(request=bad, name="noop")
    if '"a": 2' in extras and not getattr(connection, "mysql_is_mariadb", True):  # MySQL keeps one of the two keys
        assert (failed.status, failed.extras) == ("completed", {"a": 2})
    else:
        assert (failed.status, "answer with a JSON object of" in failed.error) == ("failure", True)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("outcome", "status"), [("failure ", "failure"), ("retry  ", "retry"), ("completed", "completed")]
)
def test_spaces_at_the_end_of_an_outcome_which_the_servers_ignore_change_nothing(outcome: str, status: str) -> None:
    request = waiting_request()
    insert_answer(request, outcome=outcome)
    assert pass_inprogress()["answers_taken"] == 1
    assert Job.objects.get(name="noop", attempt=1).status == status


@pytest.mark.parametrize("place", [{"token": "spaced "}, {"job": "noop "}])
def test_a_token_or_a_job_with_a_space_more_is_another_one(place: dict[str, str]) -> None:
    """The servers ignore it, and both are compared byte for byte."""
    request = make_request("Inprogress", ["noop"], token="spaced")
    make_waiting(request)
    insert_answer(place.get("token", "spaced"), place.get("job", "noop"))
    assert "noop" in explain(request)
    assert pass_inprogress() == {"answers_late": 1}


@pytest.mark.parametrize("column", ["outcome", "extras"])
def test_one_that_was_written_without_the_checks_holds_up_no_other(column: str) -> None:
    """Any session may switch them off, on MariaDB and SQLite; then MariaDB refuses each UPDATE of the row."""
    if dialect("default") is MYSQL:
        return  # which has no such switch
    bad, good = waiting_request(), waiting_request()
    with checks_off():
        insert_answer(bad, **{column: "no such"})
    insert_answer(good)
    pass_inprogress()
    assert "" not in effects()
    assert Job.objects.get(request=good, name="noop").status == "completed"
    assert Job.objects.get(request=bad, name="noop").status != "completed"


@pytest.mark.sqlite
@pytest.mark.parametrize("reason", ["X'41FF'", "CAST(X'41FF' AS TEXT)"])
def test_a_reason_that_is_no_text_holds_up_no_other(reason: str) -> None:
    bad, good = waiting_request(), waiting_request()
    insert_answer(bad, outcome="failure")
    insert_answer(good)
    with checks_off(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE answers SET reason = {reason} WHERE token = %s", [bad.token])
        assert pass_inprogress()["answers_taken"] == 2
    assert Job.objects.get(request=bad, name="noop").answer == "A\ufffd"


@pytest.mark.sqlite
@pytest.mark.parametrize("columns", [{"token": b"\xff"}, {"job": b"noop"}, {"job": b"noop_1\xff", "step": 1}], ids=str)
def test_a_token_or_a_job_that_is_no_text_holds_up_no_other(columns: dict[str, Any]) -> None:
    request = waiting_request()
    insert_answer(str(columns.get("token", request.token)))
    with checks_off():
        update_raw("answers", Answer.objects.get().id, **{"token": request.token} | columns)
        insert_answer(request)
        assert pass_inprogress()["answers_taken"] == 1
    assert effects() == ["late", "taken"]


@pytest.mark.parametrize("column", ["step", "attempt"])
@pytest.mark.parametrize("value", ["abc", b"\xff"])
def test_a_number_that_is_none_is_refused_as_it_is_placed(column: str, value: Any) -> None:
    with pytest.raises(DatabaseError):
        insert_answer("tok", **{column: value})
    assert effects() == []


def test_of_megabytes_no_more_is_read_than_may_be_kept() -> None:
    request, other = waiting_request(), waiting_request()
    ids = [insert_answer(request, extras={"x": "x" * 3_000_000}), insert_answer(other, reason="x" * 3_000_000)]
    assert max(len(f"{answer.extras}{answer.reason}") for answer in Answer.objects.rows(ids)) < 300_000
    pass_inprogress()
    assert "more than 262144 characters; answer with" in Job.objects.get(request=request, name="noop").error
    assert Job.objects.get(request=other, name="noop").status == "completed"


def test_an_early_answer_waits_until_its_job_waits(register: Register) -> None:
    register("waits_long", waits)
    request = make_request("Queuing", ["noop"], ["waits_long"])
    insert_answer(request.token, "waits_long", step=1)
    assert pass_inprogress() == {}  # its request is not picked up
    pass_new()
    assert pass_inprogress() == {}  # its step has not come
    pass_jobs()
    assert pass_inprogress() == {"advanced": 1}
    assert pass_inprogress() == {}  # its job has not run
    assert effects() == [""]
    pass_jobs()
    assert pass_inprogress() == {"completed": 1, "answers_taken": 1, "requests_completed": 1}


def test_an_answer_beside_a_check_that_runs_waits_for_its_end(register: Register) -> None:
    request = make_request("Inprogress", ["noop"], ["noop_1"])
    make_waiting(request, status="inprogress")
    insert_answer(request)
    assert changes_by(pass_inprogress) == {}
    assert effects() == [""]


@pytest.mark.parametrize(
    "late",
    [
        "Completed",
        "Failed",
        "Cancelled",
        "purged",
        "its step is over",
        "its job has ended",
        "older attempt",
        "no job",
    ],
)
def test_a_late_answer_changes_nothing_and_says_so(late: str) -> None:
    final = late in {"Completed", "Failed", "Cancelled"}
    request = make_request(late if final else "Inprogress", ["noop"], ["noop_1"], step=int(late == "its step is over"))
    make_job(request, "noop", "completed" if final or late.startswith("its") else "new", step=0, attempt=2)
    if late == "its step is over":
        make_job(request, "noop_1")
    names: dict[str, Any] = {"older attempt": {"attempt": 1, "outcome": "failure"}, "no job": {"job": "other"}}
    insert_answer(request.token if late != "purged" else "gone", **names.get(late, {}))
    changes = changes_by(lambda: pass_inprogress(limit=0) or pass_inprogress(limit=1))
    assert effects() == ["late"]
    assert not [key for key in changes if key[0] == "jobs" and "status" in changes[key] and late != "its job has ended"]


@pytest.mark.parametrize(
    ("place", "effect"),
    [
        ({"step": 1, "job": "noop_1"}, ""),
        ({"step": 1, "job": 'an "odd" é'}, ""),
        ({"step": 1, "job": "noop_2"}, ""),  # of an object
        ({"step": 1, "job": "noop"}, "late"),  # a job of this step
        ({"step": 1, "job": "NOOP_1"}, "late"),
        ({"step": 1, "job": "noop_3"}, "late"),  # of the last step
        ({"step": 2, "job": "noop_3"}, ""),
        ({"step": 3, "job": "noop_3"}, "late"),  # there is no such step
        ({"step": 2_000_000_000, "job": "noop"}, "late"),
    ],
    ids=str,
)
def test_an_answer_to_a_later_step_is_late_at_once_if_that_has_no_such_job(place: dict[str, Any], effect: str) -> None:
    later = ["noop_1", 'an "odd" é', steps.Job("noop_2", if_fails="continue")]
    request = make_request("Inprogress", ["noop"], later, ["noop_3"])
    make_job(request, "noop", due_in=60)
    insert_answer(request, **place)
    assert pass_inprogress() == ({"answers_late": 1} if effect else {})
    assert effects() == [effect]


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '[1, {"jobs": 7}]', '[1, {"jobs": [{}]}]'])
def test_steps_of_no_shape_hold_up_no_other_answer(text: str) -> None:
    odd, good = make_request("Inprogress"), waiting_request()
    make_job(odd, due_in=60)
    update_raw("requests", odd.pk, steps=text)
    insert_answer(odd, step=1)
    insert_answer(good)
    assert pass_inprogress()["answers_taken"] == 1


def test_steps_that_are_no_json_hold_up_no_other_answer() -> None:
    """Any session may switch the CHECKs off, on MariaDB and SQLite."""
    if dialect("default") is MYSQL:
        return  # which has no such switch
    odd, good = make_request("Inprogress"), waiting_request()
    make_job(odd, due_in=60)
    with checks_off():
        update_raw("requests", odd.pk, steps="no JSON")
    insert_answer(odd, step=1)
    insert_answer(good)
    assert pass_inprogress()["answers_taken"] == 1
    assert effects() == ["", "taken"]


def test_the_first_of_two_counts_and_the_other_is_late() -> None:
    request = waiting_request()
    insert_answer(request, extras={"first": True})
    insert_answer(request, outcome="failure")
    assert pass_inprogress() == {"completed": 1, "answers_taken": 1, "answers_late": 1, "advanced": 1}
    assert effects() == ["taken", "late"]


def test_completed_for_an_older_attempt_ends_the_one_that_waits() -> None:
    """The key is the same for all attempts: what was asked for is done."""
    request = waiting_request(attempt=3)
    insert_answer(request, attempt=1)
    assert pass_inprogress()["completed"] == 1


def test_early_answers_do_not_block_the_head_of_the_queue() -> None:
    early = make_request("Inprogress", ["noop"], ["noop_1"])
    make_job(early, "noop", due_in=60)
    for _ in range(5):
        insert_answer(early)
    request = waiting_request()
    insert_answer(request)
    assert pass_inprogress(limit=1)["answers_taken"] == 1
    assert effects() == [""] * 5 + ["taken"]


def test_many_answers_are_taken_in_batches() -> None:
    requests = [waiting_request() for _ in range(30)]
    for request in requests:
        insert_answer(request)
    assert pass_inprogress()["answers_taken"] == 30
    assert set(effects()) == {"taken"}


def test_the_pass_asks_once_when_there_is_no_answer(django_assert_num_queries: Any) -> None:
    with transaction.atomic(), django_assert_num_queries(1):
        assert Answer.objects.to_decide(10) == []


def test_an_answer_counts_though_its_request_cannot_be_moved_on_by_it() -> None:
    """Rows of the next step are there already: the pass that moves it on looks again, as beside any other end."""
    odd, good = waiting_request(), waiting_request()
    make_job(odd, "noop_1", step=1)
    for request in (odd, good):
        insert_answer(request)
    assert pass_inprogress() == {"completed": 2, "answers_taken": 2, "advanced": 2}
    assert statuses(odd) == statuses(good) == {("noop", 1): "completed", ("noop_1", 1): "new"}
    assert effects() == ["taken", "taken"]


def test_an_answer_that_cannot_be_merged_into_its_requests_extras_fails_its_job() -> None:
    odd, good = waiting_request(), waiting_request()
    Request.objects.filter(pk=odd.pk).update(extras=[1])
    for request in (odd, good):
        insert_answer(request, extras={"found": 1})
    assert pass_inprogress() == {"completed": 1, "failure": 1, "answers_taken": 2, "advanced": 1, "requests_failed": 1}
    assert Job.objects.get(request=odd).error.startswith("the end of this attempt cannot be stored")
    assert effects() == ["taken", "taken"]
