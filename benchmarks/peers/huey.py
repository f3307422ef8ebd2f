"""Huey on Redis or SQLite: a task, then one that places a chord of three."""

import os
import sys

from huey import RedisHuey, SqliteHuey, chord

from benchmarks.peers import drive

if "PEER_REDIS_SOCKET" in os.environ:
    queue = RedisHuey("peers", url=f"unix://{os.environ['PEER_REDIS_SOCKET']}")
else:
    queue = SqliteHuey("peers", filename=os.environ["PEER_SQLITE"], fsync=os.environ["PEER_FSYNC"] == "1")


@queue.task()
def job(seconds: float) -> None:
    drive.job(seconds)


@queue.task()
def second_step(seconds: float) -> None:
    queue.enqueue(chord([job.s(seconds) for _ in range(3)], done.s()))


@queue.task()
def done(results: list[None]) -> None:
    """What the chord's end is for."""


def prepare() -> None:
    """It makes its tables itself."""


def place(requests: int, seconds: float) -> None:
    for _ in range(requests):
        queue.enqueue(job.s(seconds).then(second_step, seconds))


def workers(seconds: float) -> list[list[str]]:
    threads = str(drive.SLOTS if seconds else 2)
    polling = ["--delay", "0.001", "--max-delay", "0.01"]  # by default 0.1 to 10 seconds; Redis blocks instead
    options = ["--workers", threads, "--worker-type", "thread", "--quiet", "--no-periodic", *polling]
    consumer = os.path.join(os.path.dirname(sys.executable), "huey_consumer")  # noqa: PTH118, PTH120
    return [[sys.executable, consumer, "benchmarks.peers.huey.queue", *options]]
