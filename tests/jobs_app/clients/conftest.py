"""One service to call, whose address each test sets, and short times for the tests about time."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs_app.clients.http import Service
from jobs_app.clients.responses import Response
from jobs_app.outcomes import JobContext

SECONDS = 0.25
HONEST_SECONDS = 1.0  # a good answer comes within it on a busy machine too

Call = Callable[..., Response]


@pytest.fixture
def call(settings: Any) -> Call:
    """`call(url)` gets user 7 there; `call(url, "DELETE")`; `call(url, context=context(token=...))`."""

    def call(url: str, method: str = "GET", *, context: JobContext | None = None, **more: Any) -> Response:
        settings.URL_SERVICE1 = url
        service = Service("service1", "URL_SERVICE1")
        return service.call(context or new_context(), method, "/user/{id}", **({"id": 7} | more))

    return call


@pytest.fixture
def short(settings: Any) -> None:
    """Calls may take SECONDS: for servers that never answer."""
    settings.WRK_HTTP_TIMEOUT_SECONDS = SECONDS


@pytest.fixture
def honest(settings: Any) -> None:
    """Calls may take HONEST_SECONDS: for tests about time whose servers answer well."""
    settings.WRK_HTTP_TIMEOUT_SECONDS = HONEST_SECONDS


def new_context(**changes: Any) -> JobContext:
    values: dict[str, Any] = {
        "token": "t-1",
        "action": "delete_user",
        "step": 0,
        "name": "service1_get_user",
        "attempt": 1,
        "params": {"id": 7},
        "extras": {},
    }
    return JobContext(**(values | changes))
