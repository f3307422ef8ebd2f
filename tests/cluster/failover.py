"""The primary of a cluster is killed under load, again and again; everything is judged at the end. Exit 1: it is wrong.

    python -m tests.cluster.failover --addresses 127.0.0.1:3311,127.0.0.1:3312,127.0.0.1:3313 --kills 3 \\
        --kill "COMMAND that kills node {n}" --rejoin "COMMAND that brings node {n} back"

In the commands `{n}` is the node's place in the list, from 1, `{host}` and `{port}` its address. Who is to connect, and
where to: DB_USER, DB_PASS, DB_NAME. The cluster's clocks must agree with this machine's: pauses are told by both.
"""

import argparse
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import django

from demo.services import Services
from tests.chaos import judge
from tests.chaos.processes import Child, Processes

SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
    "WRK_JOB_LEASE_SECONDS": "20",  # outlasts a failover: what runs meanwhile is recorded after it, not repeated
    "WRK_JOB_TIMEOUT_SECONDS": "5",
    "WRK_JOB_BACKOFF_BASE_SECONDS": "0",
    "WRK_JOB_MAX_ATTEMPTS": "1000",
    "WRK_JOB_CONCURRENCY": "8",
    "WRK_LOG_LEVEL": "INFO",  # each transaction that is run again says why
}
WORKERS = (("run_worker",), ("run_worker",))
PASSES = (("run_new_requests",), ("run_jobs",), ("run_inprogress_requests",))
PATIENCE_SECONDS = 120.0
_TURN_SECONDS, _CRON_SECONDS = 0.05, 1.0
_FAULT = re.compile(r"transaction_again .*\(error (\d+)\)|\(error (\d+)\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """`pause`: seconds of load before each kill. `rejoin` may be empty: the node stays away."""

    addresses: str
    kill: str
    rejoin: str = ""
    kills: int = 3
    per_second: float = 10.0
    pause: float = 5.0


@dataclass(slots=True)
class Report:
    figures: dict[str, object] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        figures = " ".join(f"{name}={value}" for name, value in self.figures.items())
        return "\n".join([f"failover {figures} wrong={len(self.wrong)}", *self.wrong[:50]])


class Crew:
    """What is to run all the time: workers and, as cron would start them, passes; started anew whenever one ends."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._posts: dict[tuple[int, tuple[str, ...]], Child | None] = dict.fromkeys(enumerate(WORKERS + PASSES))

    def keep_up(self) -> None:
        self._processes.alive()  # notes who has ended
        for post, child in self._posts.items():
            if child is None or (child.ended is not None and time.monotonic() >= child.born + _CRON_SECONDS):
                self._posts[post] = self._processes.start(*post[1], lives=0)

    def dismiss(self) -> None:
        """SIGTERM to the workers, and the end of all. A pass ends by itself, and may be too young to heed a signal."""
        for child in self._processes.alive():
            if (child.command,) in WORKERS:
                self._processes.kill(child, signal.SIGTERM)
        gives_up = time.monotonic() + PATIENCE_SECONDS
        while self._processes.alive() and time.monotonic() < gives_up:
            time.sleep(_TURN_SECONDS)


class Failover:
    """One run. Django is set up for the cluster by then, in this process as in the commands."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        from tests.cluster import load

        self._load, self._plan, self._folder = load, plan, folder
        self._action = f"failover {uuid4()}"
        self._watcher = load.Watcher(self._action)
        self._kills: list[tuple[float, float]] = []
        self.report = Report()

    def run(self) -> Report:
        inserter = self._load.Inserter(self._action, self._plan.per_second)
        with Services(faults=()) as services:
            with Processes({**os.environ, **services.environment()}, self._folder) as processes:
                drain_seconds = self._rage(Crew(processes), inserter)
            calls = services.calls(1)
        ends = self._load.ends_of_jobs(self._action)
        attempts = self._load.attempts(self._action)
        self.report.figures = {
            "kills": len(self._kills),
            "acknowledged": len(inserter.acknowledged),
            "attempts": len(attempts),
            "calls": len(calls),
            "repeated": judge.repeated(calls, attempts),
            "processes": len(processes.children),
            "exits_with_1": sum(child.ended == 1 for child in processes.children),
            "insert_pauses": _pauses(sorted(inserter.acknowledged.values()), self._kills),
            "job_pauses": _pauses(ends, self._kills),
            "drain_seconds": round(drain_seconds, 1),
            "faults": _faults(processes.children),
        }
        self.report.wrong += [
            *judge.lost_requests(inserter.acknowledged, self._load.requests(self._action)),
            *judge.wrong_calls(calls, attempts),
            *(fault for child in processes.children for fault in child.faults()),
            *_verify(),
        ]
        return self.report

    def _rage(self, crew: Crew, inserter: Any) -> float:
        """All kills, and the end of all requests; returns how many seconds that took after the last INSERT."""
        inserter.start()
        self._watcher.start()
        self._keep_up_until(crew, partial(self._watcher.saw_end_after, 0.0), "the first commands started")
        for number in range(1, self._plan.kills + 1):
            self._keep_up(crew, self._plan.pause)
            victim = _writer(self._plan)
            began = time.time()
            self._command(crew, self._plan.kill, victim)
            self._kills.append((began, killed := time.time()))
            self._keep_up_until(crew, partial(self._watcher.saw_end_after, killed), f"kill {number}")
            self._command(crew, self._plan.rejoin, victim)
        self._keep_up(crew, self._plan.pause)
        inserter.stop()
        began = time.monotonic()
        self._keep_up_until(crew, lambda: not self._load.count_open(self._action), "the last INSERT; requests are open")
        crew.dismiss()
        self._watcher.stopped.set()
        return time.monotonic() - began

    def _keep_up(self, crew: Crew, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            crew.keep_up()
            time.sleep(_TURN_SECONDS)

    def _keep_up_until(self, crew: Crew, done: Callable[[], bool], since: str) -> None:
        gives_up = time.monotonic() + PATIENCE_SECONDS
        while not done():
            if time.monotonic() > gives_up:
                self.report.wrong.append(f"no job ended within {PATIENCE_SECONDS:g} s after {since}")
                return
            self._keep_up(crew, 4 * _TURN_SECONDS)

    def _command(self, crew: Crew, template: str, node: dict[str, object]) -> None:
        """Runs it while the crew works. An empty one does nothing; one that fails ends the run."""
        if not template:
            return
        command = shlex.split(template.format(**node))
        with (self._folder / "command").open("w+") as output:
            running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            while running.poll() is None:
                self._keep_up(crew, _TURN_SECONDS)
            if running.returncode:
                output.seek(0)
                sys.exit(f"{shlex.join(command)} ended with {running.returncode}: {output.read()}")


def _writer(plan: Plan) -> dict[str, object]:
    """The node that connections go to now, as the commands' placeholders have it."""
    from django.db import connection

    from tasker_site.mysql.addresses import read_addresses
    from tasker_site.mysql.base import last_good

    connection.close()
    connection.ensure_connection()
    address = last_good(plan.addresses)
    assert address
    return {
        "n": read_addresses(plan.addresses, 3306).index(address) + 1,
        "host": address.host,
        "port": address.port,
    }


def _pauses(moments: Sequence[float], kills: Sequence[tuple[float, float]]) -> list[float]:
    """For each kill, the longest time between two of these moments, from its command's start to a second after its end.

    Of a kill that is from the last commit before it to the first after it. A planned switch may take its time first;
    some last answers of a frozen server are still on their way.
    """
    pauses = []
    for began, ended in kills:
        first, last = max(1, bisect_right(moments, began)), bisect_right(moments, ended + 1)
        between = [after - before for before, after in pairwise(moments[first - 1 : last + 1])]
        pauses.append(round(max(between, default=float("nan")), 1))
    return pauses


def _faults(children: Sequence[Child]) -> dict[int, int]:
    """How often the commands met which error, by its number, most often first."""
    numbers = Counter(
        int(again or end) for child in children for again, end in _FAULT.findall(child.log.read_text(errors="replace"))
    )
    return dict(numbers.most_common())


def _manage(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _verify() -> Iterator[str]:
    ended = _manage("verify")
    if ended.returncode:
        yield f"verify:\n{(ended.stdout + ended.stderr)[-5000:]}"


def run_failover(plan: Plan, folder: Path) -> Report:
    """Migrates the database and runs the plan. Changes this process's environment, and sets Django up if need be."""
    os.environ.update({"DB_HOST": plan.addresses, "DB_PORT": "3306", **SETTINGS})
    django.setup()
    logging.disable(logging.INFO)  # of this process; what the commands say is in their own logs
    migrated = _manage("migrate")
    if migrated.returncode:
        sys.exit(migrated.stderr)
    return Failover(plan, folder).run()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.failover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--addresses", required=True, help="HOST:PORT,HOST:PORT,...")
    parser.add_argument("--kill", required=True, metavar="COMMAND", help="ends the node that is the writer")
    parser.add_argument("--rejoin", default="", metavar="COMMAND", help="brings it back, and waits until it is")
    parser.add_argument("--kills", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--per-second", type=float, default=10, help="requests of 8 jobs (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=5, help="seconds of load before a kill (default: %(default)s)")
    options = parser.parse_args()
    missing = [name for name in ("DB_USER", "DB_PASS", "DB_NAME") if name not in os.environ]
    if missing:
        parser.error(f"set {', '.join(missing)} in the environment")
    with tempfile.TemporaryDirectory(prefix="tasker-failover-") as folder:
        report = run_failover(Plan(**vars(options)), Path(folder))
    print(report)  # noqa: T201 - it is a command
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())
