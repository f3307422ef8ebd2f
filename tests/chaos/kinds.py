"""The kinds of requests in a storm: their jobs, what the services answer to these, how they must end. Loads no Django.

A job's name says how its callback (jobs.py) and its service behave. Each finds `{"<step> <job>": ...}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CALLS = ("calls_1", "calls_2", "calls_3", "calls_4")  # they call, and return
# What else they call and do. An answer is awaited for so long that a lost one would be seen: nothing would ever end.
EARLY = "waits_early"  # the answer is there before its job
SOON = "waits_soon"
TWICE = "waits_twice"  # by SQL and by POST at once
BOTH = "waits_both"  # a failure and a success in one INSERT
AGAIN = "waits_again"  # the first attempt is answered `retry`
REFUSED = "waits_refused"  # `failure`
BESIDE = "waits_beside"  # answered when its request has failed
NEVER = "waits_never"  # nobody answers the first attempt, the next one returns
JUST = "waits_just"  # answered at the moment when its time is over; the next attempt returns
LOOKS = "looks_again"  # nobody answers; its first check returns
FOLLOWS = "follows"  # its call has others answer LOOKS of the step before, too late
REFUSES = "refuses"  # raises Failure
NAMES = (*CALLS, EARLY, SOON, TWICE, BOTH, AGAIN, REFUSED, BESIDE, NEVER, JUST, LOOKS, FOLLOWS, REFUSES)
LIMITED = {CALLS[3], SOON, LOOKS}  # behind the limit of this name
LIMIT = "storm"
MAY_FAIL = {BOTH, REFUSED, REFUSES}

JUST_SECONDS = 1.0  # how long JUST and NEVER wait
NOBODY = "nobody"  # a token of no request


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `job`, `steps_back`, `token`: if to another one than was called. `late`: it must be."""

    outcome: str = "completed"
    names_attempt: bool = False
    by_post: bool = False
    job: str | None = None
    steps_back: int = 0
    token: str | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """`failed`: the job by which it fails; None: it is Completed. `stops`: others may then be cancelled."""

    name: str
    steps: Sequence[Sequence[str | Mapping[str, str]]]
    failed: str | None = None
    stops: bool = False

    def json(self, steps: int) -> list[dict[str, Any]]:
        """So many of its steps, the first ones; more than it has are of CALLS."""
        jobs = [*self.steps, *[CALLS] * steps][:steps]
        return [{"name": f"step {n}", "jobs": list(names)} for n, names in enumerate(jobs)]


def _reaching(job: str, if_fails: str) -> dict[str, str]:
    return {"job": job, "if_fails": if_fails}


PLAIN = Kind("storm", [CALLS])
KINDS = (
    PLAIN,
    Kind("answered", [[EARLY, SOON, *CALLS[:2]], [EARLY, TWICE, *CALLS[:2]], [AGAIN, SOON, *CALLS[:2]]]),
    PLAIN,
    Kind("unanswered", [[NEVER, LOOKS, *CALLS[:2]], [FOLLOWS, JUST, *CALLS[:2]], [LOOKS, *CALLS[:3]]]),
    PLAIN,
    Kind("short", [[_reaching(BOTH, "continue"), *CALLS[:3]], [_reaching(REFUSES, "continue"), SOON, *CALLS[:2]]]),
    Kind("finished", [CALLS, [_reaching(REFUSES, "finish"), SOON, NEVER, CALLS[0]]], failed=REFUSES),
    Kind("stopped", [CALLS, [REFUSED, BESIDE, *CALLS[:2]]], failed=REFUSED, stops=True),
)
BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(number: int) -> Kind:
    """Of the storm's request of this number."""
    return KINDS[number % len(KINDS)]


def early_replies(kind: Kind, steps: int) -> list[tuple[int, str]]:
    """(step, job) of what is answered as soon as the request is placed."""
    return [(n, EARLY) for n, jobs in enumerate(kind.steps[:steps]) if EARLY in jobs]


def replies(job: str, attempt: int, *, is_first: bool, by_post: bool) -> tuple[Reply, ...]:
    """What a call has others answer. `is_first`: of this key; services answer a repeat once. `by_post`: by chance."""
    if job == AGAIN:
        return (Reply("retry", names_attempt=True),) if attempt == 1 else (Reply(by_post=by_post),)
    if not is_first:
        return ()
    return _TO_FIRST_CALL.get(job, ()) if job != SOON else (Reply(by_post=by_post),)


_TO_FIRST_CALL: dict[str, tuple[Reply, ...]] = {
    TWICE: (Reply(), Reply(by_post=True)),
    BOTH: (Reply("failure"), Reply()),
    REFUSED: (Reply("failure"),),
    BESIDE: (Reply(),),
    JUST: (Reply(),),
    FOLLOWS: (
        Reply(job=LOOKS, steps_back=1, late=True),
        Reply("failure", job=LOOKS, steps_back=1, by_post=True, late=True),
        Reply(token=NOBODY, late=True),
    ),
}


def delays(job: str) -> tuple[float, float]:
    """Within which seconds from its call a job is answered."""
    match job:
        case name if name in {SOON, REFUSED}:
            return 0.0, 1.0
        case name if name == JUST:
            return JUST_SECONDS - 0.1, JUST_SECONDS + 0.3
        case name if name == BESIDE:
            return 1.0, 3.0
    return 0.0, 0.1
