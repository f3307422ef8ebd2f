"""The storm's processes, as its main loop sees them: born, alive until they end or are killed, judged by their logs."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
_LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \[(info|warning|error)")
_START_SECONDS = 60.0


@dataclass(slots=True)
class Child:
    """`ended`: its exit code, below 0 the signal that killed it; None while it lives. Times: monotonic, in seconds."""

    pid: int
    command: str
    log: Path
    born: float
    dies_at: float
    killed: bool = False
    ended: int | None = None

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def faults(self) -> list[str]:
        """What it did that no command may do, whatever is killed around it."""
        said = self.said
        if "Traceback" in said:
            return [f"{self.command} (pid {self.pid}) printed a traceback:\n{said[-3000:]}"]
        lines = [line for line in said.splitlines() if line and not _LOG_LINE.match(line)]
        lines = [line for line in lines if not line.startswith("run_worker started")]
        if self.ended not in {0, 1, -signal.SIGKILL}:
            return [f"{self.command} (pid {self.pid}) ended with {self.ended}: {said[-500:]}"]
        if self.ended == 1 and len(lines) != 1:
            return [f"{self.command} (pid {self.pid}) ended with 1 and not with one clear line: {lines}"]
        return []


class Processes:
    """Starts and kills commands through a nursery. A context manager: leaving it leaves no process behind."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment, self._folder = dict(environment), folder
        self.children: list[Child] = []
        self._born: SimpleQueue[int] = SimpleQueue()
        self._ends: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for child in self.alive():
            self.kill(child)
        if self._nursery.stdin:
            self._nursery.stdin.close()
        self._nursery.wait(_START_SECONDS)
        self._reader.join(_START_SECONDS)
        if self._nursery.stdout:
            self._nursery.stdout.close()
        self._note_ends()

    def start(self, *arguments: str, lives: float) -> Child:
        """`lives`: seconds after which the storm is to kill it."""
        log = self._folder / f"{len(self.children):05}.log"
        self._order("start", str(log), *arguments)
        pid, born = self._born.get(timeout=_START_SECONDS), time.monotonic()
        child = Child(pid, arguments[0], log, born, born + lives)
        self.children.append(child)
        return child

    def kill(self, child: Child, how: signal.Signals = signal.SIGKILL) -> None:
        child.killed = True
        self._order("kill", child.pid, int(how))

    def alive(self) -> list[Child]:
        self._note_ends()
        return [child for child in self.children if child.ended is None]

    def count_killed(self) -> int:
        """How many were alive when their SIGKILL came."""
        self._note_ends()
        return sum(child.ended == -signal.SIGKILL for child in self.children)

    def _note_ends(self) -> None:
        for child in self.children:
            if child.ended is None and child.pid in self._ends:
                child.ended = self._ends.pop(child.pid)

    def _order(self, *order: object) -> None:
        assert self._nursery.stdin
        self._nursery.stdin.write(json.dumps(order) + "\n")

    def _read(self) -> None:
        assert self._nursery.stdout
        for line in self._nursery.stdout:
            match line.split():
                case ["started", pid]:
                    self._born.put(int(pid))
                case ["ended", pid, code]:
                    self._ends[int(pid)] = int(code)
