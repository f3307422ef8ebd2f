"""Metrics of the web process: of all gunicorn workers together, so that no series depends on who was asked."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from django.db import connection
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from requests_app.monitoring.web_process import WebProcessesCollector
from tests.fork_server import started

MASTER, TICKS, PAGE = 40, os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
WORKERS = 2


# /proc, made up ------------------------------------------------------------------------------------------------------
class Proc:
    """As much of /proc as is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "self").mkdir()
        (folder / "stat").write_text("cpu 1 2 3\nbtime 1700000000\n")
        (folder / "self/limits").write_text("Limit  Soft  Hard\nMax open files            1024    4096    files\n")

    def add(
        self, pid: int, parent: int, *, cpu=0.0, reaped=0.0, started=0.0, pages=0, files=0, name="gunicorn"
    ) -> None:
        """Times in seconds."""
        folder = self.folder / str(pid)
        (folder / "fd").mkdir(parents=True)
        for number in range(files):
            (folder / "fd" / str(number)).touch()
        fields = ["0"] * 50
        fields[0], fields[1] = "S", str(parent)
        fields[11], fields[13] = str(int(cpu * TICKS)), str(int(reaped * TICKS))
        fields[19], fields[20], fields[21] = str(int(started * TICKS)), "1000", str(pages)
        (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")

    def remove(self, pid: int) -> None:
        (self.folder / str(pid) / "stat").unlink()


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


@pytest.fixture
def registry(proc: Proc) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(WebProcessesCollector(lambda: MASTER, proc.folder))
    return registry


def test_master_and_workers_are_summed_and_nobody_else(proc, registry):
    proc.add(MASTER, 1, cpu=1, pages=10, started=5)
    proc.add(41, MASTER, cpu=2, pages=20, started=6)
    proc.add(42, MASTER, cpu=3, pages=30, started=7, name="strange) S 40 name")
    proc.add(50, 1, cpu=100, pages=100)
    proc.add(51, 41, cpu=100, pages=100)
    assert registry.get_sample_value("process_cpu_seconds_total") == 6
    assert registry.get_sample_value("process_resident_memory_bytes") == 60 * PAGE
    assert registry.get_sample_value("process_start_time_seconds") == 1700000005
    assert registry.get_sample_value("tasker_web_workers") == 2


def test_cpu_time_does_not_fall_when_a_worker_ends(proc, registry):
    proc.add(MASTER, 1, cpu=1)
    proc.add(41, MASTER, cpu=2)
    before = registry.get_sample_value("process_cpu_seconds_total")
    proc.remove(41)
    proc.remove(MASTER)
    (proc.folder / str(MASTER) / "fd").rmdir()
    (proc.folder / str(MASTER)).rmdir()
    proc.add(MASTER, 1, cpu=1, reaped=2)
    assert registry.get_sample_value("process_cpu_seconds_total") == before == 3


def test_open_files_are_those_of_the_process_with_most(proc, registry):
    proc.add(MASTER, 1, files=3)
    proc.add(41, MASTER, files=7)
    assert registry.get_sample_value("process_open_fds") == 7
    assert registry.get_sample_value("process_max_fds") == 1024


def test_without_proc_there_is_simply_nothing(tmp_path):
    assert list(WebProcessesCollector(lambda: MASTER, tmp_path / "none").collect()) == []


# gunicorn, real ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def _running_gunicorn(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two workers, as production has them; returns their address."""
    folder = tmp_path_factory.mktemp("metrics")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
        "WRK_SQLITE_FILE": str(connection.settings_dict["NAME"]),
    }
    if connection.vendor == "mysql":
        environment["DB_NAME"] = str(connection.settings_dict["NAME"])
    command = ["-m", "gunicorn", "tasker_site.wsgi", f"--workers={WORKERS}", "--threads=2"]
    process = started([*command, f"--bind=127.0.0.1:{port}"], env=environment)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for_workers(address, process, folder)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def gunicorn(_running_gunicorn: str, transactional_db: None) -> str:
    return _running_gunicorn


def wait_for_workers(address: str, process: "subprocess.Popen[bytes]", shared: Path) -> None:
    """Until each worker has loaded the site (it has a file of its own then) and one answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "gunicorn ended"
        try:
            if len(list(shared.glob("histogram_*.db"))) == WORKERS and scrape(address):
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    pytest.fail("gunicorn did not start its workers")


def scrape(address: str) -> dict[str, float]:
    """On a new connection, so that any worker may answer."""
    response = requests.get(f"{address}/metrics", headers={"Connection": "close"}, timeout=10)
    response.raise_for_status()
    text = response.text
    return {
        f"{sample.name}{sorted(sample.labels.items()) or ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_of_several_workers_never_fall_and_no_series_comes_and_goes(gunicorn):
    scrapes = [scrape(gunicorn) for _ in range(30)]
    rising = [name for name in scrapes[0] if name.partition("[")[0].endswith(("_total", "_count", "_bucket"))]
    assert len(rising) > 20
    for before, after in pairwise(scrapes):
        assert before.keys() == after.keys()
        assert [name for name in rising if before[name] > after[name]] == []
    for name in ("process_start_time_seconds", "tasker_web_workers", "process_max_fds"):
        assert len({scrape[name] for scrape in scrapes}) == 1


def test_http_requests_are_summed_over_the_workers(gunicorn):
    counter = "django_http_requests_before_middlewares_total"
    before = scrape(gunicorn)[counter]
    for _ in range(20):
        requests.get(f"{gunicorn}/heartbeat", headers={"Connection": "close"}, timeout=10)
    assert scrape(gunicorn)[counter] - before == 21


def test_python_and_the_process_are_told_of_by_their_usual_names(gunicorn):
    names = {name.partition("[")[0] for name in scrape(gunicorn)}
    assert {
        "python_info",
        "python_gc_collections_total",
        "python_gc_objects_collected_total",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
        "process_max_fds",
        "tasker_database_up",
    } <= names


def test_no_series_names_a_process_or_is_there_twice(gunicorn):
    text = requests.get(f"{gunicorn}/metrics", timeout=10).text
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    assert "pid=" not in text
