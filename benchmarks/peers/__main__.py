"""Runs the same work on every engine of catalog.py, and prints what came out beside ours.

`make bench-peers`, or `python -m benchmarks.peers [--only NAME ...] [--jobs N] [--quick] [--json FILE]`. Needs PyPI,
and Debian's redis-server, postgresql and mariadb-server, which it installs when it is root; one engine needs a newer
Python on PATH. With DB_* set to an empty database of a MySQL, some are run on that too. Environments are kept in
var/bench-peers/. An engine that cannot be run says why in its row.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from benchmarks.goals import as_text, number
from benchmarks.machine import machine
from benchmarks.peers.catalog import ENGINES, Engine
from benchmarks.peers.servers import MissingError

ROOT = Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = Path(__file__).parent / "requirements"
COLUMNS = (
    "engine",
    "no-op jobs/s",
    "ours / it",
    "20 ms, 32 at once: jobs/s",
    "one request: p50 ms",
    "p99 ms",
    "requests placed/s",
    "memory MB",
)
PROMISES = ("engine", "keeps its state in", "order", "retries", "a worker is killed", "settings")
SECONDS_MAX = 900  # of one engine


def interpreter(engine: Engine) -> str:
    """Of this project, or of the engine's own environment, which is made when it is not there or has other pins."""
    if not engine.package:
        return sys.executable
    folder = ROOT / "var" / "bench-peers" / engine.module
    pins = REQUIREMENTS / f"{engine.module}.txt"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != pins.read_text():
        print(f"    makes {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
        _make_environment(folder, engine)
        install = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "-r", str(pins)]
        ran = subprocess.run(install, check=False, capture_output=True, text=True)
        if ran.returncode:
            raise MissingError(f"pip could not install it: {ran.stderr.strip().splitlines()[-1]}")
        stamp.write_text(pins.read_text())
    return str(folder / "bin" / "python")


def _make_environment(folder: Path, engine: Engine) -> None:
    if sys.version_info >= engine.python:
        venv.create(folder, clear=True, with_pip=True)
        return
    names = [f"python3.{minor}" for minor in range(engine.python[1], engine.python[1] + 6)]
    newer = next((found for name in names if (found := shutil.which(name)) and _runs(found)), None)
    if newer is None:
        raise MissingError(f"it needs Python {engine.python[0]}.{engine.python[1]}: no {' or '.join(names)} here")
    subprocess.run([newer, "-m", "venv", "--clear", str(folder)], check=True)


def _runs(python: str) -> bool:
    """A shim of a version manager may be on PATH and lead nowhere."""
    return subprocess.run([python, "-c", "import venv"], check=False, capture_output=True).returncode == 0


def run(engine: Engine, jobs: int, latencies: int) -> dict[str, Any]:
    """What drive.py answers, and the version. Raises MissingError, CalledProcessError, TimeoutExpired."""
    python = interpreter(engine)
    with engine.server() as environment, tempfile.TemporaryDirectory(prefix="tasker-peer-") as folder:
        command = [python, "-m", "benchmarks.peers.drive", engine.module, f"--jobs={jobs}", f"--latencies={latencies}"]
        settings = environment | {
            "PEER_STAMPS": f"{folder}/stamps",
            "PEER_APPS": engine.apps,
            "PEER_VARIANT": engine.variant,
        }
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")} | settings,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=SECONDS_MAX,
        )
    return {**json.loads(ran.stdout.splitlines()[-1]), "version": _version(python, engine)}


def _version(python: str, engine: Engine) -> str:
    if not engine.package:
        return ""
    ask = f"from importlib.metadata import version; print(version({engine.package!r}))"
    return subprocess.run([python, "-c", ask], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def measure(names: list[str], jobs: int, latencies: int) -> dict[str, dict[str, Any]]:
    results = {}
    for place, name in enumerate(names, 1):
        print(f"[{place}/{len(names)}] {ENGINES[name].name}", file=sys.stderr, flush=True)
        try:
            results[name] = run(ENGINES[name], jobs, latencies)
        except MissingError as reason:
            results[name] = {"fault": str(reason)}
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            results[name] = {"fault": f"{type(error).__name__}: its driver did not end well, see above"}
        if fault := results[name].get("fault"):
            print(f"    not run: {fault}", file=sys.stderr, flush=True)
    return results


def rows(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    ours = {name: results.get(name, {}).get("no-op", {}).get("jobs/s") for name in ("tasker", "tasker-mysql")}
    return [
        _row(" ".join((ENGINES[name].name, result.get("version", ""))).strip(), result, ours[ENGINES[name].beside])
        for name, result in results.items()
    ]


def _row(name: str, result: dict[str, Any], ours: float | None) -> tuple[str, ...]:
    if "fault" in result:
        return (name, f"not run: {result['fault']}", *[""] * (len(COLUMNS) - 2))
    noop, sleeping = result["no-op"], result["20 ms"]
    rate = noop.get("jobs/s")
    return (
        name,
        _cell(noop, "jobs/s"),
        number(ours / rate) if ours and rate else "",
        _cell(sleeping, "jobs/s"),
        *(_cell(noop, figure) for figure in ("latency p50 ms", "latency p99 ms", "requests placed/s")),
        _cell(sleeping, "memory MB"),
    )


def _cell(figures: dict[str, Any], name: str) -> str:
    """A load that did not end says why in the place of its rate."""
    if name in figures:
        return number(figures[name])
    return str(figures["fault"]) if name == "jobs/s" else ""


def promises(names: list[str]) -> list[tuple[str, ...]]:
    engines = [ENGINES[name] for name in names]
    return [(one.name, one.keeps, one.order, one.retries, one.killed, one.settings) for one in engines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(ENGINES), choices=list(ENGINES), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=8000, help="no-op jobs of each engine; half as many that sleep")
    parser.add_argument("--quick", action="store_true", help="few jobs; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    jobs, latencies = (160, 10) if arguments.quick else (arguments.jobs, 200)
    results = measure(arguments.only, jobs, latencies)
    tables = {
        "rates": {"columns": COLUMNS, "rows": rows(results)},
        "promises": {"columns": PROMISES, "rows": promises(arguments.only)},
    }
    print(as_text(COLUMNS, rows(results)), end="\n\n")
    for cells in promises(arguments.only):
        print("\n".join(f"{column}: {cell}" for column, cell in zip(PROMISES, cells)), end="\n\n")
    if not arguments.quick and arguments.only == list(ENGINES):
        arguments.json = arguments.json or ROOT / "var" / "bench" / "peers.json"
    if arguments.json:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"at": at, "quick": arguments.quick, "where": machine(), "peers": results, "tables": tables}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
