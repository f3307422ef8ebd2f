"""What the figures should be, and the table that says which are. A goal belongs to the engines that it names."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Figures = Mapping[str, Sequence[float]]
MARIADB, MYSQL, SQLITE = "MariaDB", "MySQL", "SQLite"


@dataclass(frozen=True, slots=True)
class Goal:
    """The median of `figure` is to be `at_least` or `at_most` this. A figure that was not measured meets nothing."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    engines: tuple[str, ...] = (MARIADB,)

    def says(self) -> str:
        limit = self.at_most if self.at_least is None else self.at_least
        return f"{'at most' if self.at_least is None else 'at least'} {limit or 0:,g}"

    def met(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


# Ratios to what was run in the same minutes, for a figure depends on the machine; two are what a user waits for.
GOALS = (
    Goal("no-op: ours / raw loop", at_least=0.65),
    Goal("no-op: ours / raw loop", at_least=0.3, engines=(SQLITE,)),
    Goal("extras merged: ours / raw loop", at_least=0.45),  # the loop knows what is merged: no lock, no look, no Python
    Goal("extras merged: ours / raw loop", at_least=0.2, engines=(SQLITE,)),
    Goal("20 ms: ours / bare threads", at_least=0.95),
    Goal("HTTP, 20 ms: ours / bare loop", at_least=0.9),
    Goal("latency when busy: ours / raw loop", at_most=3),
    Goal("record delay, no-op, seen: most ms", at_most=100, engines=(MARIADB, MYSQL, SQLITE)),
    Goal("idle pass beside 100,000 waiting: ms", at_most=1000),
    Goal("memory: 1,000,000 queued / 1,000", at_most=1.1),
    Goal("a limit, 100,000 wait / nobody", at_least=0.95),
    Goal("2 processes: ours / raw loop", at_least=0.9),
    Goal("2 processes / 1", at_least=1.0, engines=(MARIADB, MYSQL)),
    Goal("8 processes / 2", at_least=0.7),
    Goal("largest / empty table: worker, jobs/s", at_least=0.9),
    *(
        Goal(f"largest / empty table: {name}, idle, s", at_most=1.1)
        for name in ("run_new_requests", "run_jobs", "run_inprogress_requests")
    ),
)


GOALS_HEADER = ("goal", "limit", "median", "worst", "met")


def goals_table(figures: Figures, engine: str) -> list[tuple[str, ...]]:
    """Rows of GOALS_HEADER, of the goals whose figures were measured. Whether one is met tells the median."""
    rows: list[tuple[str, ...]] = []
    for goal in GOALS:
        if engine in goal.engines and (values := figures.get(goal.figure)):
            median = statistics.median(values)
            worst = max(values) if goal.at_least is None else min(values)
            rows.append((goal.figure, goal.says(), number(median), number(worst), "yes" if goal.met(median) else "NO"))
    return rows


def figures_table(figures: Figures) -> list[tuple[str, ...]]:
    """Rows of figure, median, least, most."""
    return [
        (name, *(number(value) for value in (statistics.median(values), min(values), max(values))))
        for name, values in figures.items()
    ]


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}" if abs(value) < 1 else f"{value:,.2f}"


def as_text(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in [header, *rows]
    )
