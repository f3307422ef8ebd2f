"""Masks credentials in what is kept or logged: whoever may read an error may not call a service in our name."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from functools import lru_cache
from html.entities import codepoint2name

from django.conf import settings

MASK = "***"
_LEAST_CHARACTERS = 6  # of a secret: a shorter one is part of too many words
_HTML_NAMES = codepoint2name | {ord("'"): "apos"}
_SHAPES = (
    # The user and the password of a URL. To the last @: a password may hold a / or an @ that nobody encoded.
    (re.compile(r"://[^\s'\"<>]*@"), f"://{MASK}@"),
    # A header as it is sent, or in a mapping as Python or JSON shows it; to the end of the value.
    (
        re.compile(
            r"(\b(?:(?:proxy-)?authorization|(?:set-)?cookie|(?:x-)?api[-_]?key|x-auth-token)\b['\"]?\s*[:=,]\s*b?)"
            r"(?:'[^'\n]*'?|\"[^\"\n]*\"?|[^'\"\s][^'\"\n]*)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # The URL by which a service answers (answer_urls.py): whoever has it may.
    (re.compile(r"(/answers/)[\w-]+(?::|%3a)[\w-]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(bearer|basic|digest|negotiate)\s+(?=[^\s'\"]*[\d=])[^\s'\"]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(
            r"\b(\w*(?:password|passwd|passphrase|secret|api_?key|access_?token)['\"]?\s*[:=]\s*)"
            # Not the server's "using password: YES".
            r"(?!yes\b|no\b|none\b)(?:'[^'\n]*'?|\"[^\"\n]*\"?|[^\s'\",;&)}]+)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
)


def mask_credentials(text: str) -> str:
    """Without this process's own secrets, and without what looks like somebody's."""
    if ours := _ours((*settings.SECRETS, *_known_since)):
        text = ours.sub(MASK, text)
    for shape, mask in _SHAPES:
        text = shape.sub(mask, text)
    return text


_known_since: list[str] = []  # the start: what replaced a secret in its file; the one before may still be quoted


def know_secret(secret: str) -> None:
    """Of a secret that the settings did not know at the start."""
    if secret not in settings.SECRETS and secret not in _known_since:
        _known_since.append(secret)


def demand_header(value: str) -> str:
    """Raises ValueError, which does not quote it, when it is not what a header can hold."""
    if not (value and value.isascii() and value.isprintable()):
        raise ValueError("it is empty or holds a character that a header cannot hold")
    return value


@lru_cache(maxsize=1)
def _ours(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Each in all the forms in which it may be quoted."""
    words = {word for secret in secrets for word in _words(secret) if len(word) >= _LEAST_CHARACTERS}
    if not words:
        return None
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join("".join(map(_quoted, word)) for word in longest_first))


def _words(secret: str) -> Iterator[str]:
    """Whole, and without its first word: `Bearer abc` may be quoted without the Bearer. Of `Basic` what it encodes."""
    kind, *rest = secret.split() or [""]
    yield from (secret, *rest)
    if kind.lower() == "basic":
        pair = _decoded("".join(rest))
        yield from (pair, pair.partition(":")[2])


def _decoded(text: str) -> str:
    try:
        return b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _quoted(char: str) -> str:
    """A pattern: as it is, and as JSON, a URL or HTML may write it, with small or capital hex digits."""
    if char.isascii() and char.isalnum():
        return char
    number, units = ord(char), char.encode("utf-16-be").hex()
    in_json = "".join(rf"\\+u{units[at : at + 4]}" for at in range(0, len(units), 4))
    in_url = "".join(f"%{byte:02x}" for byte in char.encode())
    in_html = rf"&(?:#0*{number}|#x0*{number:x}|{_HTML_NAMES.get(number, f'#{number}')});"
    plus = r"|\+" if char == " " else ""
    return rf"(?:\\*{re.escape(char)}|(?i:{in_json}|{in_url}|{in_html}){plus})"
