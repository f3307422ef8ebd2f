"""What a callback may return, and what is made of it before it is saved."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import pytest

from jobs_app.outcomes import MAX_EXTRAS_BYTES, Completed, Failed, JobContext, completed, json_object, storable_text


@pytest.mark.parametrize(
    "returned",
    [
        {},
        {"a": 1},
        {"a": [1, 2.5, "x", None, True, {"b": {}}]},
        {"é": "😀", "": ""},
        OrderedDict(a=1),
        MappingProxyType({"a": 1}),
        {"a": (1, 2)},
        {"big": 2**63 - 1, "small": -(2**63)},
    ],
    ids=str,
)
def test_a_mapping_is_kept_as_json(returned: Mapping[str, object]) -> None:
    outcome = completed(returned)
    assert isinstance(outcome, Completed)
    assert json.loads(outcome.extras or "") == json.loads(json.dumps(dict(returned)))


def test_none_is_nothing_to_keep() -> None:
    assert completed(None) == Completed(None)


@pytest.mark.parametrize(
    "returned",
    [[], [1], "text", 7, 0, False, True, b"{}", {1, 2}, object(), lambda: None],
    ids=lambda value: type(value).__name__,
)
def test_anything_but_a_mapping_is_a_failure_that_says_so(returned: object) -> None:
    outcome = completed(returned)
    assert isinstance(outcome, Failed)
    assert outcome.error == f"the callback returned {type(returned).__name__}: return a mapping or None"


def nested(depth: int) -> dict[str, object]:
    return {"a": nested(depth - 1)} if depth > 1 else {}


ENDLESS: dict[str, object] = {}
ENDLESS["itself"] = ENDLESS


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ({"at": datetime(2026, 1, 1, tzinfo=UTC)}, "a value of type datetime"),
        ({"raw": b"x"}, "a value of type bytes"),
        ({"set": {1}}, "a value of type set"),
        ({7: "x"}, "a key of type int"),
        ({None: "x"}, "a key of type NoneType"),
        ({"a": {0: 1}}, "a key of type int"),
        ({"a": [{False: 1}]}, "a key of type bool"),
        ({"a": float("nan")}, "nan has no form in JSON"),
        ({"a": float("inf")}, "inf has no form in JSON"),
        ({"a": 2**63}, "an integer of 64 bits"),
        ({"a": -(2**80)}, "more than 64"),
        (nested(31), "nested deeper than 30 levels"),
        (ENDLESS, "nested deeper than 30 levels"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_json_object_is_a_failure_that_names_it(returned: object, says: str) -> None:
    outcome = completed(returned)
    assert isinstance(outcome, Failed)
    assert outcome.error.startswith("the callback returned what is not a JSON object: ")
    assert says in outcome.error


def test_thirty_levels_are_kept() -> None:
    assert isinstance(completed(nested(30)), Completed)


@pytest.mark.parametrize(("letter", "size"), [("x", 1), ("é", 2), ("😀", 4)])
def test_64_kib_are_kept_and_a_byte_more_is_a_failure(letter: str, size: int) -> None:
    frame = len('{"a":""}')
    most = {"a": "x" * ((MAX_EXTRAS_BYTES - frame) % size) + letter * ((MAX_EXTRAS_BYTES - frame) // size)}
    kept = completed(most)
    assert isinstance(kept, Completed)
    assert len((kept.extras or "").encode()) == MAX_EXTRAS_BYTES == 64 * 1024
    refused = completed({"a": most["a"] + "x"})
    assert refused == Failed("the callback returned 65537 bytes of JSON: at most 65536 are kept")


def test_a_lone_surrogate_is_replaced_and_a_pair_is_one_character() -> None:
    assert completed({"a\ud800": "b\udfff"}) == Completed('{"a\ufffd":"b\ufffd"}')
    assert storable_text("\ud83d\ude00") == "😀"


def test_what_is_changed_after_the_return_is_not_kept() -> None:
    returned = {"a": [1]}
    outcome = completed(returned)
    returned["a"].append(2)
    assert outcome == Completed('{"a":[1]}')


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def test_a_mapping_of_its_own_kind_may_break_and_that_is_the_callbacks_bug() -> None:
    with pytest.raises(RuntimeError):  # run_callback turns it into a retry with its traceback
        completed(Broken())


@pytest.mark.parametrize("text", ["[1]", "null", "7", "nope", "", "[" * 100_000, '{"a": ' * 100_000])
def test_what_is_no_json_object_is_said_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as fault:
        json_object(text)
    assert "\n" not in str(fault.value)


def test_the_idempotency_key_is_the_same_for_every_attempt() -> None:
    keys = {JobContext("tok", "act", 2, "a_job", attempt, {}, {}).idempotency_key for attempt in (1, 2, 9)}
    assert keys == {"tok:2:a_job"}
