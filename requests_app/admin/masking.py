"""Hides values and keeps their shape: what a page shows to people who may not, or need not, see personal data. Pure."""

import re
from typing import Any

from jobs_app.printable import shortened
from requests_app.formatting import TOO_DEEP, pretty
from requests_app.models.subjects import cleaned

_MARKED = re.compile(r'"(<(?:text of \d+|number of \d+|true or false)>)"')

_MOST_SUBJECT = 100
_HASH_CHARACTERS = 8


def mask(value: object) -> Any:
    """The same structure and keys, for `pretty`; in place of a value its kind and length. null stays null."""
    match value:
        case dict():
            return {key: mask(inner) for key, inner in value.items()}
        case list():
            return [mask(inner) for inner in value]
        case str():
            return f"<text of {len(value)}>"
        case bool():
            return "<true or false>"
        case int() | float():
            return f"<number of {len(str(value))}>"
    return None


def masked(value: object) -> str:
    """As JSON text, but without quotes around a placeholder, so that nobody takes it for a value."""
    try:
        return _MARKED.sub(r"\1", pretty(mask(value)))
    except RecursionError:
        return TOO_DEEP


def masked_subject(subject: str | bytes, *, is_hashed: bool, is_unmasked: bool) -> str:
    """A hash says nothing of anybody: its beginning, to tell one from another."""
    text = cleaned(subject)
    if is_hashed:
        return f"{text[:_HASH_CHARACTERS]}… (hashed)"
    return shortened(text, _MOST_SUBJECT) if is_unmasked or not text else masked(text)
