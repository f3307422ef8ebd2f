"""Celery on Redis: a chain of one task and a chord of three."""

import os
import sys

from celery import Celery, chain, chord

from benchmarks.peers import drive

_URL = f"redis+socket://{os.environ['PEER_REDIS_SOCKET']}"
app = Celery("peers", broker=_URL, backend=_URL)


@app.task
def job(seconds: float) -> None:
    drive.job(seconds)


@app.task
def done() -> None:
    """What the chord's end is for."""


def prepare() -> None:
    """Redis needs no tables."""


def place(requests: int, seconds: float) -> None:
    for _ in range(requests):
        chain(job.si(seconds), chord([job.si(seconds)] * 3, done.si())).delay()


def workers(seconds: float) -> list[list[str]]:
    pool = ["--pool", "threads", "--concurrency", str(drive.SLOTS)] if seconds else ["--concurrency", "2"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    return [[sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery", "worker", *pool, *quiet]]
