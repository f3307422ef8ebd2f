"""Settings of the benchmarks' processes: the project's, with the sample jobs of the tests and those of jobs.py."""

from tests.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.apps.BenchmarksConfig"]
WRK_LOG_LEVEL = "WARNING"
