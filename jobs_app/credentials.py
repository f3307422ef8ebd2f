"""Masks credentials in what is kept or logged: whoever may read an error may not call a service in our name."""

import re
from functools import lru_cache

from django.conf import settings

MASK = "***"
_LEAST_CHARACTERS = 6  # of a secret: a shorter one is part of too many words
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


def masked(text: str) -> str:
    """Without this process's own secrets, and without what looks like somebody's."""
    if ours := _ours(settings.SECRETS):
        text = ours.sub(MASK, text)
    for shape, mask in _SHAPES:
        text = shape.sub(mask, text)
    return text


@lru_cache(maxsize=1)
def _ours(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Each whole, and without its first word: `Bearer abc` may be quoted without the Bearer."""
    words = {word for secret in secrets for word in (secret, *secret.split()[1:]) if len(word) >= _LEAST_CHARACTERS}
    if not words:
        return None
    return re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)))
