"""A service of the demo that answers later: in two seconds it does the work, and posts how it ended."""

import threading
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

LATER_SECONDS = 2.0
# As docs/answers.md asks of a service: again while nothing listens, and after a 503.
_AGAIN = Retry(10, backoff_factor=0.1, status_forcelist=[503], allowed_methods=None)


def answer_later(answer_url: str, work: Callable[[], dict[str, Any]]) -> None:
    """`work` returns what is posted."""
    timer = threading.Timer(LATER_SECONDS, _work_and_post, (answer_url, work))
    timer.daemon = True
    timer.start()


def _work_and_post(answer_url: str, work: Callable[[], dict[str, Any]]) -> None:
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        session.mount("http://", HTTPAdapter(max_retries=_AGAIN))
        session.post(answer_url, json=work(), timeout=10)
