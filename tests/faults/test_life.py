"""Without faults: what the sweeps compare with is a whole life, with every end there is."""

from collections import Counter

from requests_app.operations.verify import ReadCount, findings
from tests.faults.life import PASSES, REQUESTS, Life, Ran


def test_the_set_of_requests_ends_in_every_way_there_is(life: Life) -> None:
    life.place()
    assert life.run("run_new_requests") == Ran()
    life.claimed_by_the_dead()
    life.waiting_since_before()
    life.finish()
    ends = life.ends()
    statuses = {token: row["status"] for token, row in ends.requests.items()}
    assert {token for token, status in statuses.items() if status == "Completed"} == {
        "good",
        "async",
        "by recipe",
        "second time",
        "worker died",
        "answered",
        "answered at the last moment",
        "not answered",
        "goes on without",
        "is answered without",
        "looks again",
    }
    assert {token for token, row in ends.requests.items() if row["shortfall"]} == {
        "goes on without",
        "is answered without",
    }
    assert ends.requests["fails at last"]["error"] == "refuses failed: refused"
    assert ends.attempts["not answered", 0, "waits_in_vain"][0][0] == "retry"
    assert statuses["cancelled"] == "Cancelled"
    assert {status for attempts in ends.attempts.values() for status, _, _ in attempts} == {
        "completed",
        "failure",
        "retry",
        "cancelled",
    }
    assert Counter(effect for *_, effect in ends.answers) == {"taken": 6, "late": 3}
    assert list(findings(ReadCount())) == []
    assert len(statuses) == len(REQUESTS)


def test_the_passes_say_in_their_rows_exactly_what_the_tables_show(life: Life) -> None:
    life.place()
    life.run("run_new_requests")
    life.claimed_by_the_dead()
    life.finish()
    said = life.said()
    assert {name: said[name] for name in life.done()} == life.done()
    assert {row["name"] for row in life.rows("passes")} == set(PASSES)
