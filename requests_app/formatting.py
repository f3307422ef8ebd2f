"""How moments, spans of time, paces and JSON are written for people, and read from what people write. Pure."""

import json
import re
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from jobs_app.outcomes import storable_text

TOO_DEEP = "cannot be read: nested too deep"
_MOST_JSON_CHARACTERS = 100_000  # of one value
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_MOST_SPAN = timedelta(days=36_500)  # from any moment of our days, the engines have a date for it
_MOST_LEVELS = 500  # Python's own writer with an indent calls itself for each, and may do so 1,000 times


def short_by(jobs: int) -> str:
    """Of a request that went on without so many jobs."""
    return f"{jobs} job{'' if jobs == 1 else 's'} short"


# Moments, in UTC ------------------------------------------------------------------------------------------------------
def clock(moment: datetime | None) -> str:
    """For pages, each of which says once that its times are UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"


def clock_utc(moment: datetime | None) -> str:
    """For sentences."""
    return f"{clock(moment)} UTC" if moment else "an unknown time"


def iso(moment: datetime | None) -> str | None:
    """For programs and logs: ISO 8601, to the millisecond."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z" if moment else None


# Spans ----------------------------------------------------------------------------------------------------------------
def span(start: datetime | None, end: datetime | None) -> str:
    """How long it took; empty when it has not ended."""
    if start is None or end is None:
        return ""
    return duration((end - start).total_seconds())


def ago(moment: datetime, now: datetime) -> str:
    return f"{duration(int((now - moment).total_seconds()))} ago"


def duration(seconds: float) -> str:
    seconds = max(0.0, round(seconds, 4))  # of a smaller number Python would write an exponent
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds) % 60} s"


def parse_duration(text: str) -> timedelta:
    """A span of time as people write it: 30d, 12h. Raises ValueError with a sentence that has an example."""
    match = re.fullmatch(r"([1-9][0-9]{0,7})([wdhms])", text)
    parsed = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else _MOST_SPAN * 2
    if parsed > _MOST_SPAN:
        raise ValueError(
            f"{text!r} is no span of time: a whole number from 1 with w, d, h, m or s behind it is needed, "
            f"such as 90d or 12h; at most {_MOST_SPAN.days}d"
        )
    return parsed


def parse_pace(text: str) -> float:
    """Of 10/s, 90/m: seconds from one to the next. Raises ValueError with a sentence that has an example."""
    if match := re.fullmatch(r"([1-9][0-9]{0,5})/([hms])", text):
        return timedelta(**{_UNITS[match[2]]: 1}).total_seconds() / int(match[1])
    raise ValueError(f"{text!r} is no pace: so many a second, minute or hour are needed, such as 10/s, 90/m or 100/h")


# JSON -----------------------------------------------------------------------------------------------------------------
def read_json(text: str | None, most: int | None = None) -> Any:
    """The value of a column that anybody may have written. `most`: characters; a longer text is not read.

    Raises ValueError with a sentence to show in its place.
    """
    if text is None:
        return None
    if most is not None and len(text) > most:
        raise ValueError(f"more than {most:,} characters: too large to be shown")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(f"cannot be read: {str(error).partition(';')[0]}") from error
    if _is_deep(value, text):
        raise ValueError(TOO_DEEP)
    return value


def _is_deep(value: object, text: str) -> bool:
    """From Python 3.12 on, what is read may be deeper than what can be written again with an indent."""
    if text.count("[") + text.count("{") <= _MOST_LEVELS:
        return False
    level, depth = [value], 0
    while level and depth <= _MOST_LEVELS:
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level, depth = list(chain.from_iterable(parts)), depth + 1
    return depth > _MOST_LEVELS


def pretty(value: object) -> str:
    """Written only as far as it is shown: indented, a deep value may be a thousand times as long."""
    parts, characters = [], 0
    try:
        for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
            parts.append(part)
            characters += len(part)
            if characters > _MOST_JSON_CHARACTERS:
                break
    except RecursionError:
        return TOO_DEEP
    text = storable_text("".join(parts))
    return text if len(text) <= _MOST_JSON_CHARACTERS else text[:_MOST_JSON_CHARACTERS] + "\n… (cut)"
