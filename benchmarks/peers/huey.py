"""Huey on Redis or SQLite: a task, then one that places a chord of three. Without chord: three that nobody counts."""

import os
import sys

from huey import RedisHuey, SqliteHuey, chord

from benchmarks.peers import drive

COUNTS = os.environ["PEER_VARIANT"] != "no chord"
ON_REDIS = "PEER_REDIS_SOCKET" in os.environ
if ON_REDIS:
    queue = RedisHuey("peers", results=COUNTS, url=f"unix://{os.environ['PEER_REDIS_SOCKET']}")
else:
    synced = os.environ["PEER_FSYNC"] == "1"
    queue = SqliteHuey("peers", results=COUNTS, filename=os.environ["PEER_SQLITE"], fsync=synced)


@queue.task()
def job(seconds: float) -> None:
    drive.job(seconds)


@queue.task()
def second_step(seconds: float) -> None:
    queue.enqueue(chord([job.s(seconds) for _ in range(3)], done.s()))


@queue.task()
def done(results: list[None]) -> None:
    """What the chord's end is for."""


@queue.task()
def job_that_places_three(seconds: float) -> None:
    drive.job(seconds)
    for _ in range(3):
        queue.enqueue(job.s(seconds))


def prepare() -> None:
    """It makes its tables itself."""


def place(requests: int, seconds: float) -> None:
    for _ in range(requests):
        queue.enqueue(job.s(seconds).then(second_step, seconds) if COUNTS else job_that_places_three.s(seconds))


def workers(seconds: float) -> list[list[str]]:
    threads = drive.SLOTS if seconds else 2 if ON_REDIS else 1
    polling = ["--delay", "0.001", "--max-delay", "0.01"]  # by default 0.1 to 10 seconds; Redis blocks instead
    options = ["--workers", str(threads), "--worker-type", "thread", "--quiet", "--no-periodic", *polling]
    consumer = os.path.join(os.path.dirname(sys.executable), "huey_consumer")  # noqa: PTH118, PTH120
    return [[sys.executable, consumer, "benchmarks.peers.huey.queue", *options]]
