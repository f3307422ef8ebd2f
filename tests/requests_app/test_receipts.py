"""Each end of a request that wants one leaves one receipt, in one chain; and whatever is done to the chain is found."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from jobs_app.db.columns import UtcNow
from jobs_app.models import Job
from jobs_app.models.pass_run import RunRecord
from jobs_app.worker.shutdown import Stop
from requests_app import recipes
from requests_app.models import Intervention, Receipt, ReceiptHead, Request
from requests_app.models.receipt import GENESIS, ReceiptRow
from requests_app.models.receipt_moves import ReceiptState
from requests_app.operations import verify_receipts
from requests_app.operations.interventions import cancel_request, complete_job, retry_request
from requests_app.operations.retention import Retention
from requests_app.operations.verify import ReadCount, findings
from requests_app.operations.verify_receipts import as_line, faults_of_export, faults_of_table
from requests_app.passes import receipts
from requests_app.passes.inprogress_requests import progress_page
from requests_app.passes.receipts import write_receipts
from requests_app.recipes import Recipe, Step
from requests_app.worker import run_worker
from tests.concurrency.interleaving import Actor, lost_answers
from tests.factories import insert_raw, make_job, make_request, pass_inprogress, pass_jobs, pass_new
from tests.lifecycle.statements import counting_commits, listening

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "ann@example.org"


@pytest.fixture(autouse=True)
def _proven() -> Iterator[None]:
    """Two actions that differ in nothing but the receipt."""
    for action in ("proven", "plain"):
        recipes.register(Recipe(action, (Step("only", ("noop",)),), receipt=action == "proven"))
    yield
    for action in ("proven", "plain"):
        recipes.unregister(action)


def ended(number: int = 1, status: str = "Completed", **columns: Any) -> list[Request]:
    """So many requests, named `r1` and so on, that have ended and whose receipts are due."""
    there = Request.objects.count()
    made = []
    for n in range(there + 1, there + number + 1):
        begun: dict[str, Any] = dict.fromkeys(("created_at", "due_at", "started_at"), "2026-01-01 00:00Z")
        request = make_request(status, action="proven", token=f"r{n}", receipt=ReceiptState.DUE, **begun, **columns)
        make_job(request, "noop", "failure" if status == "Failed" else "completed")
        Job.objects.filter(request=request).update(created_at="2026-01-01 00:00Z", due_at="2026-01-01 00:00Z")
        Request.objects.filter(pk=request.pk).update(completed_at=UtcNow())
        made.append(request)
    return made


def write() -> int:
    run = RunRecord("run_inprogress_requests")
    write_receipts(Stop(), run)
    return run.totals().get("receipts", 0)


def chain() -> list[ReceiptRow]:
    return Receipt.objects.page(0, 10_000)


def faults(first: int = 1) -> list[str]:
    return [str(fault) for fault in faults_of_table(first=first)]


def change(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


# Which ends leave one -------------------------------------------------------------------------------------------------
def test_a_request_that_ends_leaves_a_receipt_of_its_jobs() -> None:
    insert_raw("proven", token="order-7", params={"email": SECRET}, subject="4711")
    pass_new()
    pass_jobs()
    assert pass_inprogress() == {"requests_completed": 1, "receipts": 1}
    (row,) = chain()
    assert (row.id, row.token, row.action, row.subject, row.status) == (1, "order-7", "proven", "4711", "Completed")
    assert (row.previous_digest, row.is_as_written()) == (GENESIS, True)
    ((step,), request) = row.body["steps"], Request.objects.get()
    assert (step["name"], [job["name"] for job in step["jobs"]]) == ("only", ["noop"])
    (attempt,) = step["jobs"][0]["attempts"]
    assert (attempt["attempt"], attempt["status"]) == (1, "completed")
    assert request.completed_at is not None
    assert row.ended_at == f"{request.completed_at:%Y-%m-%dT%H:%M:%S.%f}Z"
    assert row.body["created_at"] <= attempt["started_at"] <= attempt["ended_at"] <= row.ended_at <= row.created_at
    assert (request.receipt, pass_inprogress(), faults()) == (ReceiptState.WRITTEN, {}, [])


def test_a_worker_writes_them_too() -> None:
    for _ in range(3):
        insert_raw("proven")
    run = RunRecord("run_worker")
    run_worker(Stop(max_seconds=1.5), run)
    assert (run.totals()["requests_completed"], len(chain()), faults()) == (3, 3, [])


def test_an_action_without_a_receipt_leaves_none() -> None:
    insert_raw("plain")
    pass_new()
    pass_jobs()
    assert pass_inprogress() == {"requests_completed": 1}
    assert (Request.objects.get().receipt, chain()) == (ReceiptState.NONE, [])


@pytest.mark.parametrize("status", ["Completed", "Failed", "Cancelled"])
def test_whichever_its_end_is(status: str) -> None:
    insert_raw("proven", token="r1")
    pass_new()
    if status == "Cancelled":
        cancel_request("r1", by="ann", reason=SECRET)
    else:
        Job.objects.update(status="failure" if status == "Failed" else "completed", completed_at="2026-01-01 00:00Z")
    pass_inprogress()
    assert [row.status for row in chain()] == [status]
    by_hand = [(one["verb"], one["by"]) for one in chain()[0].body["by_hand"]]
    assert by_hand == ([("cancel_request", "ann")] if status == "Cancelled" else [])


def test_a_retry_by_hand_leads_to_another_one_with_the_whole_history() -> None:
    ended(status="Failed")
    assert write() == 1
    retry_request("r1", by="ann", reason="it is back")
    assert Request.objects.get().receipt == ReceiptState.WANTED
    complete_job("r1", "noop", {"email": SECRET}, by="bob", reason=f"{SECRET} is gone")
    assert pass_inprogress() == {"requests_completed": 1, "receipts": 1}
    first, second = chain()
    assert [row.status for row in (first, second)] == ["Failed", "Completed"]
    (job,) = second.body["steps"][0]["jobs"]
    ends = [(one["status"], one["started_at"] is not None) for one in job["attempts"]]
    assert ends == [("failure", True), ("cancelled", False), ("completed", True)]
    assert [one["by_hand"] for one in job["attempts"]] == [False, False, True]
    by_hand = [(one["verb"], one["job"], one["by"]) for one in second.body["by_hand"]]
    assert by_hand == [("retry_request", "", "ann"), ("complete_job", "noop", "bob")]
    assert faults() == []


def test_one_taken_up_before_its_receipt_was_written_gets_that_of_its_next_end() -> None:
    ended(status="Failed")
    retry_request("r1", by="ann", reason="it is back")
    assert (write(), Request.objects.get().receipt) == (0, ReceiptState.WANTED)


def test_a_cancelled_request_s_running_job_is_waited_for() -> None:
    request = make_request("Cancelled", action="proven", token="r1", receipt=ReceiptState.DUE)
    job = make_job(request, "noop", "inprogress")
    ended()
    assert (write(), [row.token for row in chain()]) == (1, ["r2"])
    Job.objects.filter(pk=job.pk).update(
        status="completed", claimed_by=None, lease_until=None, completed_at="2026-01-01 00:00Z"
    )
    assert write() == 1


def test_nothing_that_anybody_wrote_is_in_it() -> None:
    request = make_request(
        "Failed",
        action="proven",
        token="r1",
        receipt=ReceiptState.DUE,
        steps=[{"name": SECRET, "jobs": ["noop"]}],
        params={"email": SECRET},
        extras={"email": SECRET},
        error=SECRET,
    )
    make_job(request, "noop", "failure", error=SECRET, answer=SECRET, extras={"email": SECRET}, waits_for=SECRET)
    Intervention.objects.create(request=request, verb="retry_now", by="ann", reason=SECRET)
    assert write() == 1
    assert SECRET not in as_line(chain()[0])
    assert chain()[0].body["steps"][0]["name"] == ""  # of no recipe: a caller made it up


@pytest.mark.parametrize("spoilt", ["no JSON", "[]", '{"a": 1}'])
def test_steps_that_cannot_be_read_are_no_obstacle(spoilt: str) -> None:
    (request,) = ended()
    if spoilt != "no JSON":
        Request.objects.filter(pk=request.pk).update(steps=json.loads(spoilt))
    assert write() == 1
    assert [job["name"] for job in chain()[0].body["steps"][0]["jobs"]] == ["noop"]


def test_what_the_database_refuses_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ended(3)
    body = receipts._body

    def spoilt(request: Any, *rest: Any) -> Any:
        return {"never": object()} if request.token == "r2" else body(request, *rest)

    monkeypatch.setattr(receipts, "_body", spoilt)
    assert write() == 2
    assert ([row.token for row in chain()], faults()) == (["r1", "r3"], [])
    monkeypatch.undo()
    assert write() == 1


# Retention ------------------------------------------------------------------------------------------------------------
def test_a_purge_leaves_receipts_and_waits_for_those_that_are_due() -> None:
    ended(2)
    Request.objects.update(
        created_at="2020-01-01 00:00Z",
        due_at="2020-01-01 00:00Z",
        started_at="2020-01-01 00:00Z",
        completed_at="2020-01-01 00:00Z",
    )
    Request.objects.filter(token="r2").update(receipt=ReceiptState.WRITTEN)
    Retention().scrub(1)
    Retention().purge(1)
    assert [(one.token, one.scrubbed_at) for one in Request.objects.all()] == [("r1", None)]
    assert write() == 1
    Retention().purge(1)
    assert (Request.objects.count(), [row.token for row in chain()], faults()) == (0, ["r1"], [])


# What it costs --------------------------------------------------------------------------------------------------------
def test_it_costs_no_move_a_statement_and_a_request_without_receipt_nothing() -> None:
    taken: dict[str, list[int]] = {"plain": [], "proven": []}
    for action, counts in taken.items():
        for _ in range(10):
            insert_raw(action)
        with listening() as heard:
            pass_new()
        counts.append(len(heard))
        Job.objects.filter(status="new").update(status="completed", completed_at=UtcNow())
        with listening() as heard:
            progress_page(RunRecord("run_inprogress_requests"))
        counts.append(len(heard))
    assert taken["plain"] == taken["proven"]
    assert Request.objects.filter(status="Completed", receipt=ReceiptState.DUE).count() == 10
    assert write() == 10
    with listening() as heard:
        write()
    assert len([one for one in heard if "passes" not in one.sql]) == 1  # whether any is due


@pytest.mark.parametrize("number", [10, 400])
def test_a_page_is_one_commit_of_nine_statements(number: int) -> None:
    ended()
    assert write() == 1  # which made the row of the head
    ended(number)
    run = RunRecord("run_inprogress_requests")
    with listening() as heard, counting_commits() as commits:
        assert receipts.write_page(run, 0) is None
    assert ReceiptHead.objects.get().last_id == number + 1
    assert (len(heard), len(commits)) == (9, 1), [one.sql[:40] for one in heard]


def test_pages_follow_each_other_and_no_transaction_is_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "BATCH", 4)
    ended(10)
    assert write() == 10
    assert (faults(), [row.token for row in chain()]) == ([], [f"r{n}" for n in range(1, 11)])


def test_requests_of_very_many_attempts_are_taken_fewer_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "_MOST_ATTEMPTS", 4)
    for request in ended(3):
        for attempt in range(2, 7):
            make_job(request, "noop", "completed", attempt=attempt, last_attempt=9)
    with counting_commits() as commits:
        assert write() == 3
    assert len(commits) >= 3
    assert {len(row.body["steps"][0]["jobs"][0]["attempts"]) for row in chain()} == {6}


# Two at once, and lost answers ----------------------------------------------------------------------------------------
@pytest.mark.integration
def test_two_writers_at_once_make_one_chain() -> None:
    ended(4)
    with Actor(write, stop_before="INSERT INTO receipts") as first:
        assert first.stands
        assert write() == 0  # the other one holds the head
        assert first.go_on() == 4
    ended(1)
    assert (write(), faults(), len(chain())) == (1, [], 5)


@pytest.mark.integration
def test_two_that_make_the_first_receipt_at_once_make_one_chain() -> None:
    ended(2)
    with Actor(write, stop_before="INSERT IGNORE INTO `receipt_head`") as first:
        assert first.stands
        assert write() == 2
        assert first.go_on() == 0
    assert (faults(), len(chain())) == ([], 2)


@pytest.mark.integration
def test_a_commit_whose_answer_is_lost_writes_each_once() -> None:
    ended(3)
    run = RunRecord("run_inprogress_requests")
    with lost_answers(1) as lost:
        write_receipts(Stop(), run)
    assert lost.left == 0
    assert ([row.token for row in chain()], faults()) == (["r1", "r2", "r3"], [])


@pytest.mark.integration
def test_one_whose_row_is_held_is_left_to_the_next_pass() -> None:
    requests = ended(2)
    with Actor(lambda: _hold(requests[0].pk), stop_before="SELECT 'held'") as holder:
        assert (write(), [row.token for row in chain()]) == (1, ["r2"])
        holder.go_on()
    assert (write(), faults()) == (1, [])


def _hold(id_: int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM requests WHERE id = %s FOR UPDATE", [id_])
        cursor.execute("SELECT 'held'")


# The chain ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def seven() -> list[ReceiptRow]:
    ended(7)
    assert (write(), faults()) == (7, [])
    return chain()


CHANGED = "it was changed: its digest is not that of what stands in it"


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("UPDATE receipts SET status = 'Failed' WHERE id = 3", [f"receipt 3 (request r3): {CHANGED}"]),
        ("UPDATE receipts SET token = 'r9' WHERE id = 1", [f"receipt 1 (request r9): {CHANGED}"]),
        ("UPDATE receipts SET ended_at = '2026-01-01 00:00:00' WHERE id = 7", [f"receipt 7 (request r7): {CHANGED}"]),
        ("UPDATE receipts SET created_at = '2026-01-01 00:00:00' WHERE id = 2", [f"receipt 2 (request r2): {CHANGED}"]),
        ("""UPDATE receipts SET body = '{"steps": []}' WHERE id = 3""", [f"receipt 3 (request r3): {CHANGED}"]),
        ("DELETE FROM receipts WHERE id = 1", ["receipts: receipt 1 was removed"]),
        ("DELETE FROM receipts WHERE id IN (3, 4)", ["receipts: receipts 3 to 4 were removed"]),
        ("DELETE FROM receipts WHERE id > 5", ["receipts: receipts 6 to 7 were removed from the end of the chain"]),
        ("DELETE FROM receipts", ["receipts: receipts 1 to 7 were removed from the end of the chain"]),
        ("DELETE FROM receipt_head", ["receipts: the row of receipt_head was removed"]),
    ],
)  # fmt: skip
def test_what_was_done_to_the_chain_is_found(seven: list[ReceiptRow], sql: str, found: list[str]) -> None:
    change(sql)
    assert faults() == found


def put(row: ReceiptRow, **columns: Any) -> ReceiptRow:
    """As somebody who knows how digests are made, and may write the table."""
    changed = row._replace(**columns)
    changed = changed._replace(digest=changed.computed_digest())
    Receipt.objects.filter(id=changed.id).delete()
    ended_at, created_at = (text.replace("T", " ").rstrip("Z") for text in (changed.ended_at, changed.created_at))
    Receipt.objects.append([(changed, ended_at, created_at)])
    return changed


def test_a_row_written_anew_with_its_digest_is_found_by_the_one_that_follows(seven: list[ReceiptRow]) -> None:
    put(seven[3], status="Failed")
    assert faults() == [
        "receipt 5 (request r5): it does not follow receipt 4: that one was written anew, or this one was"
    ]
    put(seven[3], previous_digest="f" * 64)
    assert [fault.partition(" (")[0] for fault in faults()] == ["receipt 4", "receipt 5"]


def test_a_last_row_written_anew_is_found_by_the_head(seven: list[ReceiptRow]) -> None:
    put(seven[6], status="Failed")
    assert faults() == ["receipt 7 (request r7): it is the last one, and receipt_head has another digest"]


def test_rows_that_changed_places_are_found(seven: list[ReceiptRow]) -> None:
    put(seven[2], id=4, previous_digest=seven[2].digest)
    put(seven[3], id=3, previous_digest=seven[1].digest)
    assert [fault.partition(" (")[0] for fault in faults()] == ["receipt 4", "receipt 5"]


def test_an_inserted_row_is_found_and_does_not_stop_the_next(seven: list[ReceiptRow]) -> None:
    put(seven[6], id=8, token="made up", previous_digest=seven[6].digest)
    assert faults() == ["receipts: receipt 8 was inserted behind the end of the chain, which is 7"]
    ended()
    assert write() == 1
    assert (chain()[-1].id, faults()) == (
        9,
        ["receipt 8 (request made up): it was inserted: receipt 9 does not follow it"],
    )


def test_after_the_end_was_cut_off_the_next_one_shows_it_for_ever(seven: list[ReceiptRow]) -> None:
    change("DELETE FROM receipts WHERE id > 5")
    ended()
    assert (write(), chain()[-1].id, faults()) == (1, 8, ["receipts: receipts 6 to 7 were removed"])


@pytest.mark.parametrize("window", [1, 2, 7, 200])
def test_it_is_read_in_windows_and_in_parts(
    seven: list[ReceiptRow], window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_receipts, "_WINDOW", window)
    counted: list[int] = []
    assert list(faults_of_table(counted.append)) == []
    assert (sum(counted), max(counted) <= window) == (7, True)
    change("UPDATE receipts SET status = 'Failed' WHERE id = 3")
    assert len(faults(3)) == 1
    assert faults(4) == faults(8) == faults(100) == []
    put(seven[3], status="Failed")
    assert [fault.partition(" (")[0] for fault in faults(5)] == ["receipt 5"]


def test_verify_says_when_an_end_left_no_receipt_due() -> None:
    make_job(make_request("Completed", action="proven", token="r1", receipt=ReceiptState.WANTED), "noop", "completed")
    said = [str(finding.what) for finding in findings(ReadCount())]
    assert "it is Completed and no receipt of it is due: a release without receipts ended it" in said


# Exports --------------------------------------------------------------------------------------------------------------
Alter = Callable[[list[str]], list[str]]


@pytest.mark.parametrize(
    ("alter", "found"),
    [
        (lambda lines: lines, []),
        (lambda lines: lines[2:5], []),
        (lambda lines: [*lines[:2], *lines[3:]], ["receipts: receipt 3 was removed"]),
        (
            lambda lines: [lines[0], lines[2], lines[1], lines[3]],
            ["receipts: receipt 2 was removed", "receipt 2 (request r2): it stands behind receipt 3: moved or doubled"],
        ),
        (
            lambda lines: [line.replace('"Completed"', '"Failed"') if '"r4"' in line else line for line in lines],
            [f"receipt 4 (request r4): {CHANGED}"],
        ),
    ],
)
def test_an_export_is_checked_by_itself(seven: list[ReceiptRow], alter: Alter, found: list[str]) -> None:
    assert list(map(str, faults_of_export(alter([as_line(row) for row in seven])))) == found


def test_what_a_restored_backup_lacks_is_found_by_the_export(seven: list[ReceiptRow]) -> None:
    lines = [as_line(row) for row in seven]
    change("DELETE FROM receipts WHERE id > 5")
    ReceiptHead.objects.update(last_id=5, digest=seven[4].digest)
    assert faults() == []  # the table by itself is sound
    ended()
    write()
    assert list(map(str, faults_of_export(lines))) == [
        "receipt 6 (request r6): the table has another one in its place",
        "receipt 7 (request r7): the table does not have it: removed, or lost with a restored backup",
    ]


@pytest.mark.parametrize("line", ["", "[]", "{}", "nothing", '{"id": "1"}'])
def test_a_line_that_is_no_receipt_is_said(line: str) -> None:
    if line:
        with pytest.raises(ValueError, match="not a receipt"):
            list(faults_of_export([line]))
    else:
        assert list(faults_of_export([line])) == []
