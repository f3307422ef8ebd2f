"""The connection is cut at a COMMIT, just before the server gets it or just before its answer arrives.

For each kind of transaction there is: the pass looks at what is there, carries on, and nothing is done twice or not at
all.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connections

from jobs_app.db import transactions
from jobs_app.limit_rules import parse_limits
from jobs_app.models import Limit, pass_run
from requests_app.models import Receipt, ReceiptHead, Request
from requests_app.models.receipt_moves import ReceiptState
from requests_app.models.status import FINAL
from requests_app.operations.verify_receipts import faults_of_table
from requests_app.passes import receipts
from tests.faults.clock import HastyClock
from tests.faults.life import Ends, Life, Ran, Row, steps
from tests.faults.shape import Shape
from tests.proxy import Cut, Proxy

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

# kind -> the command, and what a statement of such a transaction holds.
KINDS = {
    "pick up": ("run_new_requests", b"status = 'Inprogress', step = 0"),
    "refuse": ("run_new_requests", b"SET status = 'Failed', error"),
    "reap": ("run_jobs", b"AND lease_until < UTC_TIMESTAMP(6))) ORDER BY id FOR UPDATE"),
    "claim": ("run_jobs", b"SET status = 'inprogress'"),
    "record a completion": ("run_jobs", b"SET status = 'completed'"),
    "record a retry": ("run_jobs", b"SET status = 'retry'"),
    "record a failure": ("run_jobs", b"SET status = 'failure'"),
    "record a wait": ("run_jobs", b"checks = checks + 1"),
    "record that no answer came": ("run_jobs", b"no answer within"),
    "hand back for an answer": ("run_jobs", b"`due_at` = (UTC_TIMESTAMP(6) + INTERVAL 5000000 MICROSECOND)"),
    "merge extras": ("run_jobs", b"UPDATE requests SET extras"),
    "take answers": ("run_inprogress_requests", b"SET `effect` = 'taken'"),
    "mark answers late": ("run_inprogress_requests", b"SET `effect` = 'late'"),
    "advance": ("run_inprogress_requests", b"SET step = step + 1"),
    "complete": ("run_inprogress_requests", b"SET status = 'Completed'"),
    "fail": ("run_inprogress_requests", b"SET status = 'Failed', error"),
    "pick up and claim at once": ("run_worker", b"status = 'Inprogress', step = 0"),
    "take answers and move on": ("run_worker", b"SET `effect` = 'taken'"),
    "record and move on": ("run_worker", b"SET step = step + 1"),
    "record and complete": ("run_worker", b"SET status = 'Completed'"),
}
# The same for statements that are a transaction by themselves.
STATEMENTS = {
    "the run's row": ("run_jobs", b"INSERT INTO `passes`"),
    "the run's end": ("run_jobs", b"`ended_at` = UTC_TIMESTAMP(6)"),
    "a look at what is due": ("run_jobs", b"SELECT UTC_TIMESTAMP(6), EXISTS"),
    "read what was claimed": ("run_jobs", b"r.token, r.action, j.if_fails"),
    "a look at the answers": ("run_inprogress_requests", b"SELECT a.id, r.id FROM answers a"),
    "read what is settled": ("run_inprogress_requests", b"SELECT due_at, id, NOT EXISTS"),
}
ARRIVES = pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "not even sent"])


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "time", HastyClock())


def options_of(name: str) -> dict[str, Any]:
    return {"max_seconds": 0.3} if name == "run_worker" else {}


def run_with(cut: Cut, name: str, life: Life, proxy: Proxy, **options: Any) -> Ran:
    proxy.cut = cut
    ran = life.run(name, **options_of(name), **options)
    assert cut.done, "the cut was never reached"
    return ran


@dataclass(frozen=True, slots=True)
class Without:
    """A command without any fault: the tables it found, how it left them, and what the life came to."""

    begun: dict[str, list[Row]]
    left: Shape
    ends: Ends


_without: dict[str, Without] = {}


def begin(life: Life, name: str) -> None:
    """The tables as this command is to find them. The life without any fault is lived once for each command."""
    if name not in _without:
        begun = life.begin_with(name)
        assert life.run(name, **options_of(name)) == Ran()
        left = life.shape()
        life.finish()
        _without[name] = Without(begun, left, life.ends())
    life.restore(_without[name].begun)


def assert_ends_as_without(life: Life, name: str) -> None:
    """After clean passes; where the tables are as without any fault, these are known to go well."""
    without = _without[name]
    if life.shape() != without.left:
        life.finish()
        life.ends().assert_same_as(without.ends)
    said, done = life.said(), life.done()
    assert {word: said[word] for word in done} == done, "the tallies say otherwise than the tables"


@ARRIVES
@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_that_is_cut_is_carried_on_with_and_done_once(
    kind: str, arrives: bool, life: Life, through_proxy: Proxy
) -> None:
    name, within = KINDS[kind]
    begin(life, name)
    cut = Cut(b"COMMIT", within=within, arrives=arrives)
    assert run_with(cut, name, life, through_proxy) == Ran()
    assert_ends_as_without(life, name)


@ARRIVES
@pytest.mark.parametrize("kind", STATEMENTS)
def test_a_statement_of_its_own_that_is_cut_loses_nothing(
    kind: str, arrives: bool, life: Life, through_proxy: Proxy
) -> None:
    name, text = STATEMENTS[kind]
    begin(life, name)
    run_with(Cut(text, arrives=arrives), name, life, through_proxy)
    assert_ends_as_without(life, name)


# What a transaction that gives permits, one that puts off what is due, and one that counts ends hold.
@ARRIVES
@pytest.mark.parametrize("within", [b"UPDATE limits SET next_at", b"SET due_at = '9", b"UPDATE `limits` SET"])
def test_a_commit_of_a_limit_that_is_cut_is_carried_on_with(
    within: bytes, arrives: bool, life: Life, through_proxy: Proxy, settings: Any
) -> None:
    begin(life, "run_jobs")
    settings.WRK_LIMITS = parse_limits("life rate=1000/s concurrency=2 breaker=5")
    if b"`limits`" in within:  # an end that changes what is counted
        Limit.objects.ensure(settings.WRK_LIMITS.values())
        Limit.objects.update(failures=1)
    assert run_with(Cut(b"COMMIT", within=within, arrives=arrives), "run_jobs", life, through_proxy) == Ran()
    assert Limit.objects.get().failures == 0
    assert_ends_as_without(life, "run_jobs")


@ARRIVES
def test_a_hand_back_whose_commit_is_cut_hands_back_once(
    arrives: bool, life: Life, through_proxy: Proxy, settings: Any
) -> None:
    begin(life, "run_jobs")
    lease, settings.WRK_JOB_LEASE_SECONDS = settings.WRK_JOB_LEASE_SECONDS, 1  # too short for any job to begin
    cut = Cut(b"COMMIT", within=b"UPDATE `jobs` SET `status` = 'new'", arrives=arrives)
    assert run_with(cut, "run_jobs", life, through_proxy, limit=1) == Ran()
    settings.WRK_JOB_LEASE_SECONDS = lease
    assert json.loads(life.rows("passes")[-1]["counts"])["handed_back"] == 1
    assert_ends_as_without(life, "run_jobs")


@ARRIVES
def test_a_worker_whose_heartbeat_is_cut_carries_on(
    arrives: bool, life: Life, through_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_run, "_BUSY_HEARTBEAT_SECONDS", 0)
    begin(life, "run_worker")
    cut = Cut(b"UPDATE `passes` SET `counts`", arrives=arrives)
    assert run_with(cut, "run_worker", life, through_proxy) == Ran()


@ARRIVES
@pytest.mark.parametrize("name", ["run_new_requests", "run_inprogress_requests", "run_worker"])
def test_each_end_is_told_once_when_its_commit_is_cut(
    name: str, arrives: bool, life: Life, through_proxy: Proxy, settings: Any
) -> None:
    settings.WRK_NOTIFY, settings.WRK_NOTIFY_KEYS = {"shop": "http://127.0.0.1:9"}, ["whsec_" + "MfKQ9r8G" * 4]
    life.begin_with(name)
    ends = Request.objects.filter(status__in=FINAL).exclude(action="notify").order_by("token")
    before = {*ends.values_list("token", flat=True)}
    Request.objects.update(notify="shop")
    cut = Cut(b"COMMIT", within=b"INSERT INTO requests (action, subject, extras)", arrives=arrives)
    assert run_with(cut, name, life, through_proxy) == Ran()
    told = sorted(
        extras["token"] for extras in Request.objects.filter(action="notify").values_list("extras", flat=True)
    )
    assert told == [token for token in ends.values_list("token", flat=True) if token not in before] != []


@ARRIVES
@pytest.mark.parametrize("name", ["run_inprogress_requests", "run_worker"])
def test_receipts_whose_commit_is_cut_are_written_once_and_their_chain_is_whole(
    name: str, arrives: bool, life: Life, through_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    life.place()
    life.finish()
    Receipt.objects.all().delete()
    ReceiptHead.objects.all().delete()
    Request.objects.update(receipt=ReceiptState.DUE)
    monkeypatch.setattr(receipts.write_page, "__defaults__", (5,))  # so that there are several pages
    assert run_with(Cut(b"COMMIT", within=b"INSERT INTO receipts", arrives=arrives), name, life, through_proxy) == Ran()
    assert life.run("run_inprogress_requests") == Ran()
    assert list(faults_of_table()) == []
    tokens = Receipt.objects.order_by("token").values_list("token", flat=True)
    assert list(tokens) == list(Request.objects.order_by("token").values_list("token", flat=True))


class BusyClock(HastyClock):
    """While a transaction waits for its next try, somebody places another request."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        other = connections["default"].copy()
        try:
            with other.cursor() as cursor:
                cursor.execute("INSERT INTO requests (action, steps) VALUES ('made up', %s)", [steps(["finds_2"])])
        finally:
            other.close()


def test_what_an_unanswered_pick_up_claimed_is_run_although_its_next_try_finds_more(
    life: Life, through_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO requests (action, steps) VALUES ('made up', %s)", [steps(["finds_1"])])
    monkeypatch.setattr(transactions, "time", BusyClock())
    assert (
        run_with(Cut(b"COMMIT", within=b"status = 'Inprogress', step = 0"), "run_worker", life, through_proxy) == Ran()
    )
    assert [(row["name"], row["status"]) for row in life.rows("jobs")] == [
        ("finds_1", "completed"),
        ("finds_2", "completed"),
    ]
