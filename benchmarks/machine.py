"""On what it was measured, in one line."""

import os
import platform
from pathlib import Path


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "an unknown CPU")
    return f"{os.cpu_count()} cores of {cpu}, Python {platform.python_version()}"
