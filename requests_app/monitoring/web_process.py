"""Metrics of the web process: HTTP, the Python runtime, CPU and memory; of all gunicorn workers together.

Under several workers a scrape reaches one of them. Every series here sums over all, so that it does not jump from one
worker's value to another's. Sources: files that prometheus_client shares between them, and /proc.
"""

import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

from prometheus_client import REGISTRY, CollectorRegistry, Counter, PlatformCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def has_several_workers() -> bool:
    """By the variable that makes prometheus_client share its files; it is set before gunicorn's workers start."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def register_process_metrics(registry: CollectorRegistry) -> None:
    if not has_several_workers():
        registry.register(REGISTRY)  # this process's, the runtime's and the process's own among them
        return
    registry.register(MultiProcessCollector(None))  # type: ignore[no-untyped-call]
    PlatformCollector(registry)
    registry.register(WebProcessesCollector())


# The garbage collector -----------------------------------------------------------------------------------------------
class GcCounters:
    """prometheus_client's python_gc_*, as counters in its shared files: summed over workers, kept when one ends.

    Each worker adds what is new when it serves something. Not in a gc callback: the collector may run while this thread
    holds the lock of those files.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counted: dict[tuple[str, int], int] = {}
        self._counters = {
            "collected": _gc_counter("python_gc_objects_collected", "Objects collected during gc"),
            "uncollectable": _gc_counter("python_gc_objects_uncollectable", "Uncollectable objects found during GC"),
            "collections": _gc_counter("python_gc_collections", "Number of times this generation was collected"),
        }

    def catch_up(self) -> None:
        with self._lock:
            for generation, stats in enumerate(gc.get_stats()):
                for key, counter in self._counters.items():
                    new = stats[key] - self._counted.get((key, generation), 0)
                    self._counted[key, generation] = stats[key]
                    counter.labels(str(generation)).inc(new)


def _gc_counter(name: str, documentation: str) -> Counter:
    return Counter(name, documentation, ["generation"], registry=None)


@cache
def _gc_counters() -> GcCounters:
    return GcCounters()


def catch_up_gc_counters() -> None:
    if has_several_workers():
        _gc_counters().catch_up()


# CPU and memory ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What /proc/PID/stat says (man 5 proc). `reaped`: of children that ended and were waited for."""

    pid: int
    parent: int
    cpu_seconds: float
    reaped_cpu_seconds: float
    started_ticks: float
    virtual_bytes: float
    resident_bytes: float


class WebProcessesCollector(Collector):
    """process_* over the gunicorn master and its workers, under the names of prometheus_client's ProcessCollector.

    CPU time counts ended workers too (the master has reaped them), so that it never falls. Memory pages that processes
    share count once for each. Of file descriptors the process with most is shown: the limit is each process's own.
    """

    def __init__(self, master: Callable[[], int] = os.getppid, proc: Path = Path("/proc")) -> None:
        self._master, self._proc = master, proc

    def collect(self) -> Iterator[Metric]:
        master = self._master()
        processes = [stat for stat in self._all() if master in {stat.pid, stat.parent}]
        if not processes:
            return
        reaped = sum(stat.reaped_cpu_seconds for stat in processes)
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds, by the web master and its workers, ended ones included.",
            reaped + sum(stat.cpu_seconds for stat in processes),
        )
        yield GaugeMetricFamily(
            "process_resident_memory_bytes",
            "Resident memory size in bytes, of the web master and its workers; what they share counts for each.",
            sum(stat.resident_bytes for stat in processes),
        )
        yield GaugeMetricFamily(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes, of the web master and its workers.",
            sum(stat.virtual_bytes for stat in processes),
        )
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the web master since unix epoch in seconds.",
            self._boot_time() + min(stat.started_ticks for stat in processes) / _TICKS,
        )
        yield GaugeMetricFamily(
            "tasker_web_workers", "Web workers that are alive.", sum(stat.parent == master for stat in processes)
        )
        yield from self._file_descriptors([stat.pid for stat in processes])

    def _file_descriptors(self, pids: list[int]) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "process_open_fds",
            "Number of open file descriptors, of the web process with most.",
            max(self._open_file_descriptors(pid) for pid in pids),
        )
        lines = (self._proc / "self/limits").read_text().splitlines()
        limit = next(line.split()[3] for line in lines if line.startswith("Max open files"))
        yield GaugeMetricFamily(
            "process_max_fds",
            "Maximum number of open file descriptors of a process.",
            float("inf" if limit == "unlimited" else limit),
        )

    def _open_file_descriptors(self, pid: int) -> int:
        try:
            return sum(1 for _ in (self._proc / str(pid) / "fd").iterdir())
        except OSError:  # it ended meanwhile, or is another user's
            return 0

    def _boot_time(self) -> float:
        lines = (self._proc / "stat").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("btime "))

    def _all(self) -> Iterator[ProcessStat]:
        for folder in self._proc.glob("[0-9]*"):
            try:
                text = (folder / "stat").read_text(errors="replace")
            except OSError:  # it ended meanwhile, or is hidden
                continue
            yield _read_stat(int(folder.name), text)


def _read_stat(pid: int, text: str) -> ProcessStat:
    fields = text.rpartition(")")[2].split()  # behind the program's name, which may hold anything: state, parent, ...
    ticks = [float(field) for field in fields[11:15]]
    return ProcessStat(
        pid=pid,
        parent=int(fields[1]),
        cpu_seconds=(ticks[0] + ticks[1]) / _TICKS,
        reaped_cpu_seconds=(ticks[2] + ticks[3]) / _TICKS,
        started_ticks=float(fields[19]),
        virtual_bytes=float(fields[20]),
        resident_bytes=float(fields[21]) * _PAGE_BYTES,
    )
