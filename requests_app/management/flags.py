"""Spans of time and paces as a command's flags."""

import argparse
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from requests_app.formatting import parse_duration, parse_pace

T = TypeVar("T")


def duration_flag(text: str) -> timedelta:
    return _flag(parse_duration, text)


def pace_flag(text: str) -> float:
    return _flag(parse_pace, text)


def _flag(parse: Callable[[str], T], text: str) -> T:
    """argparse shows the sentence together with the flag's name."""
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
