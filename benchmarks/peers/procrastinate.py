"""procrastinate on PostgreSQL: single jobs, for it has no steps."""

import os
import sys

from procrastinate import App, PsycopgConnector

from benchmarks.peers import drive

app = App(connector=PsycopgConnector(conninfo=os.environ["PEER_POSTGRES"]))


@app.task
def job(seconds: float) -> None:
    drive.job(seconds)


def prepare() -> None:
    app.open()
    app.schema_manager.apply_schema()


def place(requests: int, seconds: float) -> None:
    for start in range(0, requests * drive.JOBS, 1000):
        job.batch_defer(*[{"seconds": seconds}] * min(1000, requests * drive.JOBS - start))


def workers(seconds: float) -> list[list[str]]:
    slots = str(drive.SLOTS if seconds else 8)
    command = [sys.executable, "-m", "procrastinate", "--app", "benchmarks.peers.procrastinate.app", "worker"]
    return [[*command, "--concurrency", slots]] * (1 if seconds else 2)
