"""The storm: passes and workers killed at random under load, the database too, and everything judged at the end.

`python -m tests.chaos.storm --kills 2000 --requests 5000` starts a MariaDB of its own, or uses the one of DB_*; exit 1
when anything was lost, doubled or wrong. A short form runs with the tests (tests/concurrency/test_storm.py).
"""

import argparse
import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.services import Answer, Fault, Services
from tests.chaos import judge, kinds
from tests.chaos.foreign import ANSWER_KEY, Answerer, Inserter, read, serving
from tests.chaos.processes import ROOT, Processes
from tests.database_server import DB_NAMES, MariaDBServer

COMMANDS = (
    ("run_new_requests",),
    ("run_jobs",),
    ("run_jobs",),
    ("run_inprogress_requests",),
    ("run_worker", "--max-seconds", "3"),
)
# Short leases; timeouts that an honest service keeps on a busy machine, or its answers would be repeats as well.
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
    "WRK_JOB_LEASE_SECONDS": "9",
    "WRK_JOB_TIMEOUT_SECONDS": "5",
    "WRK_HTTP_TIMEOUT_SECONDS": "4",
    "WRK_JOB_BACKOFF_BASE_SECONDS": "0",
    "WRK_JOB_MAX_ATTEMPTS": "1000",
    "WRK_JOB_CONCURRENCY": "8",
    "WRK_LOG_LEVEL": "WARNING",
    "WRK_ANSWER_KEYS": ANSWER_KEY,
    "WRK_PUBLIC_URL": "http://tasker.example",
    # No concurrency (limited.py has it): the dead would keep all places until their leases are over.
    "WRK_LIMITS": f"{kinds.LIMIT} rate=500/s breaker=5",
    "WRK_NOTIFY_KEYS": f"whsec_{base64.b64encode(bytes(range(32))).decode()}",
}
RECEIVER = Fault(2, "POST", None, Answer(204))  # service 2, at any path that is no user's
AT_ONCE = 4
DRAIN_SECONDS = 60.0
_TURN_SECONDS = 0.01
_HEAD_START = 0.2  # of the requests are there before the first kill


@dataclass(frozen=True, slots=True)
class Plan:
    """`kills` of processes, each `lives` seconds after its start; `database_kills` of the server, under load."""

    kills: int = 60
    database_kills: int = 0
    requests: int = 300
    steps: int = 3
    lives: tuple[float, float] = (0.02, 0.8)
    seed: int = 0


@dataclass(slots=True)
class Report:
    """What happened, in figures, and what was wrong: nothing, if all is well."""

    figures: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        figures = " ".join(f"{name}={value:g}" for name, value in self.figures.items())
        return "\n".join([f"storm {figures} wrong={len(self.wrong)}", *self.wrong[:50]])


class DatabaseKiller:
    """Kills the server with SIGKILL and starts it again, `kills` times, in a thread of its own."""

    def __init__(self, server: MariaDBServer | None, kills: int, draw: random.Random) -> None:
        self._server, self._kills, self._draw = server, kills, draw
        self.done = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        self._thread.join()

    def _work(self) -> None:
        while self._server and self.done < self._kills:
            time.sleep(self._draw.uniform(0.2, 0.8))
            self._server.kill()
            time.sleep(self._draw.uniform(0.0, 0.5))
            self._server.start()
            self.done += 1


def run_storm(plan: Plan, environment: Mapping[str, str], folder: Path, server: MariaDBServer | None = None) -> Report:
    """Runs the plan on the migrated database that `environment` names. `server`: whom to kill, if it is ours."""
    draw, report = random.Random(plan.seed), Report()
    deadlocks = count_deadlocks(environment)
    with ExitStack() as stack:
        services = stack.enter_context(Services(faults=[RECEIVER]))
        receiver = {"WRK_NOTIFY": f"shop={services.urls[1]}/told"}
        everything = {**os.environ, **environment, **SETTINGS, **services.environment(), **receiver}
        address = stack.enter_context(serving(everything))
        inserter = Inserter(plan.requests, plan.steps, everything, "shop")
        answerer = Answerer(services, inserter, plan.steps, everything, address, random.Random(plan.seed))
        inserter.want(_HEAD_START)
        with Processes(everything, folder) as processes:
            began = time.monotonic()
            _rage(plan, processes, inserter, DatabaseKiller(server, plan.database_kills, draw), draw)
            raged, left = time.monotonic(), plan.requests - _count_ended(everything)
            inserter.finish(DRAIN_SECONDS)
            _drain(processes, everything, answerer, draw)
            drained = time.monotonic()
        answerer.finish()
        calls, attempts, answers = services.calls(1), _attempts(environment), _answers(environment, answerer)
        requests, told = _requests(environment), _told(environment)
    report.figures = {
        "kills": processes.count_killed(),
        "database_kills": plan.database_kills,
        "processes": len(processes.children),
        "exits_with_1": sum(child.ended == 1 for child in processes.children),
        "requests": len(inserter.acknowledged),
        "calls": len(calls),
        "repeated": judge.repeated(calls, attempts),
        "waits": sum(attempt.checks for attempt in attempts),
        "told": len(told),
        "answers": len(answers),
        "taken": sum(answer.effect == "taken" for answer in answers),
        # Of processes that lived: nobody may take a job from them while they renew its lease.
        "refused": sum(child.said.count("job_result_too_late") for child in processes.children),
        "rage_seconds": round(raged - began, 1),
        "left_to_drain": left,
        "drain_seconds": round(drained - raged, 1),
        "deadlocks": count_deadlocks(environment) - (0 if plan.database_kills else deadlocks),
    }
    report.wrong = [
        *judge.lost_requests(inserter.acknowledged, requests),
        *judge.wrong_calls(calls, attempts),
        *judge.wrong_ends(requests, attempts),
        *judge.wrong_notifications(requests, told, services.calls(2)),
        *judge.wrong_answers(answerer.acknowledged, answers, attempts),
        *(fault for child in processes.children for fault in child.faults()),
        *_verify(everything),
    ]
    if report.figures["refused"] and not plan.database_kills:
        report.wrong.append("processes that lived lost their leases: results refused")
    if drained - raged > DRAIN_SECONDS:
        report.wrong.append(f"not drained within {DRAIN_SECONDS:g} s")
    return report


def _rage(plan: Plan, processes: Processes, inserter: Inserter, database: DatabaseKiller, draw: random.Random) -> None:
    """Keeps AT_ONCE commands alive and kills each when its time has come, until all kills are done."""
    while (killed := processes.count_killed()) < plan.kills or database.done < plan.database_kills:
        done = (killed + database.done) / max(1, plan.kills + plan.database_kills)
        inserter.want(_HEAD_START + done)
        alive = processes.alive()
        for child in alive:
            if not child.killed and time.monotonic() >= child.dies_at and killed < plan.kills:
                processes.kill(child)
        for _ in range(AT_ONCE - len(alive)):
            processes.start(*draw.choice(COMMANDS), lives=draw.uniform(*plan.lives))
        time.sleep(_TURN_SECONDS)
    database.finish()


def _drain(processes: Processes, environment: Mapping[str, str], answerer: Answerer, draw: random.Random) -> None:
    """Runs commands as before, none of them killed, until all requests are final, all answers are given and taken or
    late, and all commands have ended.
    """
    gives_up = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < gives_up and (not answerer.is_idle() or _count_open(environment)):
        for _ in range(AT_ONCE - len(processes.alive())):
            processes.start(*draw.choice(COMMANDS), lives=0)
        time.sleep(20 * _TURN_SECONDS)
    while processes.alive() and time.monotonic() < gives_up + 10:
        time.sleep(_TURN_SECONDS)


def _count_open(environment: Mapping[str, str]) -> int:
    """Requests that are not final, and answers without an effect."""
    sql = (
        "SELECT (SELECT COUNT(*) FROM requests WHERE status IN ('Queuing', 'Inprogress')) "
        "+ (SELECT COUNT(*) FROM answers WHERE effect = '')"
    )
    return int(read(environment, sql)[0][0])


def _count_ended(environment: Mapping[str, str]) -> int:
    sql = "SELECT COUNT(*) FROM requests WHERE completed_at IS NOT NULL"
    return int(read(environment, sql)[0][0])


def _requests(environment: Mapping[str, str]) -> list[judge.RequestEnd]:
    rows = read(
        environment, "SELECT token, status, error, action, shortfall, extras FROM requests WHERE action <> 'notify'"
    )
    ends = [[*columns, json.loads(extras)] for *columns, extras in rows]
    return [judge.RequestEnd(*end) for end in ends]


def _told(environment: Mapping[str, str]) -> list[judge.Told]:
    rows = read(environment, "SELECT token, subject, status FROM requests WHERE action = 'notify'")
    return [judge.Told(*row) for row in rows]


def _attempts(environment: Mapping[str, str]) -> list[judge.AttemptEnd]:
    sql = (
        "SELECT CONCAT(r.token, ':', j.step, ':', j.name), j.attempt, j.status, j.error, j.checks, j.if_fails, "
        "j.answer, j.extras FROM jobs j JOIN requests r ON r.id = j.request_id WHERE j.name <> 'notify'"
    )
    ends = [[*columns, answer or _only(extras)] for *columns, answer, extras in read(environment, sql)]
    return [judge.AttemptEnd(*end) for end in ends]


def _only(extras: str | None) -> Any:
    return next(iter(json.loads(extras or "{}").values()), None)


def _answers(environment: Mapping[str, str], answerer: Answerer) -> list[judge.AnswerEnd]:
    late = {mark for mark, answer in answerer.acknowledged.items() if answer.reply.late}
    rows = read(environment, "SELECT reason, outcome, effect FROM answers")
    ends = [[mark, outcome, effect, mark in late] for mark, outcome, effect in rows]
    return [judge.AnswerEnd(*end) for end in ends]


def count_deadlocks(environment: Mapping[str, str]) -> int:
    """The server's own counter since it was started."""
    if rows := read(environment, "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"):
        return int(rows[0][1])
    sql = "SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"
    return int(read(environment, sql)[0][0])


def _verify(environment: Mapping[str, str]) -> Iterator[str]:
    ended = manage(environment, "verify")
    if ended.returncode:
        yield f"verify:\n{(ended.stdout + ended.stderr)[-5000:]}"


def manage(environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **SETTINGS, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="processes to kill (default: %(default)s)")
    parser.add_argument("--database-kills", type=int, default=0, help="kills of the server (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=300, help="of 3 steps by 4 jobs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the storm's dice (default: the time)")
    options = parser.parse_args()
    plan = Plan(options.kills, options.database_kills, options.requests, seed=options.seed)
    given = all(name in os.environ for name in DB_NAMES)
    if given and plan.database_kills:
        parser.error("--database-kills needs a server of its own: unset DB_*")
    with ExitStack() as stack:
        server = None if given else stack.enter_context(MariaDBServer())
        environment = server.environment() if server else {name: os.environ[name] for name in DB_NAMES}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tasker-storm-")))
        migrated = manage(environment, "migrate")
        if migrated.returncode:
            print(migrated.stderr, file=sys.stderr)  # noqa: T201 - it is a command
            return 1
        report = run_storm(plan, environment, folder, server)
    print(f"seed={plan.seed} {report}")  # noqa: T201
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())
