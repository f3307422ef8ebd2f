"""Spans of time as an operator types them: 90d, 12h, 30m."""

import argparse
import re
from datetime import timedelta

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def parse_duration(text: str) -> timedelta:
    """Raises ArgumentTypeError, which argparse shows together with the flag's name."""
    match = re.fullmatch(r"([1-9]\d{0,5})([dhm])", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no span of time: a whole number from 1 with d, h or m behind it is needed, such as 90d or 12h"
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
