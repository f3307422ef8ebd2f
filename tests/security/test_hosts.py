"""Rows never choose a host: whatever params, extras and token hold, every call goes to its service's own address."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from requests import PreparedRequest

from jobs_app.clients import http
from jobs_app.clients.responses import Response
from jobs_app.outcomes import Failure, JobContext, Retry
from jobs_app.registry import definitions
from tests.lifecycle.malformed import odd_text, values

PREFIX = "/api/v1"
PATH = re.compile(rf"{PREFIX}/user(/-?[0-9]+)?")

addresses = st.sampled_from(
    [
        "@evil.example/",
        "//evil.example",
        "http://evil.example",
        "../../..",
        "1/../../evil",
        "7@evil.example:80",
        "7?x=http://evil.example",
        "7#",
        "\r\nHost: evil.example",
        "7\r\n\r\nGET / HTTP/1.1",
        "%2e%2e%2f",
        "\\\\evil",
        "169.254.169.254",
        "file:///etc/passwd",
        "[::1]",
        "a@evil.example\r\nHost: evil.example",
        "\u2025/\u2100",
    ]
)
texts = addresses | odd_text
ids = st.integers(0, 9) | texts | values
objects = st.fixed_dictionaries({}, optional={"id": ids, "email": texts | values, "url": texts, "host": texts})
service_callbacks = [one for one in definitions() if one.name.startswith("service")]


@pytest.fixture
def sent(settings: Any) -> Iterator[list[PreparedRequest]]:
    """What would have gone out; every service answers as the job hopes for, with an address for an e-mail."""
    for number in (1, 2, 3):
        setattr(settings, f"URL_SERVICE{number}", f"http://service{number}.example:81{PREFIX}")
    requests: list[PreparedRequest] = []

    def send(call: str, request: PreparedRequest, _adapter: object) -> Response:
        requests.append(request)
        body = {"id": 7, "email": "x@evil.example"}
        return Response(call, 200, {"Location": "http://evil.example"}, json.dumps(body).encode())

    with mock.patch.object(http, "_send", send):
        yield requests


@pytest.mark.parametrize("definition", service_callbacks, ids=lambda definition: definition.name)
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(params=objects, extras=objects, token=texts, action=texts)
def test_every_call_goes_to_its_service_whatever_the_row_holds(
    sent: list[PreparedRequest], definition: Any, params: Any, extras: Any, token: str, action: str
) -> None:
    sent.clear()
    context = JobContext(token, action, 0, definition.name, 1, params, extras)
    with suppress(Failure, Retry):
        definition.callback(context)
    for request in sent:
        url = urlsplit(str(request.url))
        assert (url.scheme, url.netloc) == ("http", f"{definition.name[:8]}.example:81")
        assert PATH.fullmatch(url.path)
        assert (url.query, url.fragment) == ("", "")
        for name, value in request.headers.items():
            assert name not in {"Host", "Authorization", "Cookie"}
            assert str(value).isascii()
            assert str(value).isprintable(), "a header that is not visible could begin another one"


def test_each_service_is_called_by_good_rows(sent: list[PreparedRequest]) -> None:
    """So that the test above is about something."""
    for definition in service_callbacks:
        person = {"id": 7, "email": "a@example.org"}
        definition.callback(JobContext("t", "a", 0, definition.name, 1, person, person))
    assert {urlsplit(str(request.url)).hostname for request in sent} == {f"service{n}.example" for n in (1, 2, 3)}
    assert len(sent) == len(service_callbacks) == 7
