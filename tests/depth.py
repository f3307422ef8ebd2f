"""How deep the tests marked `long` go: `make test` takes a sample, `make test-long` (TASKER_TEST_LONG=1) takes all."""

import os
from collections.abc import Collection
from itertools import product
from typing import Any

LONG = os.environ.get("TASKER_TEST_LONG") == "1"


def combined(*axes: Collection[Any]) -> list[tuple[Any, ...]]:
    """Every value of each axis in one case at least; in `make test-long` with every value of the others."""
    columns = [list(axis) for axis in axes]
    if LONG:
        return list(product(*columns))
    return [tuple(column[at % len(column)] for column in columns) for at in range(max(map(len, columns)))]
