"""django-tasks-db on MariaDB: single tasks, for it has no steps."""

import os
import sys

import django

from benchmarks.peers import drive

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.peers.django_settings")
django.setup()

from django.core.management import call_command  # noqa: E402 - needs the settings
from django_tasks import task  # noqa: E402


@task()
def job(seconds: float) -> None:
    drive.job(seconds)


def prepare() -> None:
    call_command("migrate", verbosity=0)


def place(requests: int, seconds: float) -> None:
    for _ in range(requests * drive.JOBS):
        job.enqueue(seconds)


def workers(seconds: float) -> list[list[str]]:
    """A process runs one task at a time."""
    command = [sys.executable, "-m", "django", "db_worker", "--interval", "0.001", "--no-startup-delay", "--no-reload"]
    return [command] * (drive.SLOTS if seconds else 2)
