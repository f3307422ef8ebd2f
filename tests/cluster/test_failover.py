"""On a cluster that the environment names: its primary is killed under load, nothing acknowledged is lost."""

import os
import subprocess
import sys

import pytest

from tests.chaos.processes import ROOT

ADDRESSES, KILL, REJOIN = "TASKER_TEST_CLUSTER", "TASKER_TEST_CLUSTER_KILL", "TASKER_TEST_CLUSTER_REJOIN"


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.skipif(
    not {ADDRESSES, KILL} <= os.environ.keys(),
    reason=f"needs a cluster: {ADDRESSES}=host:port,..., {KILL}=command (tests/cluster/failover.py says how), and DB_*",
)
def test_when_the_primary_is_killed_nothing_acknowledged_is_lost():
    """In a process of its own: that one works on DB_NAME itself, not on the test database."""
    command = [sys.executable, "-m", "tests.cluster.failover", "--addresses", os.environ[ADDRESSES]]
    command += ["--kill", os.environ[KILL], "--rejoin", os.environ.get(REJOIN, ""), "--kills", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}"
