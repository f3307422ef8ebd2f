"""The tables but for what differs from run to run: from two that are alike in this the passes go on alike."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

Shape = tuple[str, ...]
_FAR_AWAY = 2100  # whoever is put off until a year after this waits for something else than that time


def shape_of(tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> Shape:
    """Every row of them with all that decides what is done with it, in no order."""
    return tuple(sorted(f"{table} {_stable(row)}" for table, rows in tables.items() for row in rows))


def _stable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Ids are counted on from run to run, claims have random names, and `Life.make_all_due` makes near times due."""
    return {name: _without_run(name, value) for name, value in row.items() if name != "id"}


def _without_run(name: str, value: Any) -> Any:
    if isinstance(value, datetime) and value.year < _FAR_AWAY:
        return "a time"
    return "a worker" if name == "claimed_by" and value else value
