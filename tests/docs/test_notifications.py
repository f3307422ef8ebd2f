"""docs/notifications.md is true: its receivers run as they stand there, believe what we sign and nothing else."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs_app.clients import notify
from jobs_app.outcomes import Failure
from tests.docs.blocks import blocks_of, document
from tests.jobs_app.clients.conftest import new_context

DOCUMENT = document("notifications.md")
OURS, OTHERS = f"whsec_{'MfKQ9r8G' * 4}", f"whsec_{'ILPZIo2L' * 4}"
PATIENCE = 60.0  # Go compiles first
RECEIVERS: dict[str, tuple[str, Callable[[str], list[str]]]] = {
    "Python, with the library": ("receiver.py", lambda _: [sys.executable, "receiver.py"]),
    "Python, without": ("receiver.py", lambda _: [sys.executable, "receiver.py"]),
    "PHP": ("receiver.php", lambda port: ["php", "-S", f"127.0.0.1:{port}", "receiver.php"]),
    "Go": ("receiver.go", lambda _: ["go", "run", "receiver.go"]),
    "Java": ("Receiver.java", lambda _: ["java", "Receiver.java"]),
    "Node": ("receiver.js", lambda _: ["node", "receiver.js"]),
}
TOLD = {
    "token": "order-1007-erase",
    "action": "delete_user",
    "status": "Completed",
    "ended_at": "x",
    "deadline_at": None,
}


@contextmanager
def running(heading: str, folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """The receiver's URL, and how to end it and get what it printed."""
    name, command_of = RECEIVERS[heading]
    (folder / name).write_text(
        next(block.text for block in blocks_of(DOCUMENT) if block.heading == heading and block.info != "sh")
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = command_of(str(port))
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not on this machine")
    environment = os.environ | {
        "PORT": str(port),
        "WEBHOOK_KEY": OURS,
        "GO111MODULE": "off",
        "GOCACHE": str(folder / "go"),
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    )

    def printed() -> str:
        os.killpg(process.pid, 9)  # `go run` has a child
        return process.communicate()[0]

    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}/hook", printed
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.communicate()


def wait_for(port: int, process: subprocess.Popen[str]) -> None:
    ends_at = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "it ended"
            assert time.monotonic() < ends_at, "it never listened"
            time.sleep(0.02)


@pytest.mark.parametrize("heading", RECEIVERS)
def test_a_receiver_acts_once_on_what_is_signed_and_refuses_the_rest(
    heading: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WRK_NOTIFY_KEYS = [OTHERS, OURS]  # in the midst of a change
    with running(heading, tmp_path) as (url, printed):
        settings.WRK_NOTIFY = {"shop": url}
        for attempt in (1, 2):
            notify.send(new_context(token="n-1", attempt=attempt), "shop", TOLD)
        with monkeypatch.context() as patch:
            patch.setattr("time.time", lambda was=time.time: was() - 400)
            with pytest.raises(Failure, match="answered 401"):
                notify.send(new_context(token="n-2"), "shop", TOLD)
        settings.WRK_NOTIFY_KEYS = [OTHERS]
        with pytest.raises(Failure, match="answered 401"):
            notify.send(new_context(token="n-3"), "shop", TOLD)
        lines = printed().splitlines()
    assert len(lines) == 1
    assert "order-1007-erase" in lines[0]
    assert "Completed" in lines[0]


def test_every_receiver_of_the_document_is_run() -> None:
    languages = {"python", "php", "go", "java", "js"}
    assert {block.heading for block in blocks_of(DOCUMENT) if block.info in languages} == set(RECEIVERS)
