"""Each end is told to whom the request names, once, as a request of its own: on the real engine, by real HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from jobs_app.db.columns import UtcNow
from jobs_app.models import Job
from jobs_app.models.attempts import JobStatus, Result
from jobs_app.models.pass_run import RunRecord
from jobs_app.outcomes import Json
from jobs_app.worker.recording import record_results
from jobs_app.worker.shutdown import Stop
from requests_app.models import Request
from requests_app.operations.interventions import cancel_request, retry_request
from requests_app.passes.inprogress_requests import progress_locked
from requests_app.worker import run_worker
from tests.conftest import called_here
from tests.factories import (
    held,
    insert_raw,
    make_job,
    make_request,
    pass_inprogress,
    pass_jobs,
    pass_new,
    statuses,
)
from tests.jobs_app.clients.server import Server, answering, http
from tests.lifecycle.statements import listening

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BY_HAND = {"by": "ann", "reason": "a test"}


@pytest.fixture(autouse=True)
def receivers(settings: Any) -> None:
    """Named, and down."""
    settings.WRK_NOTIFY = {"shop": "http://127.0.0.1:9", "ops": "http://127.0.0.1:9"}
    settings.WRK_NOTIFY_KEYS = [KEY]
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = 0


@pytest.fixture
def shop(settings: Any) -> Iterator[Server]:
    with answering(http(204)) as server:
        settings.WRK_NOTIFY |= {"shop": server.url}
        yield server


def heard_by(server: Server) -> list[Json]:
    """What it was told, each with a signature that a receiver believes."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return [
        Webhook(KEY).verify(sent.partition(b"\r\n\r\n")[2], {name: server.header(name, n) or "" for name in names})
        for n, sent in enumerate(server.requests)
    ]


def placed() -> list[tuple[str, str, str]]:
    """Of each notification: whom it tells, of which request, what status."""
    told = Request.objects.filter(action="notify").order_by("id").values_list("extras", flat=True)
    return [(one["receiver"], one["token"], one["status"]) for one in told]


def play() -> None:
    """Every pass, until nothing is left to do."""
    while pass_new() | pass_jobs() | pass_inprogress() or Job.objects.filter(status="new").exists():
        Job.objects.filter(status="new").update(due_at=UtcNow())  # a retry is not due at once


# Ends -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("columns", "job", "status"),
    [({}, "noop", "Completed"), ({}, "fails", "Failed"), ({"params": []}, "noop", "Failed")],
    ids=["completed", "failed", "refused"],
)
def test_an_end_is_told_once_to_the_receiver_that_the_request_names(
    shop: Server, columns: Json, job: str, status: str
) -> None:
    request = make_request("Queuing", [job], notify="shop", deadline_at="2999-01-31 08:30:00.5Z", **columns)
    make_request("Queuing", [job])  # which names nobody
    play()
    request.refresh_from_db()
    assert request.status == status
    assert heard_by(shop) == [
        {
            "token": request.token,
            "action": "made_up",
            "status": status,
            "ended_at": f"{request.completed_at:%Y-%m-%dT%H:%M:%S.%fZ}",
            "deadline_at": "2999-01-31T08:30:00.500000Z",
        }
    ]
    told = Request.objects.get(action="notify")
    assert (told.status, told.subject, told.deadline_at, told.notify) == ("Completed", request.token, None, "")
    assert shop.header("webhook-id") == told.token


@pytest.mark.parametrize("status", ["Queuing", "Inprogress"])
def test_a_request_that_is_cancelled_by_hand_is_told_of(status: str) -> None:
    request = make_request(status, notify="shop")
    cancel_request(request.token, **BY_HAND)
    assert placed() == [("shop", request.token, "Cancelled")]
    assert Request.objects.cancel(request.token) is False
    assert len(placed()) == 1


def test_a_worker_tells_of_what_ends_as_it_records(shop: Server) -> None:
    good, bad = (make_request("Queuing", [job], notify="shop") for job in ("noop", "fails"))
    run_worker(Stop(max_seconds=1), RunRecord("run_worker"))
    assert {told["token"]: told["status"] for told in heard_by(shop)} == {good.token: "Completed", bad.token: "Failed"}
    assert len(shop.requests) == 2


def test_nothing_of_params_extras_or_errors_is_told(shop: Server) -> None:
    make_request("Queuing", ["fails"], notify="shop", params={"id": "hunter2"}, extras={"email": "hunter2"})
    play()
    assert len(shop.requests) == 1
    assert not {"hunter2", "refused"} & {word for sent in shop.requests for word in sent.decode().split('"')}


def test_what_names_nobody_is_told_to_nobody() -> None:
    requests = [make_request("Queuing", [job]) for job in ("noop", "fails")]
    play()
    cancel_request(make_request().token, **BY_HAND)
    assert {request.token for request in requests} < set(Request.objects.values_list("token", flat=True))
    assert placed() == []


# WRK_NOTIFY_FAILED ----------------------------------------------------------------------------------------------------
def test_the_receiver_of_failures_is_told_of_every_failed_request_and_of_no_other(settings: Any) -> None:
    settings.WRK_NOTIFY_FAILED = "ops"
    plain, both, same = (make_request("Queuing", ["fails"], notify=name) for name in ("", "shop", "ops"))
    refused = make_request("Queuing", params=[])
    make_request("Queuing", ["noop"])
    cancel_request(make_request().token, **BY_HAND)
    pass_new()
    pass_jobs(limit=5)
    pass_inprogress()
    assert sorted(placed()) == sorted(
        ("shop" if also else "ops", request.token, "Failed")
        for request, also in [(plain, 0), (both, 0), (both, 1), (same, 0), (refused, 0)]
    )


def test_a_notification_that_fails_is_told_to_nobody(settings: Any) -> None:
    settings.WRK_NOTIFY_FAILED, settings.WRK_JOB_MAX_ATTEMPTS = "ops", 2
    request = make_request("Queuing", ["fails"])
    play()
    assert placed() == [("ops", request.token, "Failed")]
    told = Request.objects.get(action="notify")
    assert told.status == "Failed"
    assert told.error.startswith("notify failed: gave up after 2 attempts: notify ops POST: no answer: ")


@pytest.mark.parametrize("status", ["Queuing", "Inprogress"])
def test_a_notification_notifies_nobody_whatever_its_own_column_says(settings: Any, status: str) -> None:
    settings.WRK_NOTIFY_FAILED = "ops"
    told = make_request(status, ["fails"], action="notify", notify="shop")
    if status == "Inprogress":
        make_job(told, "fails")
    play()
    told.refresh_from_db()
    assert (told.status, Request.objects.count()) == ("Failed", 1)
    cancel_request(make_request(action="notify", notify="shop").token, **BY_HAND)
    assert Request.objects.count() == 2


# Receivers that are down, gone or unknown -----------------------------------------------------------------------------
def test_a_receiver_that_is_down_is_told_by_hand_later_under_the_same_id(settings: Any, shop: Server) -> None:
    up, settings.WRK_NOTIFY, settings.WRK_JOB_MAX_ATTEMPTS = settings.WRK_NOTIFY, {"shop": "http://127.0.0.1:9"}, 3
    request = make_request("Queuing", ["noop"], notify="shop")
    play()
    told = Request.objects.get(action="notify")
    assert statuses(told) == {("notify", 1): "retry", ("notify", 2): "retry", ("notify", 3): "failure"}
    settings.WRK_NOTIFY = up
    retry_request(told.token, **BY_HAND)
    play()
    told.refresh_from_db()
    assert (told.status, [one["token"] for one in heard_by(shop)]) == ("Completed", [request.token])
    assert shop.header("webhook-id") == told.token


def test_a_redirect_is_a_failure_and_nobody_else_is_told(settings: Any, shop: Server) -> None:
    with answering(http(307, b"", f"Location: {shop.url}")) as moved:
        settings.WRK_NOTIFY = {"shop": moved.url}
        make_request("Queuing", ["noop"], notify="shop")
        play()
    error = Request.objects.get(action="notify").error
    assert error == "notify failed: notify shop POST: answered 307; redirects are not followed"
    assert (len(moved.requests), shop.connections) == (1, 0)


def test_a_request_that_names_an_unknown_receiver_is_refused_and_its_neighbours_complete(settings: Any) -> None:
    settings.WRK_NOTIFY_FAILED = "ops"
    wrong = make_request("Queuing", notify="shpo")
    right = make_request("Queuing", notify="shop")
    assert pass_new() == {"started": 1, "refused": 1}  # and not locked=1: that is the notification of the refusal
    wrong.refresh_from_db()
    right.refresh_from_db()
    error = 'notify: unknown receiver "shpo"; known: ops, shop; WRK_NOTIFY names them'
    assert (wrong.status, wrong.error) == ("Failed", error)
    assert right.status == "Inprogress"
    assert placed() == [("ops", wrong.token, "Failed")]


def test_without_any_receiver_the_reason_says_so(settings: Any) -> None:
    settings.WRK_NOTIFY = {}
    id_ = insert_raw("delete_user", notify="shop")
    assert pass_new() == {"refused": 1}
    assert Request.objects.get(pk=id_).error == 'notify: unknown receiver "shop"; known: none; WRK_NOTIFY names them'


def test_a_receiver_that_the_settings_lost_does_not_hold_up_an_end_and_can_be_mended(
    settings: Any, shop: Server
) -> None:
    request, there = make_request("Queuing", ["noop"], notify="shop"), settings.WRK_NOTIFY
    pass_new()
    settings.WRK_NOTIFY = {}
    play()
    request.refresh_from_db()
    told = Request.objects.get(action="notify")
    assert request.status == "Completed"
    assert (told.status, told.error) == ("Failed", 'notify failed: WRK_NOTIFY has no receiver "shop"; known: none')
    settings.WRK_NOTIFY = there
    retry_request(told.token, **BY_HAND)
    play()
    assert [one["token"] for one in heard_by(shop)] == [request.token]


def test_a_caller_can_have_nothing_signed(shop: Server) -> None:
    told = {"receiver": "shop", "token": "t", "action": "a", "status": "Completed"}
    id_ = insert_raw("notify", params=told)  # extras is no column of a caller's: docs/security.md
    play()
    assert "only Tasker Worker places notifications" in Request.objects.get(pk=id_).error
    assert shop.connections == 0


# Once for each end ----------------------------------------------------------------------------------------------------
def test_a_request_that_is_retried_by_hand_is_told_of_again_when_it_ends_again(shop: Server) -> None:
    request = make_request("Queuing", ["retries"], notify="shop", params={"succeed_at": 3})
    Job.objects.all().delete()
    pass_new()
    Job.objects.update(last_attempt=1)
    play()
    retry_request(request.token, **BY_HAND)
    play()
    assert [(one["token"], one["status"]) for one in heard_by(shop)] == [
        (request.token, "Failed"),
        (request.token, "Completed"),
    ]
    assert len({shop.header("webhook-id", n) for n in range(2)}) == 2


def test_passes_that_look_at_an_ended_request_again_tell_nobody_again() -> None:
    request = make_request("Inprogress", ["noop"], notify="shop")
    done = make_job(request, "noop", "inprogress")
    result = Result(held(done), JobStatus.COMPLETED)
    for _ in range(2):  # as after a COMMIT without a reply
        record_results([result], RunRecord("run_worker"), on_recorded=progress_locked)
        pass_inprogress()
    assert placed() == [("shop", request.token, "Completed")]


# What it costs --------------------------------------------------------------------------------------------------------
def ends(number: int, status: str, notify: str = "") -> None:
    for _ in range(number):
        make_job(make_request("Inprogress", ["noop"], notify=notify), "noop", status)


@pytest.mark.parametrize("status", ["completed", "failure"])
@pytest.mark.parametrize("number", [2, 30])
def test_a_batch_that_names_nobody_takes_no_statement_more_and_any_other_takes_two(number: int, status: str) -> None:
    heard = []
    for name in ("", "shop"):
        ends(number, status, name)
        with listening() as statements:
            pass_inprogress()
        heard.append(statements)
    assert len(heard[1]) == len(heard[0]) + 2
    assert not [statement for statement in heard[0] if "INTO requests" in statement.sql]
    assert len([statement for statement in heard[1] if "INTO requests" in statement.sql]) == 1
    assert len(placed()) == number


def test_a_pick_up_that_refuses_takes_no_statement_more_where_nobody_is_named() -> None:
    heard = []
    for name in ("", "shop"):
        make_request("Queuing", params=[], notify=name)
        with listening() as statements:
            pass_new(limit=1)
        heard.append(len(statements))
    assert heard[1] == heard[0] + 2


def test_a_cancel_takes_no_statement_more_where_nobody_is_named() -> None:
    heard = []
    for name in ("", "shop"):
        request = make_request(notify=name)
        with listening() as statements:
            Request.objects.cancel(request.token)
        heard.append(len(statements))
    assert heard[1] == heard[0] + 2


# The command ----------------------------------------------------------------------------------------------------------
def test_submit_request_names_a_receiver() -> None:
    assert called_here("submit_request", "delete_user", "--token", "t", "--notify", "shop").returncode == 0
    assert Request.objects.get(token="t").notify == "shop"


def test_submit_request_refuses_a_receiver_that_is_not_there() -> None:
    refused = called_here("submit_request", "delete_user", "--notify", "shpo")
    assert (refused.returncode, Request.objects.count()) == (2, 0)
    assert '--notify: WRK_NOTIFY has no receiver "shpo"; known: ops, shop' in refused.stderr


@pytest.mark.parametrize(("name", "code"), [("shop", 0), ("", 2), ("s" * 51, 2)])
def test_submit_request_leaves_it_to_the_pick_up_where_it_knows_no_receiver(
    settings: Any, name: str, code: int
) -> None:
    settings.WRK_NOTIFY = {}
    assert called_here("submit_request", "delete_user", "--notify", name).returncode == code
    assert Request.objects.filter(notify="shop").count() == (code == 0)
