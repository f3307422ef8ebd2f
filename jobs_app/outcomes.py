"""What a callback is given (`JobContext`), what it may raise, and the one value that each run of it ends in."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs_app.answer_urls import AnswerAddress, answer_url
from jobs_app.credentials import mask_credentials
from jobs_app.tracing import traceparent

Json = dict[str, Any]

MAX_EXTRAS_BYTES = 64 * 1024
MAX_JSON_DEPTH = 30  # MariaDB refuses JSON deeper than 31 levels; the request's extras add none, being merged by key
MAX_ERROR_CHARACTERS = 16 * 1024
MAX_WAIT_SECONDS = 3660 * 86_400.0  # ten years
MIN_CHECK_SECONDS = 1.0
# All but tab and newline: what a service answers is shown to operators, and must not steer their terminals.
_CONTROL = dict.fromkeys(
    (code for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"), "\N{REPLACEMENT CHARACTER}"
)


class Failure(Exception):
    """Raised by a callback: this job cannot succeed, the request fails.

    The message is our own sentence, without personal data: everybody who sees the request reads it. `answer`: what
    somebody else said, word for word; it is kept apart and masked like params.
    """

    answer: str = ""  # also of a subclass that does not call this __init__

    def __init__(self, *message: object, answer: str = "") -> None:
        super().__init__(*message)
        self.answer = answer


class Retry(Exception):
    """Raised by a callback: try again. The message and `answer`: as Failure's.

    `after`: seconds to wait, in place of our backoff. `at_least`: seconds below which our backoff is not to go. Both
    are obeyed up to the backoff cap.
    """

    after: float | None = None  # all three also of a subclass that does not call this __init__
    at_least: float | None = None
    answer: str = ""

    def __init__(
        self, message: str = "", *, after: float | None = None, at_least: float | None = None, answer: str = ""
    ) -> None:
        super().__init__(message)
        self.answer = answer
        # What is no number is the callback's bug, and must show in the callback.
        self.after = None if after is None else float(after)
        self.at_least = None if at_least is None else float(at_least)


class Unavailable(Retry):
    """As Retry: the service gave no answer, or a 5xx. So many in a row open the breaker of the job's limit."""


class Wait(Exception):
    """Raised by a callback: somebody else will answer later. The attempt goes on, and holds nothing of this process.

    The message says what is waited for; it is our own sentence, as Failure's. `within`: seconds, up to ten years, after
    which the attempt ends without an answer; they count from the first Wait of an attempt. `check_after`: seconds until
    the callback is called again to look for itself, from one up to `within`; None: it is not.
    """

    within: float | None = None  # both also of a subclass that does not call this __init__
    check_after: float | None = None

    def __init__(self, message: str, *, within: float, check_after: float | None = None) -> None:
        super().__init__(message)
        if not 0 < within <= MAX_WAIT_SECONDS:  # the callback's bug, which must show in the callback
            raise ValueError(f"Wait(within={within!r}): give seconds, more than 0 and at most {MAX_WAIT_SECONDS:.0f}")
        self.within = float(within)
        self.check_after = None if check_after is None else float(check_after)


@dataclass(frozen=True, slots=True)
class JobContext:
    """One attempt of one job, as its callback sees it. `params` and `extras` are the callback's own copies.

    `checks`: how often the callback of this attempt has raised Wait before. `caller_trace`: the request's column
    `traceparent`, as its caller wrote it; `traceparent` is what services are given.
    """

    token: str
    action: str
    step: int
    name: str
    attempt: int
    params: Json
    extras: Json
    checks: int = 0
    caller_trace: str = ""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this job: the callee recognises a repeat by it."""
        return f"{self.token}:{self.step}:{self.name}"

    @property
    def traceparent(self) -> str:
        """Of this attempt; services that trace put their spans under it."""
        return traceparent(self.token, self.step, self.name, self.attempt, self.caller_trace)

    @property
    def answer_url(self) -> str | None:
        """Where the callee may POST its answer (docs/answers.md). None where the settings give no such URL."""
        return answer_url(AnswerAddress(self.token, self.step, self.name, self.attempt))


@dataclass(frozen=True, slots=True)
class Completed:
    """The callback returned. `extras` is what it found out, as JSON text, or None."""

    extras: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot succeed: the request fails. `error`: our sentence. `answer`: what others said; personal data."""

    error: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Retried:
    """Try again, unless it was the last attempt allowed. `after`, `at_least`: as of Retry; `answer`: as of Failed.

    `is_unanswered`: the time for an answer is over. When one is there that nobody has taken yet, it counts instead.
    `is_unavailable`: its service gave no answer, or a 5xx.
    """

    error: str
    after: float | None = None
    at_least: float | None = None
    answer: str = ""
    is_unanswered: bool = False
    is_unavailable: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """This process is ending and cut the attempt short: tried again immediately, without using up an attempt."""

    error: str = "worker stopped"


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Claimed, but its callback was never called: the same row becomes `new` again, due in `after_seconds`."""

    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answer is to come within so many seconds; after `check_seconds`, if sooner, the callback looks again."""

    waits_for: str
    within_seconds: float
    check_seconds: float


Outcome = Completed | Failed | Retried | Stopped | NotStarted | Waiting


class NotJson(ValueError):
    """What cannot be kept as JSON. Its text says the kind of it, never a value."""


def completed(returned: object) -> Completed | Failed:
    """The outcome of a callback that returned: a mapping that is a JSON object of at most 64 KiB, or None.

    Whatever a mapping of the callback's own kind raises while it is read goes on.
    """
    if returned is None:
        return Completed()
    if not isinstance(returned, Mapping):
        return Failed(f"the callback returned {type(returned).__name__}: return a mapping or None")
    try:
        text = json.dumps(storable(dict(returned)), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except NotJson as error:
        return Failed(f"the callback returned what is not a JSON object: {error}")
    if (size := len(text.encode())) > MAX_EXTRAS_BYTES:
        return Failed(f"the callback returned {size} bytes of JSON: at most {MAX_EXTRAS_BYTES} are kept")
    return Completed(text)


def json_object(text: str, *, unique_keys: bool = False) -> Json:
    """The JSON object that `text` is. Raises ValueError with a sentence, also for what is nested too deep to read.

    `unique_keys`: no key may stand twice in an object: SQL reads the first of them, Python the last.
    """
    if text == "{}":  # as most are; each job's params and extras are read
        return {}
    try:
        value = json.loads(text, object_pairs_hook=with_unique_keys if unique_keys else None)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} where a JSON object is needed")
    return value


def with_unique_keys(pairs: list[tuple[str, Any]]) -> Json:
    """For `json.loads(object_pairs_hook=)`. Raises ValueError with a sentence."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in the same object")
    return value


def storable(value: object, depth: int = 1) -> object:
    """`value` as every supported database stores it unchanged: no lone surrogates, no huge integers, at most 30 levels.

    Raises NotJson when it cannot be said in such JSON.
    """
    match value:
        case None | bool():
            return value
        case str():
            return storable_text(value)
        case int() if not -(2**63) <= value < 2**63:
            raise NotJson(f"an integer of {value.bit_length()} bits, more than 64: return it as a string")
        case float() if not math.isfinite(value):
            raise NotJson(f"{value} has no form in JSON")
        case int() | float():
            return value
    if depth > MAX_JSON_DEPTH:
        raise NotJson(f"nested deeper than {MAX_JSON_DEPTH} levels")
    match value:
        case Mapping():
            if strange := [type(key).__name__ for key in value if not isinstance(key, str)]:
                raise NotJson(f"a key of type {strange[0]}: keys are strings")
            return {storable_text(key): storable(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [storable(item, depth + 1) for item in value]
    raise NotJson(f"a value of type {type(value).__name__}")


def storable_text(text: str) -> str:
    """Lone surrogates, which no supported database takes, become U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable_error(text: str) -> str:
    """An error as the table keeps it: at most 16 Ki characters, no control characters, no credentials, its first line
    first.
    """
    text = storable_text(mask_credentials(text)).replace("\r\n", "\n").translate(_CONTROL).strip() or "no message"
    return text if len(text) <= MAX_ERROR_CHARACTERS else text[: MAX_ERROR_CHARACTERS - 12] + "\n[cut here]"
