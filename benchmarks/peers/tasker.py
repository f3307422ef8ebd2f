"""Ours: one `run_worker` process, requests inserted raw."""

import json
import os
import subprocess
import sys

import django

from benchmarks.peers.drive import SLOTS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from benchmarks import workload  # noqa: E402 - needs the settings


def prepare() -> None:
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], check=True)


def place(requests: int, seconds: float) -> None:
    names = ("as_peers_1",), ("as_peers_2", "as_peers_3", "as_peers_4")
    workload.place(requests, workload.steps(*names), json.dumps({"seconds": seconds}))


def workers(_: float) -> list[list[str]]:
    return [[sys.executable, "manage.py", "run_worker", "--concurrency", str(SLOTS)]]
