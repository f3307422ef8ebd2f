"""What a recipe demands of params: each fault has its place and its remedy, and nothing of params is said."""

import json
import socket
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requests_app.recipes.params.check import MOST_FAULTS, ParamsCheck

SECRET = "Jane Roe, jane@example.org"  # as a value or as a key: never to be said
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "mail": {"type": "string", "format": "email", "maxLength": 30},
        "kind": {"enum": ["private", "business"]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}, "uniqueItems": True},
        "contacts": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"const": 1}}}},
        "address": {"$ref": "#/$defs/address"},
        "either": {"oneOf": [{"type": "integer"}, {"type": "object", "required": ["x"]}]},
        "keys": {"propertyNames": {"maxLength": 3}},
        "when": {"format": "date-time"},
        "none": False,
    },
    "required": ["id"],
    "additionalProperties": False,
    "$defs": {"address": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}},
}

NAMES = ", ".join(f'"{name}"' for name in SCHEMA["properties"])


def faults(params: dict[str, Any], demanded: Any = SCHEMA) -> list[str]:
    check = ParamsCheck(demanded)
    assert check.schema_fault == ""
    return check.faults(params)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "params.id: missing; an integer is needed"),
        ({"id": SECRET}, "params.id: an integer is needed"),
        ({"id": True}, "params.id: an integer is needed"),
        ({"id": 7.0}, "params.id: an integer is needed"),
        ({"id": 0}, "params.id: a number of at least 1 is needed"),
        ({"mail": "Jane Roe"}, "params.mail: a string of the format email is needed"),
        ({"mail": SECRET * 9}, "params.mail: at most 30 characters are allowed"),
        ({"kind": SECRET}, 'params.kind: one of "private", "business" is needed'),
        ({"tags": ["a", SECRET]}, "params.tags[1]: a string that matches ^[a-z]+$ is needed"),
        ({"tags": ["a", "b", "a"]}, "params.tags: no item may stand there twice"),
        ({"contacts": {SECRET: SECRET}}, "params.contacts.*: an object is needed"),
        ({"contacts": {SECRET: {"n": SECRET}}}, "params.contacts.*.n: 1 is needed"),
        ({"address": {}}, "params.address.city: missing; a string is needed"),
        ({"either": SECRET}, "params.either: an integer or an object is needed"),
        ({"either": {}}, "params.either.x: missing"),
        ({"keys": {SECRET: 1}}, "params.keys (one of its keys): at most 3 characters are allowed"),
        ({"when": "2026-01-31"}, "params.when: a string of the format date-time is needed"),
        ({"none": SECRET}, "params: a value that is not allowed"),
        ({SECRET: SECRET}, f"params: a key that is not allowed; allowed: {NAMES}"),
    ],
    ids=str,
)
def test_a_fault_has_its_place_and_its_remedy(params: dict[str, Any], says: str):
    found = faults({"id": 7} | params if params else {})
    assert found == [says]


def test_good_params_have_no_fault():
    assert faults({"id": 7, "mail": "a@b.example", "kind": "private", "tags": ["a", "b"], "either": 3}) == []
    assert faults({"id": 7, "when": "2026-01-31T08:30:00Z", "address": {"city": "Bern", "more": 1}}) == []


JSON = st.recursive(
    st.just(SECRET) | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([SECRET, *SCHEMA["properties"], "n"]), inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([SECRET, *SCHEMA["properties"]]), JSON))
def test_nothing_of_params_is_said_and_nothing_is_raised(params: dict[str, Any]):
    said = "\n".join(CHECK.faults(params))
    assert SECRET not in said
    assert "Jane" not in said


CHECK = ParamsCheck(SCHEMA)


def test_many_faults_are_cut_to_some():
    found = faults({"id": 7, "tags": list(range(500))})
    assert len(found) == MOST_FAULTS + 1
    assert found[-1] == "and more"


def test_what_is_odd_is_a_fault_and_no_exception():
    deep: Any = SECRET
    for _ in range(2000):
        deep = {"next": deep}
    list_of_lists = {"properties": {"next": {"$ref": "#"}}, "type": "object"}
    assert faults(deep, list_of_lists) == ["params: nested too deep to be checked"]
    assert faults({"n": 10**400}, {"properties": {"n": {"multipleOf": 0.1}}}) == [
        "params: they cannot be checked (OverflowError)"
    ]
    text = json.dumps({"id": 7}).replace("7", "7" * 5000)
    assert CHECK.faults_in_text(text)[0].startswith("params: not readable as JSON: Exceeds the limit (4300 digits)")
    assert CHECK.faults_in_text('{"id":' * 100_000) == ["params: not readable as JSON: nested too deep"]
    twice = "params: not readable as JSON: a key stands twice in the same object"
    assert CHECK.faults_in_text('{"id": 7, "id": 8}') == [twice]
    assert CHECK.faults_in_text(None)[0].startswith("params: more than 65536 bytes")


def test_what_is_unique_is_told_without_comparing_each_with_each():
    items = [*range(5000), *({"n": number} for number in range(5000)), True, "1", [1], 1.5]
    demanded = {"properties": {"all": {"uniqueItems": True}}}
    assert faults({"all": items}, demanded) == []
    for again in ({"n": 7.0}, 1.0, [1], True):
        assert faults({"all": [*items, again]}, demanded) == ["params.all: no item may stand there twice"]


# The recipe's own fault -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("demanded", "says"),
    [
        ({"type": "intt"}, "$.type: 'intt' is not valid under any of the given schemas"),
        ({"properties": {"a": {"pattern": "("}}}, "$.properties.a.pattern: '(' is not a 'regex'"),
        ({"id": {"type": "integer"}}, '"id" is no keyword of JSON Schema; keys of params stand in "properties"'),
        ({"id": int}, "it is no JSON: Object of type type is not JSON serializable"),
        ({"$schema": "https://example.org/mine"}, "is not known; leave it out"),
        ({"$ref": "https://example.org/schema"}, 'is not fetched; copy it into "$defs"'),
        ({"properties": {"a": {"$ref": "file.json#/a"}}}, 'is not fetched; copy it into "$defs"'),
        ({"$ref": "#/$defs/lost"}, '$ref: there is nothing at "#/$defs/lost" in this schema'),
        ({"$ref": "#"}, "it leads back to itself without an end"),
        ("object", "str where a JSON Schema (a dict) or a dataclass is needed"),
        (int, "type where a JSON Schema (a dict) or a dataclass is needed"),
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_used_says_why(demanded: Any, says: str):
    check = ParamsCheck(demanded)
    assert says in check.schema_fault
    assert check.faults({"id": 7}) == [f"params: the recipe's own schema cannot be used ({check.schema_fault})"]


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a schema was to be fetched")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for keyword in ("$ref", "$dynamicRef"):
        assert ParamsCheck({keyword: "http://127.0.0.1:9/schema"}).schema_fault
    with_id = {
        "$id": "http://127.0.0.1:9/schema",
        "properties": {"a": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"type": "null"}},
    }
    assert faults({"a": 1}, with_id) == ["params.a: null is needed"]


def test_an_older_draft_is_read_as_it_says():
    draft = {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "integer"}}}
    assert faults({"n": "7"}, draft | {"properties": {"n": {"$ref": "#/definitions/n"}}}) == [
        "params.n: an integer is needed"
    ]


# A dataclass ----------------------------------------------------------------------------------------------------------
class Kind(Enum):
    PRIVATE = "private"
    BUSINESS = 2


class Colour(StrEnum):
    RED = "red"


@dataclass
class Line:
    sku: str
    count: int = 1
    inside: Optional["Line"] = None


@dataclass
class Order:
    id: int
    name: str | None
    lines: list[Line]
    kind: Kind
    paid: bool = False
    total: float = 0.0
    how: Literal["post", 3, None] = None
    prices: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    bare: list = field(default_factory=list)  # type: ignore[type-arg]
    first: Line | None = None
    colour: Colour | None = None
    made: int = field(init=False, default=0)


GOOD = {"id": 7, "name": None, "lines": [{"sku": "a", "inside": {"sku": "b"}}], "kind": "private"}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"id": "7"}, "params.id: an integer is needed"),
        ({"name": 7}, "params.name: a string or null is needed"),
        ({"lines": [{"sku": "a", "inside": {"sku": 7}}]}, "params.lines[0].inside.sku: a string is needed"),
        ({"lines": [{}]}, "params.lines[0].sku: missing; a string is needed"),
        ({"lines": SECRET}, "params.lines: a list is needed"),
        ({"lines": [SECRET]}, "params.lines[0]: an object is needed"),
        ({"kind": SECRET}, 'params.kind: one of "private", 2 is needed'),
        ({"paid": 1}, "params.paid: true or false is needed"),
        ({"total": "7"}, "params.total: a number is needed"),
        ({"how": SECRET}, 'params.how: one of "post", 3, null is needed'),
        ({"prices": {SECRET: SECRET}}, "params.prices.*: a number is needed"),
        ({"first": 7}, "params.first: an object or null is needed"),
        (
            {"first": {"sku": "a", SECRET: 1}},
            'params.first: a key that is not allowed; allowed: "sku", "count", "inside"',
        ),
        ({"colour": "blue"}, 'params.colour: one of "red", null is needed'),
        ({"made": 7}, "params: a key that is not allowed; allowed: "),
    ],
    ids=str,
)
def test_a_dataclass_says_what_is_needed(params: dict[str, Any], says: str):
    [found] = faults(GOOD | params, Order)
    assert found.startswith(says)


def test_what_a_dataclass_has_a_default_for_may_be_missing():
    assert faults(GOOD, Order) == []
    more: dict[str, Any] = {
        "extra": {"a": [{}]},
        "bare": [1, "a"],
        "first": None,
        "colour": "red",
        "total": 7,
        "how": 3,
        "kind": 2,
    }
    assert faults(GOOD | more, Order) == []
    assert [said.partition(";")[0] for said in faults({}, Order)] == [
        f"params.{name}: missing" for name in ("id", "name", "lines", "kind")
    ]


def _made_of(hint: Any) -> type:
    return dataclass(type("Made", (), {"__annotations__": {"a": hint}, "__module__": __name__}))


@pytest.mark.parametrize(
    ("hint", "says"),
    [
        (int | str, "Made.a: int | str has no form in JSON here; str, int, float, bool, Optional, list, dict, Literal"),
        (bytes, "Made.a: bytes has no form in JSON here"),
        (list[set], "Made.a[]: set has no form in JSON here"),  # type: ignore[type-arg]
        (dict[str, complex], "Made.a{}: complex has no form in JSON here"),
        (dict[int, str], "Made.a: dict[int, str] has no form in JSON here"),
        (tuple[int, str], "Made.a: tuple[int, str] has no form in JSON here"),
        (Literal[b"x"], "Made.a: b'x' is no value of JSON"),
        ("Decimal", "Made: its annotations cannot be read: name 'Decimal' is not defined"),
    ],
    ids=str,
)
def test_what_has_no_form_in_json_is_refused_with_its_place(hint: Any, says: str):
    assert ParamsCheck(_made_of(hint)).schema_fault.startswith(says)
