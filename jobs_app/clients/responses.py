"""What a service's response, or the lack of one, means for the job: the contract's mapping, in this one place.
Sends and receives nothing.
"""

import http.client
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import urllib3.exceptions

from jobs_app.credentials import mask_credentials
from jobs_app.outcomes import Failure, Json, Retry, Unavailable, json_object

MAX_QUOTED_BYTES = 4 * 1024  # of a response, kept with the job


class TooLarge(Exception):
    """The service sends more than is read of it."""


# All that requests, urllib3 and http.client may raise for one call; requests' own exceptions are OSErrors.
FAULTS = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError, TooLarge)
# Of these, what a URL or a response is to blame for that will be no better next time ...
_LASTING = (
    TooLarge,
    ValueError,
    http.client.HTTPException,
    urllib3.exceptions.DecodeError,
    zlib.error,
    urllib3.exceptions.InvalidHeader,
)
# ... but not those of their subclasses that say that the connection was cut, or that a certificate is to be renewed.
_PASSING = (ConnectionError, http.client.IncompleteRead, ssl.SSLError)
# The texts of these exact kinds are sentences of their libraries or ours, ...
_UNQUOTING = {
    TooLarge,
    ConnectionResetError,
    http.client.HTTPException,
    http.client.IncompleteRead,
    http.client.LineTooLong,
    http.client.RemoteDisconnected,
}
# ... and of these they quote what was sent. Any other text is kept nowhere: that of a bad URL holds its password.
_QUOTING = (http.client.BadStatusLine, http.client.UnknownProtocol, urllib3.exceptions.InvalidChunkLength)


@dataclass(frozen=True, slots=True)
class Response:
    """What a service answered to `call` (a text without personal data); `fault` is why `content` is not all of it."""

    call: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    fault: Exception | None = None

    def json_object(self) -> Json:
        """Raises Failure when the content is not a JSON object."""
        if self.fault:
            raise unanswered(self.call, self.fault)
        try:
            return json_object(self.content.decode("utf-8-sig"))
        except ValueError as error:
            raise Failure(f"{self.call}: the answer is not a JSON object: {error}", answer=self._quoted()) from None

    def judged(self, *, may_be_gone: bool, keys: str = "") -> "Response":
        """The response itself when the call is done. Raises Retry or Failure when it is not.

        `keys`: the settings that a 401 or 403 is about.
        """
        if 200 <= self.status < 300:
            # That much is done even if more comes than anybody reads; a response that was cut is asked for again.
            if self.fault and not _is_lasting(self.fault):
                raise unanswered(self.call, self.fault)
            return self
        if self.status == 404 and may_be_gone:
            return self
        says = f"{self.call}: answered {self.status}"
        if self.status in {408, 425, 429} or 500 <= self.status < 600:
            kind = Retry if self.status < 500 else Unavailable
            raise kind(says, at_least=retry_after(self.headers), answer=self._quoted())
        if 300 <= self.status < 400:
            says += "; redirects are not followed"
        refuses = f": it refuses {keys}" if keys and self.status in {401, 403} else ""
        raise Failure(says + refuses, answer=self._quoted())

    def _quoted(self) -> str:
        return _kept(self.content[: 2 * MAX_QUOTED_BYTES].decode("utf-8", "replace"))


def _kept(said: str) -> str:
    """So much of it as is kept. Masked before it is cut: the beginning of a credential is not known as one."""
    return mask_credentials(said).encode("utf-8", "replace")[:MAX_QUOTED_BYTES].decode("utf-8", "replace").strip()


def unanswered(call: str, error: Exception) -> Failure | Retry:
    """What to raise when there is no whole response."""
    cause = _cause(error)
    if isinstance(cause, TimeoutError | urllib3.exceptions.ReadTimeoutError):
        return Unavailable(f"{call}: no whole answer in time")
    says, answer = _fault(cause), _kept(str(cause)[: 2 * MAX_QUOTED_BYTES]) if isinstance(cause, _QUOTING) else ""
    if _is_lasting(cause):
        return Failure(f"{call}: no usable answer: {says}", answer=answer)
    return Unavailable(f"{call}: no answer: {says}", answer=answer)


def _fault(cause: BaseException) -> str:
    """What went wrong, in words that quote neither the response nor the URL with its password and ids."""
    if type(cause) in _UNQUOTING:
        return str(cause)
    return getattr(cause, "strerror", None) or type(cause).__name__


def _is_lasting(error: BaseException) -> bool:
    cause = _cause(error)
    return isinstance(cause, _LASTING) and not isinstance(cause, _PASSING)


def _cause(error: BaseException) -> BaseException:
    """The innermost error, below the layers of requests and urllib3, whose texts name hosts and URLs."""
    inner = (error.__cause__, getattr(error, "reason", None), *reversed(error.args))
    found = next((each for each in inner if isinstance(each, BaseException)), None)
    return _cause(found) if found else error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now that Retry-After asks for, in either form (RFC 9110, 10.2.3); None without a sensible one."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)  # also of thousands of digits: infinity; the backoff's cap holds
    until = _http_date(value)
    # By the service's own clock, if it says what that shows: machines' clocks differ.
    now = _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds()) if until else None


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):  # what the email package raises for nonsense
        return None
