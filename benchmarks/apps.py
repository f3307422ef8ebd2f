"""Registers the benchmarks' jobs at start-up, and sets the batch size of a sweep."""

import os
from importlib import import_module

from django.apps import AppConfig

BATCH_VARIABLE = "TASKER_BENCH_BATCH"  # rows a batch, in place of the project's own 500

MODULES = (
    "jobs_app.worker.claimer",
    "jobs_app.worker.completer",
    "jobs_app.worker.lost_leases",
    "requests_app.passes.new_requests",
    "requests_app.passes.inprogress_requests",
    "requests_app.worker",
)


class BenchmarksConfig(AppConfig):
    name = "benchmarks"

    def ready(self) -> None:
        from benchmarks import jobs  # noqa: F401 - importing registers

        if batch := os.environ.get(BATCH_VARIABLE):
            _set_batch(int(batch))


def _set_batch(batch: int) -> None:
    """It is a constant of the project, not a setting: nobody should have to tune it."""
    for name in MODULES:
        if hasattr(module := import_module(name), "BATCH"):
            setattr(module, "BATCH", batch)  # noqa: B010 - an assignment would be an error to mypy
