"""The path of polls, and what a web server that holds them (tasker_site/waiting_polls.py) passes on. No database."""

import re
from enum import StrEnum
from typing import NamedTuple

from django.http import HttpRequest

PATH = "/requests/"
MOST_WAIT_SECONDS = 50  # proxies give up after 60
ENVIRON = "tasker.poll"  # its key in a request's environment holds one of:


class LongPoll(StrEnum):
    HELD = "held"  # until its request ended, or for as long as it wanted
    AWAY = "away"  # the database does not answer: do not ask it


class PollToHold(NamedTuple):
    """A poll to hold until this request has ended, for so many seconds at most."""

    request_id: int
    seconds: int


def wait_of(request: HttpRequest) -> int:
    """Seconds, from `?wait=`; 0 without it. Raises ValueError with a sentence for whoever asks."""
    given = request.GET.getlist("wait")
    if not given:
        return 0
    if len(given) > 1 or not re.fullmatch(r"[0-9]{1,6}", given[0]):
        raise ValueError(f"wait: one whole number of seconds is needed; more than {MOST_WAIT_SECONDS} counts as that")
    return min(int(given[0]), MOST_WAIT_SECONDS)
