"""Each poll query is served by its index and never sorts: with a filesort, SKIP LOCKED locks every candidate.

The statements are those that the code sends, caught on their way.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from django.core.management.color import no_style
from django.db import connection, transaction
from django.test import override_settings

from jobs_app.db.dialect import dialect
from jobs_app.limit_rules import LimitRule
from jobs_app.models import Job, Limit, PausedJob, pause
from jobs_app.models.attempts import JobStatus, Result
from requests_app.models import Request
from requests_app.models.progress_moves import Position
from requests_app.monitoring.deadlines import DeadlineState, count_by_deadline, ids_by_deadline
from requests_app.monitoring.due_receipts import read_due_receipts
from requests_app.operations.find_requests import Filter, find, find_together, requests_about
from tests.factories import make_job, make_request
from tests.lifecycle.statements import Statement, listening

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 20_000


def scans() -> None:
    Request.objects.scan_in_progress(500)
    Request.objects.scan_in_progress(500, Position("2026-01-01 00:00:00", 1))


def read_directly_claimed() -> None:
    Job.objects.inserted_with_requests("a claim", [(id_, id_ % 2) for id_ in range(1, 300)])


def old_pages() -> None:
    Request.objects.old("Completed", 60, 200)
    Request.objects.old("Cancelled", 60, 200, ("2026-01-01 00:00:00", 1), unscrubbed=True)


def claim_due_by() -> None:
    Job.objects.claim("by a moment", 500, 30, Job.objects.poll().now)


def claim_beside_paused_names() -> None:
    Job.objects.claim("now", 500, 30, paused=["noop_1", "noop_2"])


def bring_back() -> None:
    PausedJob.objects.pause("noop_1", by="a test", reason="")
    PausedJob.objects.resume("noop_1")
    Job.objects.bring_back(["noop_1"])


LIMITED = LimitRule("service2", rate=1e6, concurrency=1000)


def with_limits() -> None:
    """Of one something waits in its lane and runs; nobody names the other any more."""
    removed = LimitRule("removed", rate=1.0)
    Limit.objects.ensure([LIMITED, removed])
    for status, rule in [("new", removed), ("new", LIMITED), ("new", LIMITED), ("inprogress", LIMITED)]:
        make_job(make_request("Inprogress"), "noop", status, due_at=rule.lane)


def poll_with_limits() -> None:
    with override_settings(WRK_LIMITS={"service2": LIMITED}):
        assert Job.objects.poll().has_strays


def empty_lanes() -> None:
    with override_settings(WRK_LIMITS={"service2": LIMITED}):
        assert Job.objects.empty_lanes()


# What asks, and which index each table's rows are to be found by.
POLLS: dict[str, tuple[Callable[[], object], set[str]]] = {
    "poll": (Job.objects.poll, {"jobs_status_due", "jobs_status_lease"}),
    "claim": (lambda: Job.objects.claim("now", 500, 30).ids, {"jobs_status_due"}),
    "claim due by": (claim_due_by, {"jobs_status_due", "jobs_status_lease"}),
    "claim beside paused names": (claim_beside_paused_names, {"jobs_status_due"}),
    "poll with limits": (poll_with_limits, {"jobs_status_due", "jobs_status_lease"}),
    "look at lanes": (lambda: Job.objects.look_at_lanes(["service2", "removed"]), {"jobs_status_due"}),
    "claim from a lane": (lambda: Job.objects.claim_from_lane(LIMITED, "a claim", 5, 30), {"jobs_status_due"}),
    "claim from a lane up to": (
        lambda: Job.objects.claim_from_lane(LIMITED, "a claim", 5, 30, ["noop_1"], upto=10**9),
        {"jobs_status_due"},
    ),
    "empty lanes": (empty_lanes, {"jobs_status_due"}),
    "park": (lambda: Job.objects.park(["noop_1"]), {"jobs_status_due"}),
    "bring back": (bring_back, {"jobs_status_due"}),
    "lease_expired": (lambda: Job.objects.lease_expired(500), {"jobs_status_lease"}),
    "has_due": (Request.objects.has_due, {"requests_status_due"}),
    "lock_due": (lambda: Request.objects.lock_due(500), {"requests_status_due"}),
    "old": (old_pages, {"requests_status_due", "requests_unscrubbed"}),
    "scan": (scans, {"requests_status_due", "jobs_attempt"}),
    "lock old": (lambda: Request.objects.purge(range(1, 200), "Completed", 60), set()),
    "due receipts": (lambda: read_due_receipts(connection), {"requests_receipt"}),
    "about somebody": (lambda: requests_about("Ann"), {"requests_subject"}),
    "read what was claimed": (lambda: Job.objects.with_requests("a claim", range(1, 300)), set()),
    "read what was claimed directly": (read_directly_claimed, {"jobs_attempt"}),
}


def some_of_each() -> None:
    with transaction.atomic():
        for status in ("Queuing", "Inprogress", "Completed", "Failed", "Cancelled"):
            for _ in range(3):
                make_request(status, due_in=-1)
        for status in ("new", "inprogress", "completed", "failure", "retry", "cancelled"):
            for _ in range(3):
                make_job(make_request("Inprogress"), "noop", status, lease=-1)


def only_open_ones() -> None:
    """Of such the optimizers think that nearly every row is wanted."""
    with transaction.atomic():
        for status in ("new", "inprogress"):
            for _ in range(20):
                make_job(make_request("Inprogress"), "noop", status, lease=-1)
                make_request("Queuing", due_in=-1)


def fill(request_status: str, job_status: str) -> None:
    """That many more of both; the statistics are told."""
    now = dialect("default").now
    request_ended = now if request_status in {"Completed", "Failed"} else "NULL"
    job_ended = now if job_status in {"completed", "failure"} else "NULL"
    claim = f"'a claim', {now}" if job_status == "inprogress" else "NULL, NULL"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(id), 0) FROM requests")
        last = cursor.fetchone()[0]
        cursor.executemany(
            "INSERT INTO requests (id, action, steps, status, completed_at) "
            f"VALUES (%s, 'x', '[]', %s, {request_ended})",
            [(last + number, request_status) for number in range(1, MANY + 1)],
        )
        cursor.execute(
            "INSERT INTO jobs (request_id, step, name, status, completed_at, claimed_by, lease_until) "
            f"SELECT id, 0, 'noop', %s, {job_ended}, {claim} FROM requests WHERE id > %s",
            [job_status, last],
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "ANALYZE TABLE requests, jobs")


def empty() -> None:
    """As new: to delete so many rows takes a server as long as to insert them."""
    connection.ops.execute_sql_flush(
        connection.ops.sql_flush(no_style(), ["jobs", "requests"], reset_sequences=connection.vendor == "mysql")
    )


def forget_statistics() -> None:
    """SQLite keeps what an ANALYZE found, also after the tables are emptied; plans would depend on the tests' order."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # there is a table of statistics now
            cursor.execute("DELETE FROM sqlite_stat1")
        connection.close()  # the next one reads it anew


Filling = tuple[str, str] | str | None


@pytest.fixture(scope="module")
def filled(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[Filling]:
    """Filled once for all tests that ask for the same: what they change is rolled back."""
    filling: Filling = request.param
    with django_db_blocker.unblock():
        forget_statistics()
        only_open_ones() if filling == "only open ones" else some_of_each()
        if isinstance(filling, tuple):
            fill(*filling)
    yield filling
    with django_db_blocker.unblock():
        empty()


@pytest.fixture
def filled_for_me(transactional_db: None) -> Iterator[Callable[[str, str], None]]:
    """By a test that commits what it changes."""
    forget_statistics()
    yield fill
    empty()


def moves() -> None:
    """Of rows that were locked or claimed before, by their ids; nothing of it is kept."""
    picked_up = [row.id for row in Request.objects.lock_due(5)]
    Request.objects.start(picked_up, {})
    Request.objects.advance(picked_up, {})
    Request.objects.complete(picked_up, {})
    claims = [("one", Job.objects.claim("one", 5, 30).ids), ("two", Job.objects.claim("two", 5, 30).ids)]
    held = [job for claim, ids in claims for job, _ in Job.objects.with_requests(claim, ids)]
    Job.objects.renew(held, 30)
    Job.objects.record([Result(job, JobStatus.COMPLETED) for job in held])
    PausedJob.objects.pause("noop", by="a test", reason="")
    Job.objects.park(["noop"])
    PausedJob.objects.resume("noop")
    Job.objects.bring_back(["noop"])


def asked(poll: Callable[[], object], word: str = "SELECT") -> list[Statement]:
    """The statements of this kind that it sends."""
    with listening() as heard, transaction.atomic():
        poll()
        transaction.set_rollback(True)
    found = [statement for statement in heard if statement.sql.startswith(word)]
    return [statement for statement in found if re.search(r" [`\"]?(jobs|requests)\b", statement.sql)]


def explain(statement: Statement) -> list[dict[str, Any]]:
    """Of each table: the index and what is said of it."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.params)
            lines = [row[3] for row in cursor.fetchall() if "paused_jobs" not in row[3] and "_limits_" not in row[3]]
            return [{"key": index_in(line), "extra": line, "sql": statement.sql} for line in lines]
        table_form = "" if connection.mysql_is_mariadb else "FORMAT=TRADITIONAL"  # type: ignore[attr-defined] # MySQL 9 answers in one text
        cursor.execute(f"EXPLAIN {table_form} {statement.sql}", statement.params)
        names = [column[0] for column in cursor.description]
        plans = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [
        {"key": plan["key"], "extra": plan["Extra"] or "", "type": plan["type"], "sql": statement.sql}
        for plan in plans
        if plan["table"] in {"requests", "jobs", "r", "j"}
    ]


# What SQLite calls a search by id, and the parts of one by several lists of ids.
BY_ID = {None, "1", "2"}


def index_in(line: str) -> str | None:
    words = line.split()
    return words[words.index("INDEX") + 1] if "INDEX" in words else None


@pytest.mark.django_db
@pytest.mark.parametrize(
    "filled",
    [
        None,
        "only open ones",
        ("Completed", "completed"),
        ("Queuing", "new"),
        ("Inprogress", "inprogress"),
        ("Inprogress", "completed"),
    ],
    ids=str,
    indirect=True,
)
def test_every_poll_query_uses_its_index_and_never_sorts(filled: Filling) -> None:
    with_limits()
    faults = {name: faults_of(poll, indexes) for name, (poll, indexes) in POLLS.items()}
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.django_db
@pytest.mark.parametrize("filled", [None, ("Queuing", "new"), ("Inprogress", "inprogress")], ids=str, indirect=True)
def test_every_move_finds_its_rows_by_their_ids_however_many_have_the_same_status(
    filled: Filling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "_ROWS_PER_PARKING", 400)  # what is parked by one UPDATE
    for _ in range(12):
        make_job(make_request("Inprogress"), "noop", due_in=-100)
    found = asked(moves, "UPDATE")
    assert len(found) == 9
    plans = [plan for statement in found for plan in explain(statement)]
    bad = [plan for plan in plans if plan["key"] not in {"PRIMARY", *BY_ID} or plan.get("type", "range") != "range"]
    assert (bad, len(plans) >= len(found)) == ([], True)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "filled", [None, ("Queuing", "new"), ("Failed", "failure"), ("Completed", "completed")], ids=str, indirect=True
)
def test_who_is_late_is_found_by_ranges_of_the_index_of_deadlines(filled: Filling) -> None:
    statements = asked(deadlines_asked)
    assert len(statements) == 3
    plans = [plan for statement in statements for plan in explain(statement)]
    if connection.vendor == "sqlite":  # the groups and the order are of a few rows that were found
        plans = [plan for plan in plans if " requests " in f"{plan['extra']} "]
    assert len(plans) == 6 + 3 + 3
    for plan in plans:
        assert (plan["key"], "filesort" in plan["extra"]) == ("requests_deadline", False)
        assert plan.get("type", "range") == "range"
        assert not plan["extra"].startswith("SCAN")


BOUNDS = ("2026-01-01 00:00:00", "2026-01-02 00:00:00")
LONG_AGO = Filter("created_at >= %s AND created_at < %s", BOUNDS, "requests_created", "created_at DESC, id DESC")
FAILED = Filter("status = %s", ("Failed",), "requests_status_due", "due_at DESC, id DESC")


SEARCHES: list[tuple[Callable[[], object], dict[str, int]]] = [
    (lambda: find("Ann"), {"token": 1, "requests_subject": 3}),
    (lambda: find_together([FAILED, LONG_AGO]), {"requests_status_due": 1, "requests_created": 1}),
]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "filled", [None, ("Queuing", "new"), ("Failed", "failure"), ("Completed", "completed")], ids=str, indirect=True
)
def test_what_people_search_for_is_found_by_the_index_of_each_part(filled: Filling, settings: Any) -> None:
    settings.WRK_SUBJECT_KEYS = ["new-key-0123456789-abcdefghij-0123456789", "old-key-0123456789-abcdefghij-0123456789"]
    make_request(token="Ann")
    for ask, used in SEARCHES:
        [statement] = asked(ask)
        plans = [
            plan for plan in explain(statement) if connection.vendor != "sqlite" or " requests " in f"{plan['extra']} "
        ]
        names = ["token" if "token" in plan["key"] or "autoindex" in plan["key"] else plan["key"] for plan in plans]
        assert Counter(names) == used
        assert not [plan for plan in plans if "filesort" in plan["extra"] or plan.get("type") in {"ALL", "index"}]


def deadlines_asked() -> None:
    count_by_deadline(connection)
    for state in DeadlineState:
        ids_by_deadline(state, 10)


def faults_of(poll: Callable[[], object], indexes: set[str]) -> list[object]:
    """Plans that sort or read a whole table; or which indexes are used in place of the named ones."""
    statements = asked(poll)
    assert statements
    plans = [plan for statement in statements for plan in explain(statement)]
    bad: list[object] = [
        plan
        for plan in plans
        if any(word in plan["extra"] for word in ("filesort", "temporary", "TEMP B-TREE"))
        or plan.get("type") in {"ALL", "index"}
    ]
    used = {plan["key"] for plan in plans} - {"PRIMARY", *BY_ID}  # by which a job's request is looked up
    if connection.vendor == "sqlite":  # a constraint's index has no name of its own there
        used = {"jobs_attempt" if key.startswith("sqlite_autoindex_jobs") else key for key in used}
    return bad or ([] if used == indexes else [used])


def rows_read(work: Callable[[], object]) -> int:
    """By the server's own count of this session."""
    with connection.cursor() as cursor:
        cursor.execute("FLUSH LOCAL STATUS" if connection.mysql_is_mariadb else "FLUSH STATUS")  # type: ignore[attr-defined]
        work()
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for _, value in cursor.fetchall())


@pytest.mark.integration
@pytest.mark.parametrize("removed", [False, True])
def test_of_a_hundred_thousand_that_wait_for_permits_nobody_reads_all(
    removed: bool, settings: Any, filled_for_me: Callable[[str, str], None]
) -> None:
    settings.WRK_LIMITS = {} if removed else {"service2": LIMITED}
    Limit.objects.ensure([LIMITED])
    some_of_each()
    filled_for_me("Inprogress", "new")
    with connection.cursor() as cursor:
        for attempt in range(2, 6):
            cursor.execute(
                "INSERT INTO jobs (request_id, step, name, attempt) SELECT id, 0, 'noop', %s FROM requests "
                "WHERE action = 'x'",
                [attempt],
            )
        cursor.execute("UPDATE jobs SET due_at = %s WHERE status = 'new' AND request_id > 20", [LIMITED.lane])
        cursor.execute("ANALYZE TABLE jobs, requests, limits")
        cursor.execute("SELECT COUNT(*) FROM jobs WHERE due_at = %s", [LIMITED.lane])
        assert cursor.fetchone()[0] > 99_000
    works: dict[str, Callable[[], object]] = {
        "poll": Job.objects.poll,
        "look": lambda: Job.objects.look_at_lanes(["service2"]),
        "permits": lambda: Job.objects.claim_from_lane(LIMITED, "a claim", 5, 30),
        "permits beside a paused name": lambda: Job.objects.claim_from_lane(LIMITED, "a claim", 5, 30, ["noop_1"]),
        "claim": lambda: Job.objects.claim("another", 500, 30, lanes={"noop": LIMITED.lane}),
        "lost leases": lambda: Job.objects.lease_expired(500),
        "empty": Job.objects.empty_lanes,
        "bring back": bring_back,
    }
    read = {name: rows_read(work) for name, work in works.items()}
    assert max(read.values()) < 3000, read


@pytest.mark.integration
@pytest.mark.parametrize("filling", [None, ("Completed", "completed")], ids=str)
def test_a_second_worker_gets_the_next_rows_while_a_first_one_holds_some(
    filling: tuple[str, str] | None, filled_for_me: Callable[[str, str], None]
) -> None:
    jobs = [make_job(make_request("Inprogress"), "noop", due_in=-100 + number) for number in range(12)]
    requests = [make_request("Queuing", due_in=-100 + number) for number in range(12)]
    if filling:
        filled_for_me(*filling)
    second: dict[str, list[int]] = {}

    def work() -> None:
        second["jobs"] = Job.objects.claim("second", 4, 30).ids
        with transaction.atomic():
            second["requests"] = [row.id for row in Request.objects.lock_due(4)]
        connection.close()

    with transaction.atomic():
        first_jobs = Job.objects.claim("first", 4, 30).ids
        first_requests = [row.id for row in Request.objects.lock_due(4)]
        worker = Thread(target=work)
        worker.start()
        worker.join(20)
        assert not worker.is_alive()
    assert first_jobs == [job.id for job in jobs[:4]]
    assert second["jobs"] == [job.id for job in jobs[4:8]]
    assert first_requests == [request.id for request in requests[:4]]
    assert second["requests"] == [request.id for request in requests[4:8]]
