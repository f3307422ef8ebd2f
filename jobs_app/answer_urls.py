"""The URL by which a service answers one attempt of a job. Its signature is the only check: whoever has it may."""

from typing import NamedTuple

from django.conf import settings
from django.core.signing import BadSignature, Signer

PATH = "/answers/"  # below WRK_PUBLIC_URL; api/answers.py takes what is posted there
_SALT = "jobs_app.answer_urls"  # no other signature by the same keys is believed here


class AnswerAddress(NamedTuple):
    """What an answer is for, by the names of its table's columns."""

    token: str
    step: int
    job: str
    attempt: int


def are_on() -> bool:
    return bool(settings.WRK_PUBLIC_URL and settings.WRK_ANSWER_KEYS)


def answer_url(address: AnswerAddress) -> str | None:
    """None where the settings give no URL or no key."""
    return f"{settings.WRK_PUBLIC_URL}{PATH}{_signer().sign_object(address)}" if are_on() else None


def read_path(path: str) -> AnswerAddress | None:
    """What the path of such a URL names, or None when none of our keys has signed it. Asks no database."""
    try:
        return AnswerAddress(*_signer().unsign_object(path.removeprefix(PATH)))
    except BadSignature:
        return None


def _signer() -> Signer:
    """The first key signs; the others are believed as well, so that keys can be changed while URLs are out."""
    keys = settings.WRK_ANSWER_KEYS
    return Signer(key=keys[0], fallback_keys=[*keys[1:]], salt=_SALT)
