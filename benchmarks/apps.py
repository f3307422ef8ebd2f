"""Registers the benchmarks' jobs at start-up, and sets the batch size of a sweep."""

import os

from django.apps import AppConfig

BATCH_VARIABLE = "TASKER_BENCH_BATCH"  # rows a batch, in place of the project's own 500


class BenchmarksConfig(AppConfig):
    name = "benchmarks"

    def ready(self) -> None:
        from benchmarks import jobs  # noqa: F401 - importing registers

        if batch := os.environ.get(BATCH_VARIABLE):
            _set_batch(int(batch))


def _set_batch(batch: int) -> None:
    """It is a constant of the project, not a setting: nobody should have to tune it."""
    from jobs_app.worker import completer, room, runner
    from requests_app import passes as requests_passes
    from requests_app import worker

    for module in (completer, runner, room, requests_passes, worker):
        setattr(module, "BATCH", batch)  # noqa: B010 - an assignment would be an error to mypy
    room._MOST_HELD = 8 * batch
