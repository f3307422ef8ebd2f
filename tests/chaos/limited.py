"""A service behind a limit, called by many workers of which some are killed; judged by the service's log.

`python -m tests.chaos.limited --jobs 20000 --limit "rate=100/s concurrency=8" --kills 40` starts a MariaDB of its own;
exit 1 when the service saw more than the limit allows in any window, or anything was lost. `--outage 60` takes the
service down for so many seconds; then exit 1 also when any but probes called it while its breaker was open. A short
form runs with the tests (tests/concurrency/test_limits.py).
"""

import argparse
import math
import os
import random
import signal
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

from jobs_app.limit_rules import LimitRule, parse_limits
from tests.chaos.foreign import connect, read
from tests.chaos.processes import Child, Processes
from tests.chaos.storm import manage
from tests.database_server import MariaDBServer

LIMIT = "service1"
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
    "WRK_JOB_LEASE_SECONDS": "9",
    "WRK_JOB_TIMEOUT_SECONDS": "5",
    "WRK_HTTP_TIMEOUT_SECONDS": "4",
    "WRK_JOB_BACKOFF_BASE_SECONDS": "1",
    "WRK_JOB_BACKOFF_CAP_SECONDS": "5",
    "WRK_JOB_MAX_ATTEMPTS": "100",
    "WRK_LOG_LEVEL": "WARNING",
}
WORKERS = 8
_STEPS = '[{"name": "one", "jobs": ["limited"]}]'
_ROWS = 1000
_PATIENCE_SECONDS = 120.0
_START_SECONDS = 10.0  # until then a worker may not listen to SIGTERM yet
_STOP_SECONDS = 60.0
_STRAGGLING_SECONDS = 1.0  # until all processes know that the breaker has opened
Call = tuple[float, float, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """`jobs` behind `limit`, as WRK_LIMITS has it without the name; each call takes `seconds`. `kills` of workers.

    `outage`: for so many seconds the service answers 503, from the moment when a tenth of the jobs are done.
    """

    jobs: int = 400
    limit: str = "rate=100/s concurrency=8"
    seconds: float = 0.02
    kills: int = 0
    outage: float = 0.0
    breaker_seconds: float = 2.0
    seed: int = 0

    @property
    def rule(self) -> LimitRule:
        return parse_limits(f"{LIMIT} {self.limit}")[LIMIT]


@dataclass(slots=True)
class Log:
    """What the service saw: the monotonic moments at which each call came and was answered, and its status."""

    calls: list[Call] = field(default_factory=list)
    is_down: bool = False


@dataclass(slots=True)
class Report:
    figures: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        figures = " ".join(f"{name}={value:g}" for name, value in self.figures.items())
        return "\n".join([f"limited {figures} wrong={len(self.wrong)}", *self.wrong[:20]])


@contextmanager
def service(log: Log, seconds: float) -> Iterator[str]:
    """Returns its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 60

        def do_GET(self) -> None:
            came, status = time.monotonic(), 503 if log.is_down else 200
            time.sleep(0 if log.is_down else seconds)
            self.send_response(status)
            self.send_header("Content-Length", "2")
            log.calls.append((came, time.monotonic(), status))  # before the caller can know: it would call again
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 512
        daemon_threads = True

        def server_bind(self) -> None:
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

        def handle_error(self, request: object, client_address: object) -> None:
            """Callers are killed on purpose."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Workers:
    """WORKERS of `run_worker`, each killed one in whose place another is started."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._children = [self._start() for _ in range(WORKERS)]

    def _start(self) -> Child:
        return self._processes.start("run_worker", lives=math.inf)

    def kill_one(self, draw: random.Random) -> None:
        place = draw.randrange(WORKERS)
        self._processes.kill(self._children[place])
        self._children[place] = self._start()

    def stop(self) -> list[str]:
        """Returns what is wrong with how they ended, and with what any of them said."""
        now = time.monotonic()
        for child in self._children:
            self._processes.kill(child, signal.SIGTERM)
        while self._processes.alive():
            assert time.monotonic() < now + _STOP_SECONDS, "a worker does not stop"
            time.sleep(0.02)
        wrong = [
            f"a worker ended with {child.ended}"
            for child in self._children
            if child.ended and not (child.ended == -signal.SIGTERM and now - child.born < _START_SECONDS)
        ]
        return wrong + [child.said[-3000:] for child in self._processes.children if "Traceback" in child.said]


def run_limited(plan: Plan, environment: Mapping[str, str], folder: Path) -> Report:
    """Runs the plan on the migrated, empty database that `environment` names."""
    log, draw, report = Log(), random.Random(plan.seed), Report()
    with ExitStack() as stack:
        url = stack.enter_context(service(log, plan.seconds))
        everything = {
            **os.environ,
            **SETTINGS,
            **environment,
            "URL_SERVICE1": url,
            "WRK_LIMITS": f"{LIMIT} {plan.limit}",
            "WRK_BREAKER_SECONDS": str(plan.breaker_seconds),
        }
        place(everything, plan.jobs)
        began = time.monotonic()
        workers = Workers(stack.enter_context(Processes(everything, folder)))
        try:
            _watch(plan, everything, log, workers, draw)
        finally:
            report.wrong += workers.stop()
        ended = time.monotonic()
        report.wrong += [f"verify: {v.stdout}{v.stderr}" for v in [manage(everything, "verify")] if v.returncode]
        done = read(everything, "SELECT COUNT(*) FROM requests WHERE status = 'Completed'")[0][0]
        attempts = read(everything, "SELECT COUNT(*) FROM jobs WHERE status <> 'completed'")[0][0]
    if done != plan.jobs:
        report.wrong.append(f"{plan.jobs - done} requests are not Completed")
    calls = sorted(log.calls)
    report.wrong += judge(calls, plan.rule)
    if plan.outage and not plan.kills:  # whoever is killed has not counted what he saw
        report.wrong += judge_outage(calls, plan.rule, plan.breaker_seconds)
    report.figures = {
        "jobs": plan.jobs,
        "calls": len(calls),
        "not_completed": attempts,
        "silent": sum(status == 503 for *_, status in calls),
        "at_once": most_at_once(calls),
        "seconds": round(ended - began, 1),
        "used": round(used(calls, plan.rule), 3),
    }
    return report


def _watch(plan: Plan, environment: Mapping[str, str], log: Log, workers: Workers, draw: random.Random) -> None:
    """Until all is done: kills, and takes the service down, as planned."""
    killed, down_at = 0, 0.0
    expected = plan.jobs / plan.rule.rate if plan.rule.rate else plan.jobs * plan.seconds
    gives_up = time.monotonic() + 2 * expected + plan.outage + _PATIENCE_SECONDS
    with closing(connect(environment)) as connection, closing(connection.cursor()) as cursor:
        while time.monotonic() < gives_up:
            time.sleep(0.1)
            good = sum(status == 200 for *_, status in log.calls[:])
            if killed < plan.kills and good >= plan.jobs * (killed + 1) / (plan.kills + 2):
                workers.kill_one(draw)
                killed += 1
            if plan.outage and not down_at and good >= plan.jobs / 10:
                log.is_down, down_at = True, time.monotonic()
            if log.is_down and time.monotonic() - down_at > plan.outage:
                log.is_down = False
            cursor.execute("SELECT 1 FROM requests WHERE status IN ('Queuing', 'Inprogress') LIMIT 1")
            if not cursor.fetchall():
                return


def place(environment: Mapping[str, str], count: int) -> None:
    with closing(connect(environment)) as connection, closing(connection.cursor()) as cursor:
        for start in range(0, count, _ROWS):
            rows = [("limited", _STEPS)] * min(_ROWS, count - start)
            cursor.executemany("INSERT INTO requests (action, steps) VALUES (%s, %s)", rows)


def judge(calls: Sequence[Call], rule: LimitRule) -> list[str]:
    """In every window of W seconds there may be W times the rate, and one second's worth."""
    wrong = []
    if rule.rate:
        burst, lowest, worst = max(1.0, rule.rate), float("inf"), 0.0
        for n, (came, *_) in enumerate(calls):
            lowest = min(lowest, n - rule.rate * came)
            worst = max(worst, n + 1 - rule.rate * came - lowest)
        if worst > burst + 1e-6:
            wrong.append(f"a window has {worst - burst:.1f} calls more than {rule} allows")
    if rule.concurrency and most_at_once(calls) > rule.concurrency:
        wrong.append(f"{most_at_once(calls)} calls at once: {rule}")
    return wrong


def judge_outage(calls: Sequence[Call], rule: LimitRule, breaker_seconds: float) -> list[str]:
    """Once it is open nobody calls but probes: one at a time, each after twice the time, until one is answered."""
    silent = sorted(call for call in calls if call[2] == 503)
    if not rule.breaker or len(silent) < rule.breaker:
        return [f"the service was silent {len(silent)} times: {rule}"]
    opened = sorted(answered for _, answered, _ in silent)[rule.breaker - 1]
    began = [came for came, *_ in silent if came <= opened + _STRAGGLING_SECONDS]
    probes = [came for came, *_ in silent if came > opened + _STRAGGLING_SECONDS]
    wrong = []
    if len(began) > (most := rule.breaker + (rule.concurrency or len(began)) + (rule.rate or 0) / 4):
        wrong.append(f"{len(began)} calls until the breaker was open, more than {most:g}")
    for number, (before, probe) in enumerate(pairwise([opened, *probes])):
        if probe - before < (least := breaker_seconds * 2**number):
            wrong.append(f"a probe came after {probe - before:.1f} s, not after {least:g}")
    return wrong


def most_at_once(calls: Sequence[Call]) -> int:
    changes = sorted([(came, 1) for came, *_ in calls] + [(answered, -1) for _, answered, _ in calls])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def used(calls: Sequence[Call], rule: LimitRule) -> float:
    """What share of the rate was used from the first call to the last one; 0 without a rate."""
    seconds = calls[-1][0] - calls[0][0] if calls else 0.0
    return (len(calls) - 1) / seconds / rule.rate if seconds and rule.rate else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.limited", description=__doc__)
    parser.add_argument("--jobs", type=int, default=400, help="default: %(default)s")
    parser.add_argument("--limit", default="rate=100/s concurrency=8", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.02, help="that a call takes (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=0, help="of workers (default: %(default)s)")
    parser.add_argument("--outage", type=float, default=0.0, help="seconds (default: %(default)s)")
    parser.add_argument("--breaker-seconds", type=float, default=2.0, help="default: %(default)s")
    options = parser.parse_args()
    plan = Plan(
        options.jobs, options.limit, options.seconds, options.kills, options.outage, options.breaker_seconds, seed=1
    )
    with MariaDBServer() as server, tempfile.TemporaryDirectory(prefix="tasker-limited-") as folder:
        environment = server.environment()
        migrated = manage(environment, "migrate")
        if migrated.returncode:
            print(migrated.stderr, file=sys.stderr)  # noqa: T201 - it is a command
            return 1
        report = run_limited(plan, environment, Path(folder))
    print(report)  # noqa: T201
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())
