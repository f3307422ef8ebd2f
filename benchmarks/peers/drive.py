"""Places and times the work of one engine: `python -m benchmarks.peers.drive celery --jobs 8000` prints JSON.

Runs in the engine's own environment, so on the standard library only. The unit is one request: a job, then three. Each
job appends the moment of its end to one file: so every engine is timed by the same watch, whatever it records itself.
"""

import argparse
import importlib
import json
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

JOBS = 4  # of a request
SLOTS = 32  # jobs at once, of those that sleep
STAMPS = "PEER_STAMPS"  # the file
STALLED_SECONDS = 60.0
WARM_REQUESTS = 32
_MOMENT = struct.Struct("d")


class Peer(Protocol):
    """What a module of an engine has."""

    def prepare(self) -> None:
        """Makes its tables."""

    def place(self, requests: int, seconds: float, /) -> None:
        """Places requests whose jobs sleep so long."""

    def workers(self, seconds: float, /) -> list[list[str]]:
        """The commands that work on such requests: SLOTS at once when they sleep, else as is best for it."""


# What every engine's job does ----------------------------------------------------------------------------------------
_file: int | None = None


def job(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)
    stamp()


def stamp() -> None:
    """One write to a file opened for appending: those of several processes never mix."""
    global _file  # noqa: PLW0603 - opened once a process
    if _file is None:
        _file = os.open(os.environ[STAMPS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_file, _MOMENT.pack(time.time()))


# The driver's side ---------------------------------------------------------------------------------------------------
def ended() -> int:
    return Path(os.environ[STAMPS]).stat().st_size // _MOMENT.size


def moments(after: int) -> list[float]:
    """The ends of all jobs after so many, in seconds of this machine's clock."""
    content = Path(os.environ[STAMPS]).read_bytes()
    return sorted(moment for (moment,) in list(_MOMENT.iter_unpack(content))[after:])


class StalledError(Exception):
    """Not all that was placed has ended, and nothing more does."""


def wait_for(jobs: int, *, look_every: float) -> None:
    seen, changed_at = 0, time.monotonic()
    while (now := ended()) < jobs:
        if now != seen:
            seen, changed_at = now, time.monotonic()
        elif time.monotonic() - changed_at > STALLED_SECONDS:
            raise StalledError(f"{now:,} of {jobs:,} jobs ended, then nothing for {STALLED_SECONDS:.0f} s")
        time.sleep(look_every)


def log_path() -> Path:
    """Of what the workers say."""
    return Path(os.environ[STAMPS]).with_suffix(".log")


@contextmanager
def running(commands: list[list[str]]) -> Iterator[list[int]]:
    """Workers, each the leader of a group of its own, which is ended with it. Returns the groups."""
    with log_path().open("ab") as log:
        started = [subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) for command in commands]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for how, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, how)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def signal_all(groups: list[int], how: signal.Signals) -> None:
    for group in groups:
        os.killpg(group, how)


def memory_mb(groups: list[int]) -> float:
    """Of all processes of these groups; what they share is counted once."""
    kilobytes = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[2]) in groups:
                lines = (stat.parent / "smaps_rollup").read_text().splitlines()
                kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue  # it has ended
    return kilobytes / 1024


def measure(peer: Peer, requests: int, seconds: float, latencies: int) -> dict[str, float]:
    """The workers are up and warm, and frozen while the requests are placed: timed is the work, not the placing."""
    Path(os.environ[STAMPS]).write_bytes(b"")
    with running(peer.workers(seconds)) as groups:
        peer.place(WARM_REQUESTS, seconds)
        wait_for(WARM_REQUESTS * JOBS, look_every=0.05)
        time.sleep(3)  # until the last of many processes has started
        figures = latency(peer, latencies) if latencies else {}
        before = freeze(groups, peer, seconds)
        began = time.monotonic()
        peer.place(requests, seconds)
        figures["requests placed/s"] = requests / (time.monotonic() - began)
        signal_all(groups, signal.SIGCONT)
        wait_for(before + requests * JOBS, look_every=0.02)
        timed = moments(before)
        figures["jobs/s"] = len(timed) / (timed[-1] - (timed[0] - seconds))  # from when the first one began
        return figures | {"memory MB": memory_mb(groups)}


def latency(peer: Peer, count: int) -> dict[str, float]:
    """Of one request at a time, with nothing else to do."""
    taken = sorted(_one(peer) for _ in range(count))
    return {"latency p50 ms": statistics.median(taken), "latency p99 ms": taken[int(0.99 * count)]}


def freeze(groups: list[int], peer: Peer, seconds: float) -> int:
    """Stops the workers, but not while one holds a lock that placing needs. Returns how many jobs had ended."""
    while True:
        signal_all(groups, signal.SIGSTOP)
        time.sleep(0.05)  # until it has reached every thread: one may take a lock until then
        before = ended()
        try:
            peer.place(1, seconds)
        except Exception as error:  # noqa: BLE001 - each engine has its own
            print(f"    frozen at a bad moment, once more ({error})", file=sys.stderr, flush=True)
            signal_all(groups, signal.SIGCONT)
            time.sleep(random.uniform(0.05, 0.5))
        else:
            return before


def _one(peer: Peer) -> float:
    """Milliseconds from before a request is placed until its last job has ended."""
    time.sleep(0.05)
    before, began = ended(), time.time()
    peer.place(1, 0)
    wait_for(before + JOBS, look_every=0.0005)
    return 1000 * (moments(before)[-1] - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--latencies", type=int, default=100)
    arguments = parser.parse_args()
    peer: Peer = importlib.import_module(f"benchmarks.peers.{arguments.peer}")
    peer.prepare()
    answer: dict[str, object] = {}
    for load, seconds, jobs, latencies in (
        ("no-op", 0.0, arguments.jobs, arguments.latencies),
        ("20 ms", 0.02, arguments.jobs // 2, 0),
    ):
        try:
            answer[load] = measure(peer, jobs // JOBS, seconds, latencies)
        except StalledError as error:
            answer[load] = {"fault": str(error)}
            print(log_path().read_text(errors="replace")[-2000:], file=sys.stderr)
        print(f"    {load}: {answer[load]}", file=sys.stderr, flush=True)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
