"""The N-th statement of a pass fails, for every N: afterwards clean passes come to the same end as without the fault.

By default each N meets one of the twelve faults, in turn; in `make test-long` it meets them all. Of the statements of
`run_worker`, most of which are the passes' own, and of a pass that waits for permits it is every second one by default.
What a fault leaves is brought to its end once: where the tables are as without it, or as another one left them, that
end is known.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from jobs_app.db import transactions
from jobs_app.limit_rules import parse_limits
from requests_app import worker
from requests_app.operations.verify import ReadCount, findings
from tests.depth import LONG
from tests.faults.clock import HastyClock
from tests.faults.injector import CLOSED, TEXTS, Injector, When, every_connection_counts, injected
from tests.faults.life import Ends, Life, Ran, Row
from tests.faults.shape import Shape

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

FAULTS = [*itertools.product(TEXTS, When)]
OPTIONS = {"run_worker": {"max_seconds": 0.12}}
MANY = 10_000


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(transactions, "time", HastyClock())
    monkeypatch.setattr(worker, "_POLL_SECONDS", 0.03)  # each idle look is two statements like those before
    with every_connection_counts():
        yield


@pytest.mark.long
@pytest.mark.parametrize("error", TEXTS)
@pytest.mark.parametrize(
    ("name", "limits"),
    [
        *((name, "") for name in ("run_new_requests", "run_jobs", "run_inprogress_requests", "run_worker")),
        ("run_jobs", "life rate=1000/s concurrency=2 breaker=5"),
    ],
)
def test_whichever_statement_fails_the_tables_end_as_without_the_fault(
    name: str, limits: str, error: int, life: Life, settings: Any
) -> None:
    # Changed in place: each assignment to a setting lays one more layer of settings upon those before.
    settings.WRK_LIMITS = rules = parse_limits(limits)
    without = _without.get(name + limits) or _live_without(name, limits, life)
    runs = given_up = 0
    wrong: list[str] = []
    for number, when in _sample(without.statements, error, share=2 if limits or name == "run_worker" else 1):
        life.restore(without.begun)
        rules.update(parse_limits(limits))
        with injected(Injector(number, error, when)) as injector:
            ran = life.run(name, **OPTIONS.get(name, {}))
        rules.clear()  # the clean passes after it wait for no permit
        runs += 1
        given_up += bool(ran.error)
        if ran.error and when is not When.FROM_THEN_ON and not _may_end(number, error):
            wrong.append(f"statement {number} ({injector.sql[:100]}), {error} {when.name}: not carried on: {ran.error}")
        if difference := _difference(life, without, leases_lost=bool(ran.error)):
            wrong.append(f"statement {number} ({injector.sql[:100]}), {error} {when.name}, {ran}:\n{difference}")
    summary = f"{without.statements} statements, {runs} runs with a fault, {given_up} of them ended with exit 1"
    print(f"{name}, {error}: {summary}")  # noqa: T201 - for pytest -s
    assert not wrong, "\n".join([f"{len(wrong)} of {runs} runs", *wrong])


FAIL_JOB = ("fail_job", "answered at the last moment", "waits_until_now", "--reason", "it takes too long")


@pytest.mark.long
@pytest.mark.parametrize("error", TEXTS)
def test_whichever_statement_of_fail_job_fails_the_job_is_failed_once(error: int, life: Life) -> None:
    begun = life.begin_with("run_jobs")
    with injected(Injector(MANY)) as counting:
        assert life.run(*FAIL_JOB) == Ran()
    life.finish()
    expected = life.ends()
    for number, when in _sample(counting.seen, error):
        life.restore(begun)
        with injected(Injector(number, error, when)):
            life.run(*FAIL_JOB)
        done = life.run(*FAIL_JOB)  # refused when it was done already
        assert len(life.rows("interventions")) == 1, (number, when, done)
        life.finish()
        life.ends().assert_same_as(expected)


@dataclass(frozen=True, slots=True)
class Without:
    """A command without faults: the tables it found, how many statements it took, and what the life came to.

    `good`: what commands left that came to the same end, with leases lost or not.
    """

    begun: dict[str, list[Row]]
    statements: int
    ends: Ends
    good: set[tuple[Shape, bool]] = field(default_factory=set)


_without: dict[str, Without] = {}


def _live_without(name: str, limits: str, life: Life) -> Without:
    begun = life.begin_with(name)
    with injected(Injector(MANY)) as counting:
        assert life.run(name, **OPTIONS.get(name, {})) == Ran()
    left = life.shape()
    life.finish()
    _without[name + limits] = Without(begun, counting.seen, life.ends(), {(left, False), (left, True)})
    return _without[name + limits]


def _may_end(number: int, error: int) -> bool:
    """A command that finds no database where it begins says so at once; from a later fault it carries on."""
    return number <= 2 and error in CLOSED


def _sample(statements: int, error: int, share: int = 1) -> Iterator[tuple[int, When]]:
    """Every statement, or every `share`-th, each with another fault than the one before."""
    for number in range(1, statements + 1):
        for when in When:
            if LONG or (number - share * FAULTS.index((error, when))) % (share * len(FAULTS)) == 0:
                yield number, when


def _difference(life: Life, without: Without, *, leases_lost: bool) -> str:
    """Ends what the fault left, and says what is not as without it. A pass that carried on loses no lease."""
    try:
        if (left := (life.shape(), leases_lost)) not in without.good:
            life.finish()
            life.ends().assert_same_as(without.ends, leases_lost=leases_lost)
            assert [str(finding) for finding in findings(ReadCount())] == []
        said, done = life.said(), life.done()
        assert {word: said[word] for word in done} == done, "the tallies say otherwise than the tables"
    except AssertionError as difference:
        return str(difference)
    without.good.add(left)
    return ""
