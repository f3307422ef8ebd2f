"""A span of time as a command's flag."""

import argparse
from datetime import timedelta

from requests_app.durations import parse_duration


def duration_flag(text: str) -> timedelta:
    """argparse shows the sentence together with the flag's name."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
