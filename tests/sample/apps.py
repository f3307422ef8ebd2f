"""Registers the sample jobs at start-up."""

from django.apps import AppConfig


class SampleConfig(AppConfig):
    name = "tests.sample"
    label = "sample"

    def ready(self) -> None:
        from tests.sample import jobs  # noqa: F401 - importing registers
