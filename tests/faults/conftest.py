"""What the tests of database faults share: a set of requests that ends in every way there is, and its whole life."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from demo.services import Services
from jobs_app.registry import unregister
from tests.conftest import Manage, _environment_of_commands, own_signals
from tests.faults.life import Life, register_jobs
from tests.proxy import Proxy
from tests.sample.jobs import RECORD_VARIABLE


@pytest.fixture
def life(transactional_db: None, services: Services, settings: Any) -> Iterator[Life]:
    """The tables and what moves them, in this process. Backoff is short, leases are not."""
    settings.WRK_JOB_BACKOFF_BASE_SECONDS = 0.01
    registered = register_jobs()
    with own_signals():
        yield Life(services)
    for name in registered:
        unregister(name)


@pytest.fixture
def proxy(transactional_db: None) -> Iterator[Proxy]:
    """A proxy before the test database. This process goes around it; see `through_proxy` and `through`."""
    database = connections["default"].settings_dict
    host, port = str(database["HOST"]), int(database["PORT"] or 3306)
    with Proxy(host if host.startswith("/") else (host, port)) as proxy:
        yield proxy


@pytest.fixture
def through_proxy(proxy: Proxy) -> Iterator[Proxy]:
    """The same proxy, and this process with all its threads goes through it."""
    database = connections["default"].settings_dict  # one dictionary for all threads
    kept = {name: database[name] for name in ("HOST", "PORT")}
    connections["default"].close()
    database.update(HOST="127.0.0.1", PORT=proxy.port)
    yield proxy
    proxy.reset()
    connections["default"].close()
    database.update(kept)


SHORT = {
    "WRK_JOB_BACKOFF_BASE_SECONDS": "0",
    "WRK_JOB_LEASE_SECONDS": "4",
    "WRK_JOB_TIMEOUT_SECONDS": "2",
    "WRK_DATABASE_AWAY_SECONDS": "6",
}


@pytest.fixture
def manage(manage: Manage, services: Services, tmp_path: Path) -> Iterator[Manage]:
    """As everywhere, with short times."""
    direct = Manage(_environment_of_commands() | SHORT | {RECORD_VARIABLE: str(tmp_path / "record")})
    yield direct
    direct.end_all()


@pytest.fixture
def through(manage: Manage, proxy: Proxy) -> Iterator[Manage]:
    """The same, but its commands reach the database through the proxy."""
    behind = {"DB_HOST": "127.0.0.1", "DB_PORT": str(proxy.port)}
    through = Manage(_environment_of_commands() | SHORT | behind)
    yield through
    through.end_all()
