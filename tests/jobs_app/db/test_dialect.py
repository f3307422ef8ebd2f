"""The pieces of SQL that hold values as text."""

from typing import Any

import pytest

from jobs_app.db.dialect import case, numbers


def test_numbers_are_a_list_for_in() -> None:
    assert numbers([3, 2**63 - 1, -1]) == "3, 9223372036854775807, -1"


@pytest.mark.parametrize("strange", ["1) OR (1=1", "", None])
def test_what_is_no_number_never_gets_into_a_statement(strange: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        numbers([1, strange])
    with pytest.raises((TypeError, ValueError)):
        case({strange: "value"})


def test_values_are_bound() -> None:
    assert case({7: "it's", 8: "x"}, "error") == "CASE id WHEN 7 THEN %s WHEN 8 THEN %s ELSE error END"
    assert case({}, "error") == "error"
