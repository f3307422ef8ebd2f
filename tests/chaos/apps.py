"""Registers the storm's jobs at start-up."""

from django.apps import AppConfig


class ChaosConfig(AppConfig):
    name = "tests.chaos"
    label = "chaos"

    def ready(self) -> None:
        from tests.chaos import jobs  # noqa: F401 - importing registers
