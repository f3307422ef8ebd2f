"""A time axis: moments to coordinates, and ticks at round times in UTC. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

_MOST_TICKS = 8
_DAY = 86_400.0
_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY, 180 * _DAY, 365 * _DAY),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """`left` and `width` are where it is drawn."""

    begin: datetime
    span: timedelta
    left: float
    width: float

    @property
    def end(self) -> datetime:
        return self.begin + min(self.span, _LATEST - self.begin)

    def x(self, moment: datetime) -> float:
        """A moment outside of the axis is put at its nearer end."""
        share = (moment - self.begin) / self.span
        return round(self.left + self.width * min(1.0, max(0.0, share)), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """At most eight, at multiples of a second, minute, hour or day that people count in."""
        seconds = self.span.total_seconds()
        step = next((step for step in _STEPS if seconds / step <= _MOST_TICKS), None)
        step = step or _STEPS[-1] * ceil(seconds / _MOST_TICKS / _STEPS[-1])
        first, last = (ceil((moment - _EPOCH).total_seconds() / step) for moment in (self.begin, self.end))
        moments = (_EPOCH + timedelta(seconds=step * number) for number in range(first, last))
        return tuple(Tick(self.x(moment), _label(moment, step)) for moment in moments)


def _label(moment: datetime, step: float) -> str:
    if step >= _DAY:
        return f"{moment:%Y-%m-%d}"
    if step >= 60:
        return f"{moment:%H:%M}" if moment.hour or moment.minute else f"{moment:%Y-%m-%d}"
    milliseconds = f".{moment.microsecond // 1000:03}" if step < 1 else ""
    return f"{moment:%H:%M:%S}{milliseconds}"
