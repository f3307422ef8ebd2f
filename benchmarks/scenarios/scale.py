"""How much of a scenario is run, and what a scenario is."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps

from benchmarks.workload import clear

Measures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """`repeat`: how often each figure is measured. `quick`: only to see that it works; its figures mean nothing."""

    repeat: int = 3
    quick: bool = False

    def rows(self, count: int) -> int:
        return max(40, count // 20) if self.quick else count

    def seconds(self, seconds: float) -> float:
        return seconds / 10 if self.quick else seconds


Scenario = Callable[[Scale], Iterator[Measures]]


def repeated(measure: Callable[[Scale], Measures]) -> Scenario:
    """A scenario of one measurement, made on empty tables each time."""

    @wraps(measure)
    def scenario(scale: Scale) -> Iterator[Measures]:
        for _ in range(scale.repeat):
            clear()
            yield measure(scale)

    return scenario


def say(text: str) -> None:
    """Progress, within a long scenario."""
    print(f"    {text}", file=sys.stderr, flush=True)
