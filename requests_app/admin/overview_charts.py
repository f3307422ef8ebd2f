"""The overview's two bar charts of what ended: numbers to coordinates. Pure; units are those of the SVG's viewBox."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from requests_app.formatting import clock, duration
from requests_app.monitoring.ended_attempts import OUTCOMES, SLOT_SECONDS, EndedAttempts

WIDTH, HEIGHT = 560.0, 170.0
_LEFT, _TOP, _BOTTOM = 52.0, 12.0, 24.0
_LEAST_HEIGHT = 3.0  # of one failure beside a million
_HOUR_SLOTS, _DAY_HOURS = 12, 24


@dataclass(frozen=True, slots=True)
class Column:
    """What happened in one stretch of time. `counts`: by kind, to be stacked in this order from below."""

    label: str
    title: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Piece:
    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`lines`: y of the grid, with their numbers. `totals`: by kind. `text`: the same for screen readers."""

    width: float
    height: float
    bottom: float
    left: float
    pieces: tuple[Piece, ...]
    lines: tuple[Label, ...]
    labels: tuple[Label, ...]
    totals: dict[str, int]
    text: str

    @property
    def legend(self) -> list[tuple[str, str]]:
        return [(kind, f"{count:,} {kind}") for kind, count in self.totals.items()]


def charts(ended: EndedAttempts, now: datetime) -> tuple[Chart, Chart]:
    """Of the last hour in five minutes each, and of the last day in hours."""
    seconds = int(now.timestamp())
    last, last_hour = seconds - seconds % SLOT_SECONDS, seconds - seconds % 3600
    hour = [_column(ended, last - SLOT_SECONDS * back, SLOT_SECONDS) for back in reversed(range(_HOUR_SLOTS))]
    day = [_column(ended, last_hour - 3600 * back, 3600) for back in reversed(range(_DAY_HOURS))]
    return chart("The last hour", hour, 3), chart("The last day", day, 4)


def _column(ended: EndedAttempts, first: int, seconds: int) -> Column:
    begin = datetime.fromtimestamp(first, UTC)
    parts = [ended.slots.get(slot, {}) for slot in range(first, first + seconds, SLOT_SECONDS)]
    counts = {outcome.label: sum(part.get(outcome, 0) for part in parts) for outcome in OUTCOMES}
    said = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())
    return Column(f"{begin:%H:%M}", f"{clock(begin)}, {duration(seconds)}: {said}", counts)


def chart(name: str, columns: Sequence[Column], label_every: int) -> Chart:
    top = nice(max((sum(column.counts.values()) for column in columns), default=0))
    bottom = HEIGHT - _BOTTOM
    share = (WIDTH - _LEFT) / max(1, len(columns))
    pieces, labels = [], []
    for index, column in enumerate(columns):
        x = _LEFT + index * share
        pieces += _stack(column, round(x + share * 0.12, 1), round(share * 0.76, 1), bottom, top)
        if index % label_every == 0:
            labels.append(Label(round(x + share / 2, 1), HEIGHT - 7, column.label))
    values = (0, top) if top == 1 else (0, top // 2, top)
    lines = [Label(_LEFT, round(bottom - (bottom - _TOP) * value / top, 1), short(value)) for value in values]
    totals = _totals(columns)
    text = f"{name}: {', '.join(f'{count:,} {kind}' for kind, count in totals.items())}."
    return Chart(WIDTH, HEIGHT, bottom, _LEFT, tuple(pieces), tuple(lines), tuple(labels), totals, text)


def _stack(column: Column, x: float, width: float, bottom: float, top: int) -> list[Piece]:
    pieces, y = [], bottom
    for kind, count in column.counts.items():
        if count:
            height = round(max(_LEAST_HEIGHT, (bottom - _TOP) * count / top), 1)
            y = round(y - height, 1)
            pieces.append(Piece(kind, x, y, width, height, column.title))
    return pieces


def short(value: int) -> str:
    for size, unit in ((1_000_000, "m"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return str(value)


def nice(most: int) -> int:
    """The smallest of 1, 2, 4, 10, 20, 40, .. that is not less."""
    top = 1
    while top < most:
        top = top * 2 if str(top)[0] in "12" else top * 10 // 4
    return top


def _totals(columns: Sequence[Column]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for column in columns:
        for kind, count in column.counts.items():
            totals[kind] = totals.get(kind, 0) + count
    return totals
