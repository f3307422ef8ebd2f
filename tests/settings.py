"""Settings of the tests, and of the commands that tests run as processes of their own (DJANGO_SETTINGS_MODULE)."""

from unittest import mock

from tasker_site.dotenv_file import NOTHING

# A developer's .env must not decide how the tests end; the environment does reach them.
with mock.patch("tasker_site.environment.read_dotenv", return_value=NOTHING):
    from tasker_site.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "tests.sample"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # made to be slow is the others' virtue
