"""How pages write spans and JSON, and how values are hidden."""

import json
from datetime import timedelta
from typing import Any

import pytest

from requests_app import formatting
from requests_app.admin.masking import masked
from requests_app.formatting import pretty, read_json
from tests.requests_app.admin.test_requests import MOMENT


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.000_12, "0.0001 s"),
        (0.0123, "0.0123 s"),
        (9.876, "9.88 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (7260, "2 h 1 min"),
        (190_000, "2 d 4 h"),
    ],
)
def test_spans_are_written_for_people(seconds: float, text: str) -> None:
    assert formatting.span(MOMENT, MOMENT + timedelta(seconds=seconds)) == text


def test_a_huge_value_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formatting, "_MOST_JSON_CHARACTERS", 100)
    assert pretty({"x": "y" * 500}).endswith("… (cut)")
    assert "y" * 101 not in pretty({"x": "y" * 500})


def test_masked_json_keeps_structure_and_keys_and_no_value() -> None:
    value = {"id": 4711, "who": {"email": "ann@x.org", "tags": ["a", True, None, 1.5]}, "none": {}}
    assert " ".join(masked(value).split()) == (
        '{ "id": <number of 4>, "who": { "email": <text of 9>, "tags": '
        '[ <text of 1>, <true or false>, null, <number of 3> ] }, "none": {} }'
    )


@pytest.mark.parametrize("value", ["secret", 12345, -1.5, True, None, [], [["secret"]], {"k": "<secret>"}])
def test_no_value_of_any_kind_is_seen_through_the_mask(value: Any) -> None:
    for seen in ("secret", "12345", "1.5", "True", "true,"):
        assert seen not in masked(value)


def test_what_is_nested_too_deep_is_said_or_cut() -> None:
    deep: Any = json.loads("[" * 900 + "]" * 900)
    for _ in range(2000):
        deep = [deep]
    assert masked(deep) == formatting.TOO_DEEP
    assert pretty(deep).endswith("(cut)")
    assert len(pretty(deep)) < 101_000


@pytest.mark.parametrize("text", ['{"a": ' * 600 + "1" + "}" * 600, "[" * 600 + "]" * 600], ids=["objects", "lists"])
def test_what_can_be_read_but_not_be_written_with_an_indent_is_too_deep(text):
    with pytest.raises(ValueError, match=r"^cannot be read: nested too deep$"):
        read_json(text)


def test_many_values_are_not_deep():
    value = {"a": [[] for _ in range(2000)], "b": json.loads("[" * 499 + "]" * 499)}
    assert read_json(json.dumps(value)) == value
