"""The tests' settings with one more app: the storm's own jobs."""

from tests.settings import *  # noqa: F403 - the tests' settings, all of them

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos"]  # noqa: F405
