"""Rows as foreign programs write them, by kind: what goes into the columns, and where such a request must end."""

import json
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from jobs_app.registry import MAX_NAME_CHARACTERS, definition
from requests_app.models import RequestStatus
from requests_app.recipes import recipe_of
from requests_app.recipes.steps import MAX_STEPS_BYTES

INT_MAX = 2**31 - 1
midnight = "{} 00:00:00".format
GOOD_STEPS = '[{"name": "only", "jobs": ["noop"]}]'
LONG_AGO, NEVER = "1970-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999"
JOBS = ("noop", "noop_1", "noop_2")

Columns = dict[str, Any]
_short = Repr()
_short.maxstring, _short.maxdict = 300, 20


@dataclass(frozen=True, slots=True)
class Row:
    """`request`: columns of a request; `jobs`: columns of its jobs, but `request_id`.

    `ends`: the request's status after the passes. The database may refuse any of it, when it says which column or
    constraint it was.
    """

    kind: str
    ends: str
    request: Columns
    jobs: tuple[Columns, ...] = ()

    def __repr__(self) -> str:
        """For a failing example: a megabyte is of no use there."""
        return f"Row({self.kind!r}, {_short.repr(self.request)}, {_short.repr(self.jobs)})"


# Texts ---------------------------------------------------------------------------------------------------------------
# All of Unicode that can be sent: NUL and other control characters, emoji, right-to-left, combining marks.
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
odd_text = any_text | st.sampled_from(
    [
        "",
        " ",
        "\0",
        "a\nb",
        "\x1b[2J",
        "'; DROP TABLE jobs; --",
        "%s %(x)s",
        "\U0001f4a9" * 40,
        "\u202e\u0301",
        "NULL",
        "\\",
    ]
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_NAME_CHARACTERS)
long_names = st.integers(MAX_NAME_CHARACTERS + 1, 5 * MAX_NAME_CHARACTERS).map(lambda length: "n" * length)
# Hypothesis draws texts that stand in our own code as well.
unknown_names = names.filter(lambda name: definition(name) is None)
unknown_actions = odd_text.filter(lambda action: recipe_of(action) is None)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | odd_text
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_text, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(odd_text, values, max_size=5)


def deep(opening: str, closing: str) -> SearchStrategy[str]:
    """Nested as no database allows (31 and more on MariaDB, 100 on MySQL, 1000 on SQLite), and as some do."""
    return st.sampled_from([20, 40, 90, 900, 5000]).map(lambda levels: opening * levels + closing * levels)


# JSON that is none, or that not everybody takes for it.
broken_json = st.sampled_from(
    ["", " ", "{", "[1,]", "NaN", "[NaN]", "-Infinity", "{'a': 1}", "undefined", '{"a": 1}}', "\0"]
)
odd_json = st.sampled_from(['{"a": "\\ud800"}', '{"\\udfff": 1}', '{"a": "\\u0000"}', '{"a": 1e999}', '{"": -0.0}'])
megabyte = st.sampled_from(["x", "\U0001f4a9", "\\u0000"]).map(
    lambda piece: f'{{"a": "{piece * (2**20 // len(piece.encode()))}"}}'
)
long_number = st.sampled_from([5_000, 50_000]).map(lambda digits: f'{{"a": {"1" * digits}}}')


# Steps ---------------------------------------------------------------------------------------------------------------
def _step(name: Any, jobs: Any, **more: Any) -> Any:
    return {"name": name, "jobs": jobs} | more


good_jobs = st.lists(st.sampled_from(JOBS), min_size=1, unique=True)
good_step = st.builds(_step, names, good_jobs)
no_names = st.none() | st.just("") | st.integers() | st.lists(names, max_size=2) | long_names
shapeless_step = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.just({}),
    st.builds(_step, no_names, good_jobs),
    st.builds(_step, names, scalars | st.just([]) | st.dictionaries(names, scalars, max_size=2)),
    st.builds(_step, names, st.lists(no_names, min_size=1, max_size=3)),
    st.builds(lambda name, job: _step(name, [job, job]), names, st.sampled_from(JOBS)),
    st.builds(lambda step, key: step | {key: 1}, good_step, odd_text.filter(lambda key: key not in {"name", "jobs"})),
    st.fixed_dictionaries({"name": names}),
    st.fixed_dictionaries({"jobs": good_jobs}),
)
unknown_step = st.builds(_step, names, st.lists(unknown_names, min_size=1, max_size=3))


def _lists_with(broken: SearchStrategy[Any]) -> SearchStrategy[str]:
    around = st.lists(good_step, max_size=2)
    return st.builds(lambda before, step, after: json.dumps([*before, step, *after]), around, broken, around)


huge_steps = st.sampled_from(
    [
        json.dumps([_step("only", ["noop"])] * (MAX_STEPS_BYTES // 30)),
        json.dumps([_step("n" * 2**20, ["noop"])]),
        json.dumps([_step("only", ["noop"] * 100_000)]),
        "[" + "1," * 300_000 + "1]",
    ]
)
unreadable_steps = st.one_of(
    _lists_with(shapeless_step),
    (scalars | objects | st.just([])).map(json.dumps),
    broken_json,
    odd_json,
    deep("[", "]"),
    deep('[{"name": ', "}]").map(lambda text: text.replace("}]", "1}]", 1)),
    huge_steps,
    long_number.map(lambda text: f"[{text}]"),
)


# Names that a newer release may know ...
odd_next_steps = st.lists(
    (unknown_names | odd_text).map(lambda name: name.strip() or "next"), min_size=1, max_size=4, unique=True
).map(lambda jobs: json.dumps([_step("only", ["noop"]), _step("next", jobs)]))
# ... and names that no key can hold, or that a unique key takes for equal.
no_keys = st.sampled_from([["next", "next "], [" next"], ["\ud800"], ["next", "next\n"], [" "]]).map(
    lambda jobs: json.dumps([_step("only", ["noop"]), _step("next", jobs)])
)


# Requests that wait for their pick-up --------------------------------------------------------------------------------
def _rows(kind: str, ends: str, **columns: SearchStrategy[Any]) -> SearchStrategy[Row]:
    given = {"action": st.just("made_up"), "steps": st.just(GOOD_STEPS)} | columns
    return st.fixed_dictionaries(given).map(lambda request: Row(kind, ends, request))


no_object = st.one_of(
    (scalars | st.lists(values, max_size=3)).map(json.dumps),
    broken_json,
    deep("[", "]"),
    st.just("null"),
    st.just('"{}"'),
)
QUEUED = (
    _rows("steps that are none", "Failed", steps=unreadable_steps | _lists_with(unknown_step)),
    _rows("params that are no object", "Failed", params=no_object),
    _rows("params that cannot be read", "Failed", params=long_number),
    _rows("an action without a recipe", "Failed", action=unknown_actions | st.just("x" * 100), steps=st.none()),
    _rows("extras that are no object", "Failed", extras=no_object),
    _rows("any object as params", "Completed", params=objects.map(json.dumps) | odd_json | megabyte),
    _rows("any object as extras", "Completed", extras=objects.map(json.dumps) | odd_json | megabyte),
    _rows("any token", "Completed", token=odd_text | st.just("\U0001f4a9" * 64)),
    _rows("any action with steps of its own", "Completed", action=odd_text | st.just("x" * 100)),
    _rows("any step number", "Completed", step=st.sampled_from(["0", "1", str(INT_MAX), str(2**31), str(10**30)])),
    _rows("due long ago", "Completed", due_at=st.just(LONG_AGO)),
    _rows("due in the year 9999", "Queuing", due_at=st.just(NEVER)),
    _rows("steps that repeat", "Inprogress", steps=st.just(json.dumps([_step("a", ["noop"])] * 3))),
    _rows("a token that is too long", "Completed", token=st.integers(65, 300).map(lambda length: "t" * length)),
    _rows("an action that is too long", "Completed", action=st.integers(101, 300).map(lambda length: "a" * length)),
)
unknown_statuses = odd_text.filter(lambda status: status not in RequestStatus.values) | st.sampled_from(
    ["queuing", "Inprogres", "NEW"]
)
REFUSED = (
    _rows("a status that there is none", "refused", status=unknown_statuses),
    _rows("a negative step", "refused", step=st.integers(-INT_MAX, -1)),
    _rows("an end without its time", "refused", status=st.sampled_from(["Completed", "Failed", "Cancelled"])),
    _rows("a time of its end without one", "refused", completed_at=st.just(LONG_AGO)),
    _rows("JSON that is none", "refused", params=broken_json),
    _rows(
        "due before 1970", "refused", due_at=st.sampled_from(["0000-01-01", "0001-01-01", "1969-12-31"]).map(midnight)
    ),
    _rows("no params at all", "refused", params=st.none()),
)


# Requests that somebody wrote as in progress ------------------------------------------------------------------------
def _in_progress(kind: str, ends: str, jobs: SearchStrategy[Any] | None = None, **columns: Any) -> SearchStrategy[Row]:
    given = {"action": st.just("made_up"), "steps": st.just(GOOD_STEPS), "status": st.just("Inprogress")} | columns
    rows = st.tuples() if jobs is None else st.tuples(jobs)
    return st.builds(Row, st.just(kind), st.just(ends), st.fixed_dictionaries(given), rows)


def _job(**columns: SearchStrategy[Any]) -> SearchStrategy[Columns]:
    return st.fixed_dictionaries({"name": st.just("noop"), "step": st.just(0), "attempt": st.just(1)} | columns)


done = _job(status=st.just("completed"), completed_at=st.just(LONG_AGO))
attempts = st.integers(1, INT_MAX)
IN_PROGRESS = (
    _in_progress("steps that are none", "Failed", steps=unreadable_steps | st.none()),
    _in_progress("steps that are none, and a job that is done", "Failed", done, steps=unreadable_steps | st.none()),
    _in_progress("no jobs", "Inprogress"),
    _in_progress("a step that it has not", "Inprogress", step=st.sampled_from([1, 7, INT_MAX])),
    _in_progress("any attempt", "Completed", _job(attempt=attempts, last_attempt=st.integers(-INT_MAX, INT_MAX))),
    _in_progress("a retry at its last", "Failed", _job(name=st.just("retries"), last_attempt=st.integers(-5, 1))),
    _in_progress(
        "a job that this release lacks", "Inprogress", _job(name=unknown_names, last_attempt=st.integers(-5, 1))
    ),
    _in_progress("a job of another step", "Inprogress", _job(step=st.integers(1, INT_MAX))),
    _in_progress("a job that it does not name", "Inprogress", _job(name=st.just("noop_1"))),
    _in_progress("a next step of odd names", "Inprogress", done, steps=odd_next_steps),
    _in_progress("a next step of names that are none", "Failed", done, steps=no_keys),
)
