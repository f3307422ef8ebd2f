"""Settings of the demo: the project's own, without a developer's .env, which may name a database of consequence."""

from unittest import mock

import environ

with mock.patch.object(environ.Env, "read_env"):
    from tasker_site.settings import *
