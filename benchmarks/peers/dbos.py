"""DBOS on PostgreSQL: a workflow of one step, then three at once. Run as a program, it is the worker."""

import asyncio
import os
import sys
import threading
from functools import cache

from dbos import DBOS, DBOSClient

from benchmarks.peers import drive

URL = os.environ["PEER_POSTGRES"]
QUEUE = "requests"


@DBOS.step()
async def job(seconds: float) -> None:
    await asyncio.sleep(seconds)
    drive.stamp()


@DBOS.workflow(name="request")
async def request(seconds: float) -> None:
    await job(seconds)
    await asyncio.gather(*(job(seconds) for _ in range(3)))


def launch() -> None:
    DBOS(config={"name": "peers", "system_database_url": URL, "log_level": "ERROR", "application_version": "1"})
    DBOS.launch()


def work() -> None:
    launch()
    DBOS.register_queue(QUEUE, worker_concurrency=drive.SLOTS, polling_interval_sec=0.01)  # by default 1 second
    threading.Event().wait()


@cache
def _client() -> DBOSClient:
    return DBOSClient(system_database_url=URL)


def prepare() -> None:
    launch()
    DBOS.destroy()


def place(requests: int, seconds: float) -> None:
    for _ in range(requests):
        _client().enqueue({"queue_name": QUEUE, "workflow_name": "request", "app_version": "1"}, seconds)


def workers(_: float) -> list[list[str]]:
    return [[sys.executable, "-m", "benchmarks.peers.dbos"]]


if __name__ == "__main__":
    work()
