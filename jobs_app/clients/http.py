"""The one way out to the outside services: makes a call, within its time and size. What the response means is in
responses.py, what the sockets must do in transport.py. Nothing here logs: calls hold personal data.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from string import ascii_letters, digits, punctuation
from urllib.parse import quote

import requests
import urllib3
from django.conf import settings

from jobs_app import __version__
from jobs_app.clients.keys import Keys, shared_adapter
from jobs_app.clients.responses import FAULTS, Response, TooLarge, unanswered
from jobs_app.clients.transport import Adapter, Budget, budget
from jobs_app.fields import integer
from jobs_app.outcomes import JobContext, Json

MAX_BODY_BYTES = 1024 * 1024  # after decompression
MAX_WIRE_BYTES = 2 * MAX_BODY_BYTES  # headers, body and the framing of its chunks
_PIECE_BYTES = 64 * 1024
_SAFE = (ascii_letters + digits + punctuation).replace("%", "")

# urllib3 warns with the URLs and headers that it was given.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class Service:
    """One outside service. Its base URL is the setting `url_setting`, read at each call: no row chooses a host.

    How it recognises us, and we it: keys.py.
    """

    def __init__(self, name: str, url_setting: str) -> None:
        self.name = name
        self._url_setting = url_setting
        self._keys = Keys(url_setting)

    def call(self, context: JobContext, method: str, path: str, *, body: Json | None = None, **ids: int) -> Response:
        """Makes one call, WRK_HTTP_TIMEOUT_SECONDS long at most. `path` is a template, such as /user/{id}, for `ids`.

        Returns the response of a call that is done. Raises Retry for what may go better next time, else Failure.
        """
        filled = path.format_map({name: integer(ids, name, "") for name in ids})

        def request() -> requests.PreparedRequest:
            url = getattr(settings, self._url_setting).rstrip("/") + filled
            auth = self._keys.authorization()
            content = None if body is None else json.dumps(body).encode()
            return _request(context, method, url, content, {"Authorization": auth} if auth else {})

        response = _response(f"{self.name} {method} {path}", request, self._keys.adapter)
        return response.judged(may_be_gone=method == "DELETE", keys=self._keys.shown())


def post(context: JobContext, says: str, url: str, content: bytes, headers: Mapping[str, str]) -> Response:
    """POSTs JSON, byte by byte as it was signed, to a URL of the settings. Raises as `Service.call`.

    `says`: the call in errors, without the URL.
    """
    response = _response(says, lambda: _request(context, "POST", url, content, headers), shared_adapter)
    return response.judged(may_be_gone=False)


def _response(says: str, request: Callable[[], requests.PreparedRequest], adapter: Callable[[], Adapter]) -> Response:
    """Of one call, within its time and size. Raises Retry or Failure when there is none."""
    outer = budget.set(Budget(time.monotonic() + settings.WRK_HTTP_TIMEOUT_SECONDS, MAX_WIRE_BYTES))
    try:
        return _send(says, request(), adapter())
    except FAULTS as error:
        raise unanswered(says, error) from error
    finally:
        budget.reset(outer)


def _request(
    context: JobContext, method: str, url: str, content: bytes | None, more: Mapping[str, str]
) -> requests.PreparedRequest:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "User-Agent": f"tasker-worker/{__version__}",
        "Idempotency-Key": header_safe(context.idempotency_key),
        "Tasker-Attempt": str(context.attempt),
        "traceparent": context.traceparent,
        **more,
    }
    if content is not None:
        headers["Content-Type"] = "application/json"
    return requests.Request(method, url, headers, data=content).prepare()


def header_safe(key: str) -> str:
    """A token may hold any character, a header's value may not: what is not visible ASCII is percent-encoded, as UTF-8.

    So is % in every key: otherwise the tokens `a b` and `a%20b` would be one and the same repeat to a service.
    """
    return quote(key.encode("utf-8", "surrogatepass"), safe=_SAFE)


def _send(call: str, request: requests.PreparedRequest, adapter: Adapter) -> Response:
    response = adapter.send(request, stream=True, timeout=settings.WRK_HTTP_TIMEOUT_SECONDS)
    content, fault = _read(response.raw)
    return Response(call, response.status_code, response.headers, content, fault)


def _read(raw: urllib3.HTTPResponse) -> tuple[bytes, Exception | None]:
    """The body, and why it is not all of it. Only a connection whose response was read to the end is used again."""
    pieces: list[bytes] = []
    left = MAX_BODY_BYTES
    try:
        # In pieces: urllib3 decompresses no more than is asked for, and the socket looks at the time in between.
        while piece := raw.read(_PIECE_BYTES, decode_content=True):
            pieces.append(piece[:left])
            left -= len(piece)
            if left < 0:
                raise TooLarge(f"more than {MAX_BODY_BYTES} bytes")
    except FAULTS as error:
        raw.close()
        return b"".join(pieces), error
    return b"".join(pieces), None
