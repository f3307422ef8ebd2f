"""Whom a request is about: its subject, as it is read from params, kept in the table, and searched for.

With WRK_SUBJECT_KEYS only an HMAC-SHA256 of it is kept. Nothing here logs one.
"""

import hmac
import json
import re

from django.conf import settings

from jobs_app.outcomes import storable_text

MOST_CHARACTERS = 100
_HASH = re.compile(r"[0-9a-f]{64}")
MOST_JSON_CHARACTERS = 1300  # of a value in params: 100 characters take 1,202 where each is a pair of escapes


def are_hashed() -> bool:
    return bool(settings.WRK_SUBJECT_KEYS)


def subject_in(json_text: str | None) -> str:
    """Of a value of params: a string of up to 100 characters, or a whole number. Of any other there is none: empty."""
    if json_text is None:
        return ""
    try:
        value = json.loads(json_text)
    except ValueError:  # too long, and so cut
        return ""
    if type(value) is not int and not isinstance(value, str):  # bool is an int to isinstance
        return ""
    subject = cleaned(str(value))
    return subject if len(subject) <= MOST_CHARACTERS else ""


def cleaned(subject: str | bytes) -> str:
    """Without spaces around it, which nobody sees in a search box. Bytes: what SQLite stores where a text belongs."""
    return storable_text(subject.decode(errors="replace") if isinstance(subject, bytes) else subject).strip()


def kept(subject: str) -> str:
    """As the table keeps it: hashed under the first key; plain where there are none."""
    return _hashed(settings.WRK_SUBJECT_KEYS[0], subject) if subject and are_hashed() else subject


def kept_of(subject: str | bytes, *, is_hashed: bool) -> str:
    """As the table keeps it, or will once the request is picked up."""
    return str(subject) if is_hashed else kept(cleaned(subject))


def is_hash(subject: str) -> bool:
    """Whether it has the form of our hashes: not every table has a column that says so."""
    return are_hashed() and bool(_HASH.fullmatch(subject))


def kept_as(subject: str) -> list[str]:
    """All that the table may have kept of it: plain, before there were keys; hashed under each of them."""
    subject = cleaned(subject)
    return [subject, *(_hashed(key, subject) for key in settings.WRK_SUBJECT_KEYS)]


def _hashed(key: str, subject: str) -> str:
    return hmac.digest(key.encode(), subject.encode(), "sha256").hex()
