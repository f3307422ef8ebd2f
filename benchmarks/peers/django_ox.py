"""django-ox on MariaDB: single tasks, for what is free of it has no steps. Needs Python 3.12 or newer."""

import os
import sys

import django

from benchmarks.peers import drive

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.peers.django_settings")
django.setup()

from django.core.management import call_command  # noqa: E402 - needs the settings
from django.tasks import task  # noqa: E402
from django_ox.bulk import enqueue_many  # noqa: E402


@task
def job(seconds: float) -> None:
    drive.job(seconds)


def prepare() -> None:
    call_command("migrate", verbosity=0)


def place(requests: int, seconds: float) -> None:
    enqueue_many(job, [((seconds,), {})] * (requests * drive.JOBS))


def workers(seconds: float) -> list[list[str]]:
    slots = ["--concurrency", str(drive.SLOTS)] if seconds else ["--processes", "2"]
    return [[sys.executable, "-m", "django", "ox_worker", "--interval", "0.005", *slots]]  # by default 1 second
