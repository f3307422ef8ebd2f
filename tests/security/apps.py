"""Registers the jobs that show what they were given, at start-up."""

from django.apps import AppConfig


class SecurityConfig(AppConfig):
    name = "tests.security"
    label = "security"

    def ready(self) -> None:
        from tests.security import jobs  # noqa: F401 - importing registers
