"""What `WRK_LIMITS` says: the rate, the concurrency and the breaker of each limit, and when it gives permits."""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

MAX_LIMIT_CHARACTERS = 50
LANES_FROM = datetime(9300, 1, 1, tzinfo=UTC)
_PER_SECOND = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RATE = re.compile(r"([1-9][0-9]{0,6})/([smh])")
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_FORMS = {
    "rate": "a whole number a second, a minute or an hour is needed (10/s, 600/m, 90/h)",
    "concurrency": "a whole number from 1 to 999999 is needed",
    "breaker": "a whole number from 1 to 999999 is needed",
}
_EXAMPLE = "service2 rate=600/m concurrency=8 breaker=5"
_MOST_LATE_SECONDS = 0.25
_LATE_SHARE = 0.03  # of the interval: what a permit of one at a time loses of its rate
MOST_SLACK_SECONDS = 5.0  # that a permit may be used later than that, where the database is slow


@dataclass(frozen=True, slots=True)
class LimitRule:
    """`rate`: attempts a second. `concurrency`: at the same time. `breaker`: ends in a row. None: no such limit."""

    name: str
    rate: float | None = None
    concurrency: int | None = None
    breaker: int | None = None

    @property
    def lane(self) -> datetime:
        """The due time of its jobs that wait for a permit. By the name alone, so that all processes agree."""
        return LANES_FROM + timedelta(seconds=zlib.crc32(self.name.encode()))

    @property
    def is_paced(self) -> bool:
        """Whether its jobs are few at a time, so that they may go before others."""
        return self.rate is not None or self.concurrency is not None

    @property
    def interval(self) -> float:
        """Seconds from one permit to the next."""
        return 1 / self.rate if self.rate else 0.0

    @property
    def late(self) -> float:
        """Seconds within which a permit has to be used: an attempt that began later would overlap with the next
        permits and exceed the rate.

        Without a rate, an unused permit would take a place that another process could use.
        """
        if self.rate is None:
            return _MOST_LATE_SECONDS if self.concurrency else math.inf
        return _MOST_LATE_SECONDS if self._burst > 1 else min(_MOST_LATE_SECONDS, _LATE_SHARE * self.interval)

    @property
    def _burst(self) -> int:
        """A second's worth of attempts, which may begin together after a pause."""
        return max(1, math.floor(self.rate or 1))

    @property
    def _ahead(self) -> float:
        """Seconds before its time that a permit may be given: GCRA's tolerance, less what attempts may begin late."""
        return (self._burst - 1) * self.interval - self.late

    @property
    def furthest(self) -> float:
        """The latest time of the next permit that this rule can have set, in seconds from now."""
        return max(0.0, self._ahead) + self.interval + MOST_SLACK_SECONDS

    def permits(self, until_next: float, slack: float = 0.0) -> int | None:
        """How many to give now; None: any number. `until_next`: seconds from now until the next one's time.

        `slack`: seconds that are added to `late`. Source: GCRA, ITU-T I.371, as a virtual schedule.
        """
        if self.rate is None:
            return None
        until_next = self._held(until_next)
        before_time = math.floor((self._ahead - max(0.0, until_next) - slack) / self.interval) + 1
        is_alone = until_next <= -self.late  # a full interval has passed since the last use
        return max(0, before_time, int(is_alone))

    def wait_seconds(self, until_next: float) -> float:
        """Until there is a permit."""
        return max(0.0, self._held(until_next) - self._ahead) if self.rate else 0.0

    def _held(self, until_next: float) -> float:
        """What another rate, or a wrong clock, has set does not hold: then a permit is due."""
        return until_next if until_next <= self.furthest else -self.late

    def __str__(self) -> str:
        per_hour = round((self.rate or 0) * 3600)
        unit, size = next((unit, size) for unit, size in (("s", 3600), ("m", 60), ("h", 1)) if per_hour % size == 0)
        said = {"concurrency": self.concurrency, "breaker": self.breaker}
        parts = [f"rate={per_hour // size}/{unit}"] if self.rate else []
        return " ".join(parts + [f"{key}={value}" for key, value in said.items() if value])


def is_limit_name(text: str) -> bool:
    """Whether WRK_LIMITS can name it."""
    return 0 < len(text) <= MAX_LIMIT_CHARACTERS and text.isprintable() and not set(text) & set(" ;=")


def parse_limits(text: str) -> dict[str, LimitRule]:
    """Raises ValueError with what is wrong and an example."""
    rules: dict[str, LimitRule] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, *words = part.split()
        if not is_limit_name(name):
            raise _fault(f"{name!r} is no name: a limit begins with one, of up to {MAX_LIMIT_CHARACTERS} characters")
        rule = _rule(name, words)
        if twin := next((other for other in rules.values() if other.lane == rule.lane), None):
            by_chance = f"{name}: by chance it has the lane of {twin.name}: rename one of them"
            raise _fault(f"{name} stands there twice" if twin.name == name else by_chance)
        rules[name] = rule
    return rules


def _rule(name: str, words: Sequence[str]) -> LimitRule:
    rule = LimitRule(name)
    for word in words:
        key, _, value = word.partition("=")
        if key not in _FORMS:
            raise _fault(f"{name}: {word!r} is none of rate=, concurrency= and breaker=, and a ; begins the next limit")
        if getattr(rule, key) is not None:
            raise _fault(f"{name}: {key}= stands there twice")
        if (parsed := _value(key, value)) is None:
            raise _fault(f"{name}: {word!r}: {_FORMS[key]}")
        rule = replace(rule, **{key: parsed})  # type: ignore[arg-type] # a rate is a float, the others are whole
    if not words:
        raise _fault(f"{name}: has neither rate= nor concurrency= nor breaker=")
    return rule


def _value(key: str, value: str) -> float | int | None:
    if key == "rate":
        match = _RATE.fullmatch(value)
        return int(match[1]) / _PER_SECOND[match[2]] if match else None
    return int(value) if _COUNT.fullmatch(value) else None


def _fault(what: str) -> ValueError:
    return ValueError(f"{what}; such as: {_EXAMPLE}")
