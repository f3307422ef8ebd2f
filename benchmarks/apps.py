"""Registers the benchmarks' jobs at start-up."""

from django.apps import AppConfig


class BenchmarksConfig(AppConfig):
    name = "benchmarks"

    def ready(self) -> None:
        from benchmarks import jobs  # noqa: F401 - importing registers
