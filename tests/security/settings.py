"""The tests' settings with one more app: jobs that end with what they were given."""

from tests.settings import *  # noqa: F403 - the tests' settings, all of them

INSTALLED_APPS = [*INSTALLED_APPS, "tests.security"]  # noqa: F405
