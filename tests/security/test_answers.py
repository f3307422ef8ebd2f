"""Answers that come over HTTP to the web process as it is shipped: slowly, without a length, again and again."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection

from jobs_app.answer_urls import AnswerAddress, answer_url
from jobs_app.models.answer import Answer
from tests.docs.blocks import blocks_of, document
from tests.security.conftest import serving

KEY = "a-key-0123456789-abcdefghij-klmnop"
PUBLIC_URL = "http://tasker.example/base"
ADDRESS = AnswerAddress("tok", 2, "noop", 3)
BODY = json.dumps({"outcome": "completed", "extras": {"email": "planted@example.org"}, "reason": "planted"})
SLOW = 40
SECONDS = 5


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the web process writes to standard error."""
    return tmp_path_factory.mktemp("web") / "log"


@pytest.fixture(scope="module")
def web(django_db_setup: None, log: Path) -> Iterator[str]:
    """One for all tests here: it keeps nothing between them but its log and its sums."""
    name = "DB_NAME" if connection.vendor == "mysql" else "WRK_SQLITE_FILE"
    environment = {
        name: str(connection.settings_dict["NAME"]),
        "WRK_PUBLIC_URL": PUBLIC_URL,
        "WRK_ANSWER_KEYS": KEY,
        "WRK_WEB_THREADS": "2",
        "WRK_LOG_LEVEL": "DEBUG",
    }
    with serving(environment, log) as address:
        yield address


@pytest.fixture
def path(settings: Any) -> str:
    settings.WRK_PUBLIC_URL, settings.WRK_ANSWER_KEYS = PUBLIC_URL, [KEY]
    return str(answer_url(ADDRESS)).removeprefix(PUBLIC_URL)


def raw(web: str, sent: str) -> socket.socket:
    """A connection on which so much of a request has been sent."""
    host, port = web.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=SECONDS)
    client.sendall(sent.encode())
    return client


def status_of(client: socket.socket) -> int:
    return int(client.recv(4096).split(b" ")[1])


def test_whoever_has_the_url_answers_and_repeats_it_and_nobody_else(web: str, path: str) -> None:
    for _ in range(3):
        answered = requests.post(web + path, BODY, timeout=SECONDS, headers={"Host": "elsewhere.example"})
        assert (answered.status_code, answered.json()) == (202, {"kept": True})
        assert not answered.cookies
    assert requests.post(f"{web}{path}x", BODY, timeout=SECONDS).status_code == 404
    assert requests.post(web + path, "[]", timeout=SECONDS).status_code == 400
    assert requests.post(web + path, "x" * 70_000, timeout=SECONDS).status_code == 400
    assert requests.post(web + path, "x" * 600_000, timeout=SECONDS).status_code == 413
    assert requests.get(web + path, timeout=SECONDS).status_code == 405
    assert Answer.objects.values_list("token", "step", "job", "attempt").get() == ADDRESS


def test_the_documents_curl_answers(web: str, path: str) -> None:
    [block] = [block for block in blocks_of(document("answers.md")) if block.info == "sh"]
    ran = subprocess.run(
        ["sh", "-c", block.text], env=os.environ | {"ANSWER_URL": web + path}, capture_output=True, check=False
    )
    assert (ran.returncode, json.loads(ran.stdout)) == (0, {"kept": True}), ran.stderr
    answer = Answer.objects.get()
    assert (answer.outcome, answer.extras, answer.reason) == ("completed", {"erased": 12}, "batch of Friday")


def test_one_in_pieces_is_kept_and_one_without_a_length_is_refused_at_once(web: str, path: str) -> None:
    pieces = iter([BODY[:20].encode(), BODY[20:].encode()])  # requests sends it chunked
    assert requests.post(web + path, pieces, timeout=SECONDS).status_code == 202
    with raw(web, f"POST {path} HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        assert status_of(client) == 400
    assert Answer.objects.count() == 1


def test_those_that_are_slow_keep_nobody_waiting(web: str, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BODY)}\r\n\r\n"
    with ExitStack() as open_:
        clients = [open_.enter_context(raw(web, head + BODY[:20])) for _ in range(SLOW)]
        assert requests.post(web + path, BODY, timeout=1).status_code == 202
        clients[0].sendall(BODY[20:].encode())
        assert status_of(clients[0]) == 202


def test_the_signature_is_in_no_series_and_no_line(web: str, path: str, log: Path) -> None:
    for body in (BODY, "planted"):
        requests.post(web + path, body, timeout=SECONDS)
    requests.post(f"{web}{path}x", BODY, timeout=SECONDS)
    requests.get(web + path, timeout=SECONDS)
    said = requests.get(f"{web}/metrics", timeout=SECONDS).text + log.read_text()
    assert "answer_kept" in said
    # A client that hung up, of whichever test, is told of by its path, which is masked.
    assert re.findall(r"/answers/(?!\*\*\*)|planted", said) == []
    assert path[-20:] not in said
