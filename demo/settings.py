"""Settings of the demo: the project's own, without a developer's .env, which may name a database of consequence."""

from unittest import mock

from tasker_site.dotenv_file import NOTHING

with mock.patch("tasker_site.environment.read_dotenv", return_value=NOTHING):
    from tasker_site.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "demo.apps.DemoConfig"]
