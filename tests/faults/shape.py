"""The tables but for what differs from run to run: from two that are alike in this the passes go on alike."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Shape = tuple[str, ...]
_FAR_AWAY = 2100  # whoever is put off until a year after this waits for something else than that time


def shape_of(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Shape:
    """Every row of them with all that decides what is done with it, in no order."""
    tokens = {row["id"]: row["token"] for row in tables["requests"]}
    return tuple(sorted(f"{table} {_stable(row, tokens)}" for table, rows in tables.items() for row in rows))


def _stable(row: Mapping[str, Any], tokens: Mapping[int, str]) -> dict[str, Any]:
    """Ids are counted on from run to run, claims have random names, and `Life.make_all_due` makes near times due."""
    return {name: _without_run(name, value, tokens) for name, value in row.items() if name != "id"}


def _without_run(name: str, value: Any, tokens: Mapping[int, str]) -> Any:
    if isinstance(value, datetime) and value.year < _FAR_AWAY:
        return "a time"
    match name:
        case "claimed_by":
            return value and "a worker"
        case "request_id":
            return tokens[value]
    return value
