"""A callback by its job name, with a context, against the three services of demo/services.py over real HTTP."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs_app.registry import definition
from tests.jobs_app.clients.conftest import new_context

Run = Callable[..., Any]


@pytest.fixture
def run(services: Any) -> Run:
    """`run("service1_get_user", params={"id": 7})`."""

    def run(name: str, **context: Any) -> Any:
        known = definition(name)
        assert known is not None
        return known.callback(new_context(**({"name": name} | context)))

    return run
