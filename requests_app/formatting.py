"""How the admin's pages write moments, spans, statuses and JSON. Pure."""

import json
from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

TOO_DEEP = "nested too deep to be shown"
_MOST_CHARACTERS = 100_000  # of one JSON value


def badge(status: str, text: str) -> SafeString:
    return format_html('<span class="tasker-status tasker-{}">{}</span>', status.lower(), text)


def clock(moment: datetime | None) -> str:
    """In UTC, like everything here."""
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"


def span(start: datetime | None, end: datetime | None) -> str:
    """How long it took; empty when it has not ended."""
    if start is None or end is None:
        return ""
    return duration((end - start).total_seconds())


def duration(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds) % 60} s"


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def in_the_middle(text: str, most: int) -> str:
    """Shortened there: names that are long differ at their ends."""
    head = most // 2
    return text if len(text) <= most else f"{text[:head]}…{text[head + 1 - most :]}"


def pretty(value: object) -> str:
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        return TOO_DEEP
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "\n… (cut)"
