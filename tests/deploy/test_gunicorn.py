"""A web process that takes itself for a developer's says so where others can reach it."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.fork_server import started
from tests.tasker_site.test_production import PRODUCTION

WARNING = "ENV is read as local"


def said_until_it_serves(tmp_path: Path, *bind: str, **environment: str) -> str:
    """What gunicorn wrote to standard error, one worker, until that worker has begun."""
    command = ["-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "--log-level", "info", *bind]
    environment = os.environ | {"WRK_SQLITE_FILE": str(tmp_path / "x"), "WRK_WEB_WORKERS": "1"} | environment
    lines = []
    with started([*command, "tasker_site.wsgi"], env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "Booting worker" in line:
                process.terminate()
    return "".join(lines)


@pytest.mark.parametrize(
    ("host", "mode", "warns"),
    [("", "", True), ("127.0.0.1", "", False), ("127.0.0.1", "demo", False), ("", "live", False)],
)
def test_a_local_one_that_listens_beyond_loopback_says_so(tmp_path: Path, host: str, mode: str, warns: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    bind = ("--bind", f"{host}:{port}") if host else ()
    deployed = PRODUCTION if mode == "live" else {}
    said = said_until_it_serves(tmp_path, *bind, **(deployed | {"ENV": mode, "PORT": port}))
    assert (WARNING in said) == warns, said
    assert bool(re.search(rf"{WARNING}, and http://0.0.0.0:{port} is open", said)) == warns


def test_a_unix_socket_is_not_beyond(tmp_path: Path) -> None:
    assert WARNING not in said_until_it_serves(tmp_path, "--bind", f"unix:{tmp_path}/socket")
