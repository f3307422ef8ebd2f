"""django-q2 with its ORM broker on MariaDB: a task whose hook places three."""

import os
import sys

import django

from benchmarks.peers import drive

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.peers.django_settings")
django.setup()

from django.core.management import call_command  # noqa: E402 - needs the settings
from django_q.models import Task  # noqa: E402
from django_q.tasks import async_task  # noqa: E402

JOB = "benchmarks.peers.drive.job"


def second_step(first: Task) -> None:
    for _ in range(3):
        async_task(JOB, *first.args)


def prepare() -> None:
    call_command("migrate", verbosity=0)


def place(requests: int, seconds: float) -> None:
    for _ in range(requests):
        async_task(JOB, seconds, hook="benchmarks.peers.django_q2.second_step")


def workers(seconds: float) -> list[list[str]]:
    """A process runs one task at a time; one of its own records the ends and calls the hooks."""
    processes = drive.SLOTS if seconds else 2
    return [["env", f"PEER_WORKERS={processes}", sys.executable, "-m", "django", "qcluster"]]
