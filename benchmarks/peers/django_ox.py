"""django-ox: single tasks or, where its app `oxpull` is installed, workflows. Needs Python 3.12 or newer."""

import os
import sys

import django

from benchmarks.peers import drive

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.peers.django_settings")
django.setup()

from django.conf import settings  # noqa: E402 - needs them
from django.core.management import call_command  # noqa: E402
from django.tasks import task  # noqa: E402
from django_ox.bulk import enqueue_many  # noqa: E402

STEPS = "oxpull" in settings.INSTALLED_APPS
if STEPS:
    from oxpull import workflows


@task
def job(seconds: float) -> None:
    drive.job(seconds)


def prepare() -> None:
    call_command("migrate", verbosity=0)


def place(requests: int, seconds: float) -> None:
    if not STEPS:
        enqueue_many(job, [((seconds,), {})] * (requests * drive.JOBS))
        return
    for _ in range(requests):
        flow = workflows.create("request")
        flow.add("first", job, seconds)
        for number in range(3):
            flow.add(f"second {number}", job, seconds, depends_on="first")
        flow.seal()


def workers(seconds: float) -> list[list[str]]:
    slots = ["--concurrency", str(drive.SLOTS)] if seconds else ["--processes", "2"]
    return [[sys.executable, "-m", "django", "ox_worker", "--interval", "0.005", *slots]]  # by default 1 second
