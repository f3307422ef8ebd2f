"""The foreign programs of a storm: one places requests, one answers. Both keep what was acknowledged."""

import heapq
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import MySQLdb
import requests
from django.core.signing import Signer

from demo.service import Call
from tests.chaos import kinds
from tests.chaos.kinds import Kind, Reply
from tests.chaos.processes import ROOT

ANSWER_KEY = "the-storm-s-key-0123456789-abcdefghijklm"
_SALT = "jobs_app.answer_urls"  # as jobs_app/answer_urls.py has it
_AGAIN_SECONDS = 0.2
_TURN_SECONDS = 0.01
Connection = Any


def connect(environment: Mapping[str, str]) -> Connection:
    host = environment["DB_HOST"]
    where = {"unix_socket": host} if host.startswith("/") else {"host": host, "port": int(environment["DB_PORT"])}
    return MySQLdb.connect(
        user=environment["DB_USER"],
        password=environment["DB_PASS"],
        database=environment["DB_NAME"],
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=5,
        **where,
    )


def read(environment: Mapping[str, str], sql: str) -> list[Any]:
    with closing(connect(environment)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


@contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[str]:
    """The web process, which takes what is posted; returns its address, maybe before it listens there."""
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "tasker_site.wsgi"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    address = f"http://127.0.0.1:{port}"
    own = {"PORT": port, "WRK_WEB_WORKERS": "1", "WRK_PUBLIC_URL": address}
    with subprocess.Popen(command, cwd=ROOT, env={**environment, **own}, stderr=subprocess.DEVNULL) as process:
        yield address
        process.terminate()


class Writer:
    """A connection that is opened anew until what is to be done with it is acknowledged."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._connection: Connection | None = None

    def insert(self, sql: str, values: Sequence[object], *, is_there: tuple[str, Sequence[object]] | None) -> None:
        """`is_there`: how to see, after a lost acknowledgement, that it was done; None: it is refused as a double."""
        is_unknown = False
        while True:
            try:
                self._connection = self._connection or connect(self._environment)
                with closing(self._connection.cursor()) as cursor:
                    if is_unknown and is_there and cursor.execute(*is_there):
                        return
                    cursor.execute(sql, values)
                    return
            except MySQLdb.IntegrityError:
                return
            except MySQLdb.Error:
                self._connection, is_unknown = None, True
                time.sleep(0.05)


class Inserter:
    """Places requests as a foreign program does, and keeps the tokens whose INSERT was acknowledged."""

    def __init__(self, count: int, steps: int, environment: Mapping[str, str], notify: str = "") -> None:
        self._count, self._steps, self._writer, self._notify = count, steps, Writer(environment), notify
        self.acknowledged: list[str] = []
        self._wanted = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def want(self, share: float) -> None:
        """That this share of all requests be there."""
        with self._changed:
            self._wanted = max(self._wanted, round(min(1.0, share) * self._count))
            self._changed.notify()

    def finish(self, seconds: float) -> None:
        self.want(1.0)
        self._thread.join(seconds)

    def _work(self) -> None:
        while len(self.acknowledged) < self._count:
            with self._changed:
                self._changed.wait_for(lambda: len(self.acknowledged) < self._wanted, timeout=1)
                wanted = self._wanted
            while len(self.acknowledged) < wanted:
                self._insert(str(uuid4()), kinds.kind_of(len(self.acknowledged)))

    def _insert(self, token: str, kind: Kind) -> None:
        """Until it is acknowledged. After a lost answer the same token again: refused as double, it was there."""
        sql = "INSERT INTO requests (token, action, steps, notify) VALUES (%s, %s, %s, %s)"
        self._writer.insert(sql, [token, kind.name, json.dumps(kind.json(self._steps)), self._notify], is_there=None)
        self.acknowledged.append(token)


class Answer(NamedTuple):
    """As it is placed. `mark`: its own, by which it is found again in the attempt that it ended."""

    mark: str
    token: str
    step: int
    job: str
    attempt: int
    reply: Reply

    def row(self) -> list[object]:
        extras = json.dumps({f"{self.step} {self.job}": self.mark}) if self.reply.outcome == "completed" else None
        attempt = self.attempt if self.reply.names_attempt else None
        return [self.token, self.step, self.job, attempt, self.reply.outcome, extras, self.mark]

    def posted(self) -> dict[str, object]:
        _, _, _, _, outcome, extras, reason = self.row()
        return {"outcome": outcome, "reason": reason, "extras": json.loads(str(extras)) if extras else None}


class Calls(Protocol):
    def calls(self, service: int) -> list[Call]: ...


class Answerer:
    """Answers for the services what they were called for, by INSERT or by POST, each when its time has come."""

    def __init__(
        self,
        services: Calls,
        inserter: Inserter,
        steps: int,
        environment: Mapping[str, str],
        address: str,
        draw: random.Random,
    ) -> None:
        self._services, self._inserter, self._steps, self._draw = services, inserter, steps, draw
        self._writer, self._address, self._web = Writer(environment), address, requests.Session()
        self._web.trust_env = False
        self._signer = Signer(key=ANSWER_KEY, fallback_keys=[], salt=_SALT)
        self.acknowledged: dict[str, Answer] = {}  # by mark
        self._due: list[tuple[float, str, list[Answer]]] = []
        self._seen = self._placed = 0  # calls, and requests
        self._keys: set[str] = set()
        self._attempts: set[tuple[str, str]] = set()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def is_idle(self) -> bool:
        """Whether it has answered all that it was called for so far."""
        calls, placed = len(self._services.calls(1)), len(self._inserter.acknowledged)
        return not self._due and (self._seen, self._placed) == (calls, placed)

    def finish(self) -> None:
        self._stopped = True
        self._thread.join()

    def _work(self) -> None:
        while not self._stopped:
            self._see_requests()
            self._see_calls()
            while self._due and self._due[0][0] <= time.monotonic():
                self._place(self._due[0][2])
                heapq.heappop(self._due)  # only now: is_idle
            time.sleep(_TURN_SECONDS)

    def _see_requests(self) -> None:
        for token in self._inserter.acknowledged[self._placed :]:
            for step, job in kinds.early_replies(kinds.kind_of(self._placed), self._steps):
                self._schedule(0, [Answer(uuid4().hex, token, step, job, 1, Reply())])
            self._placed += 1

    def _see_calls(self) -> None:
        for call in self._services.calls(1)[self._seen :]:
            self._see(call)
            self._seen += 1

    def _see(self, call: Call) -> None:
        if (call.key, call.attempt) in self._attempts:
            return
        token, step, job = call.key.split(":")
        attempt, is_first, by_post = int(call.attempt), call.key not in self._keys, self._draw.random() < 0.5
        self._keys.add(call.key)
        self._attempts.add((call.key, call.attempt))
        answers = [
            Answer(uuid4().hex, one.token or token, int(step) - one.steps_back, one.job or job, attempt, one)
            for one in kinds.replies(job, attempt, is_first=is_first, by_post=by_post)
        ]
        self._draw.shuffle(answers)
        after = self._draw.uniform(*kinds.delays(job))
        self._schedule(after, [one for one in answers if not one.reply.by_post])
        for posted in (one for one in answers if one.reply.by_post):
            self._schedule(after, [posted])

    def _schedule(self, after: float, answers: list[Answer]) -> None:
        if answers:
            heapq.heappush(self._due, (time.monotonic() + after, answers[0].mark, answers))

    def _place(self, answers: list[Answer]) -> None:
        """Those of one INSERT, or one that is posted."""
        if answers[0].reply.by_post:
            if not self._is_posted(answers[0]):
                self._schedule(_AGAIN_SECONDS, answers)
                return
        else:
            self._insert(answers)
        self.acknowledged.update((one.mark, one) for one in answers)

    def _insert(self, answers: list[Answer]) -> None:
        rows = ", ".join(["(%s, %s, %s, %s, %s, %s, %s)"] * len(answers))
        self._writer.insert(
            f"INSERT INTO answers (token, step, job, attempt, outcome, extras, reason) VALUES {rows}",
            [value for one in answers for value in one.row()],
            is_there=("SELECT 1 FROM answers WHERE token = %s AND reason = %s", [answers[0].token, answers[0].mark]),
        )

    def _is_posted(self, answer: Answer) -> bool:
        path = self._signer.sign_object((answer.token, answer.step, answer.job, answer.attempt))
        with suppress(requests.RequestException):
            return self._web.post(f"{self._address}/answers/{path}", json=answer.posted(), timeout=5).status_code == 202
        return False
