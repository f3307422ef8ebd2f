"""Spans of time and paces as people write them, in commands, forms and recipes: 30d, 12h, 10/s. Pure."""

import re
from datetime import timedelta

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_MOST = timedelta(days=36_500)  # from any moment of our days, the engines have a date for it


def parse_duration(text: str) -> timedelta:
    """Raises ValueError with a sentence that has an example."""
    match = re.fullmatch(r"([1-9][0-9]{0,7})([wdhms])", text)
    span = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else _MOST * 2
    if span > _MOST:
        raise ValueError(
            f"{text!r} is no span of time: a whole number from 1 with w, d, h, m or s behind it is needed, "
            f"such as 90d or 12h; at most {_MOST.days}d"
        )
    return span


def parse_pace(text: str) -> float:
    """Seconds from one to the next. Raises ValueError with a sentence that has an example."""
    if match := re.fullmatch(r"([1-9][0-9]{0,5})/([hms])", text):
        return timedelta(**{_UNITS[match[2]]: 1}).total_seconds() / int(match[1])
    raise ValueError(f"{text!r} is no pace: so many a second, minute or hour are needed, such as 10/s, 90/m or 100/h")
