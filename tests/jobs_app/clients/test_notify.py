"""What a receiver is sent, verified as receivers verify it; and what its answers, or their lack, mean for the job."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobs_app.clients import notify
from jobs_app.outcomes import Failure, Retry
from tests.jobs_app.clients.conftest import new_context
from tests.jobs_app.clients.server import Server, answering, http, sending

OLD, NEW, OTHER = (f"whsec_{b64encode(bytes(range(start, start + 32))).decode()}" for start in (0, 32, 64))
WHAT = {
    "token": "l\u00f6schung 7",
    "action": "delete_user",
    "status": "Completed",
    "ended_at": "x",
    "deadline_at": None,
}
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
Tell = Callable[..., None]


@pytest.fixture
def tell(settings: Any) -> Tell:
    """`tell(url)` tells the receiver `shop` there; `tell(url, attempt=2)`."""
    settings.WRK_NOTIFY_KEYS = [NEW, OLD]

    def tell(url: str, **context: Any) -> None:
        settings.WRK_NOTIFY = {"shop": url}
        notify.send(new_context(**{"token": "n-1", "name": "notify"} | context), "shop", WHAT)

    return tell


def verified(server: Server, key: str, request: int = -1) -> Any:
    """As a receiver does it."""
    body = server.requests[request].partition(b"\r\n\r\n")[2]
    return Webhook(key).verify(body, {name: server.header(name, request) or "" for name in HEADERS})


def test_a_receiver_with_any_of_the_keys_believes_it_and_one_with_another_does_not(tell: Tell) -> None:
    with answering(http(204)) as server:
        tell(f"{server.url}/hooks/tasker")
        assert server.requests[0].startswith(b"POST /hooks/tasker HTTP/1.1\r\n")
        assert verified(server, OLD) == verified(server, NEW) == WHAT
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            verified(server, OTHER)
        assert server.header("Content-Type") == "application/json"


def test_keys_are_changed_without_a_notification_that_anybody_refuses(tell: Tell, settings: Any) -> None:
    with answering(http(204)) as server:
        for keys, believed in ([OLD], [OLD]), ([NEW, OLD], [OLD, NEW]), ([NEW], [NEW]):
            settings.WRK_NOTIFY_KEYS = keys
            tell(server.url)
            assert [verified(server, key) for key in believed] == [WHAT] * len(believed)


def test_every_attempt_has_the_same_id_and_the_time_of_its_own(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(http(503), http(204)) as server:
        monkeypatch.setattr("jobs_app.clients.notify.time.time", lambda: 1_700_000_000.9)
        with pytest.raises(Retry):
            tell(server.url)
        monkeypatch.undo()
        tell(server.url, attempt=2)
        assert [server.header("webhook-id", request) for request in (0, 1)] == ["n-1", "n-1"]
        assert server.header("webhook-timestamp", 0) == "1700000000"
        assert verified(server, NEW, 1) == WHAT
        with pytest.raises(WebhookVerificationError, match="too old"):
            verified(server, NEW, 0)


def test_a_token_of_any_characters_is_an_id_that_verifies(tell: Tell) -> None:
    with answering(http(204)) as server:
        tell(server.url, token="a\r\nHost: \u00f6")
        assert (server.header("webhook-id"), verified(server, NEW)) == ("a%0D%0AHost:%20%C3%B6", WHAT)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_receiver_that_is_busy_is_told_again(tell: Tell, status: int) -> None:
    busy = http(status, b"busy", "Retry-After: 7")
    with answering(busy) as server, pytest.raises(Retry, match=f"^notify shop POST: answered {status}$") as raised:
        tell(server.url)
    assert (raised.value.at_least, raised.value.answer) == (7, "busy")


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_a_receiver_that_does_not_want_it_is_a_failure(tell: Tell, status: int) -> None:
    with answering(http(status)) as server, pytest.raises(Failure, match=f"^notify shop POST: answered {status}$"):
        tell(server.url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_that_says_so_and_nobody_else_is_told(tell: Tell, status: int) -> None:
    with answering(http(200)) as elsewhere, answering(http(status, b"", f"Location: {elsewhere.url}")) as server:
        with pytest.raises(Failure, match=f"answered {status}; redirects are not followed$"):
            tell(server.url)
        assert elsewhere.connections == 0


def test_a_receiver_that_is_down_is_told_again(tell: Tell) -> None:
    with answering(http(200)) as server:
        gone = server.url
    with pytest.raises(Retry, match=r"^notify shop POST: no answer: Connection refused$"):
        tell(gone)


def test_a_receiver_that_drips_has_no_more_than_the_time_of_a_call(tell: Tell, short: None) -> None:
    dripping = sending(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", every=0.05)
    with dripping as server, pytest.raises(Retry, match="no whole answer in time"):
        tell(server.url)


def test_a_receiver_that_the_settings_lost_is_a_failure_that_names_those_there_are(tell: Tell, settings: Any) -> None:
    settings.WRK_NOTIFY = {"ops": "http://ops.invalid", "crm": "http://crm.invalid"}
    with pytest.raises(Failure, match=r'^WRK_NOTIFY has no receiver "shop"; known: crm, ops$'):
        notify.send(new_context(), "shop", WHAT)


def test_nothing_is_sent_without_a_signature(tell: Tell, settings: Any) -> None:
    settings.WRK_NOTIFY_KEYS = []
    with answering(http(200)) as server:
        with pytest.raises(Failure, match="WRK_NOTIFY_KEYS is not set"):
            tell(server.url)
        assert server.connections == 0
