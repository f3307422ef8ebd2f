"""The signed URL of an attempt: who signed it is all that counts, and keys can be changed while URLs are out."""

from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from django.core.signing import Signer

from jobs_app.answer_urls import PATH, AnswerAddress, read_path
from jobs_app.outcomes import JobContext

ADDRESS = AnswerAddress("tok", 2, "a_job", 3)
OLD, NEW = "old-key-0123456789-abcdefghij-klm", "new-key-0123456789-abcdefghij-klm"


@pytest.fixture(autouse=True)
def _answers(settings: Any) -> None:
    settings.WRK_PUBLIC_URL, settings.WRK_ANSWER_KEYS = "https://tasker.example/base", [OLD]


def url_of(address: AnswerAddress = ADDRESS) -> str:
    token, step, job, attempt = address
    url = JobContext(token, "act", step, job, attempt, {}, {}).answer_url
    assert url is not None
    return url


def path_of(url: str) -> str:
    """As the web process sees it, behind a proxy that takes the base's prefix away."""
    return unquote(urlsplit(url).path.removeprefix("/base"))


@pytest.mark.parametrize("token", ["tok", "a/b?c#d e:f", "\u00fc\u4e2d\U0001f600", "x" * 64, "\U0001f600" * 64, ""])
def test_it_names_token_step_job_and_attempt(token: str) -> None:
    url = url_of(ADDRESS._replace(token=token))
    assert url.startswith(f"https://tasker.example/base{PATH}")
    assert url.isascii()
    assert len(url) < 2000
    assert read_path(path_of(url)) == ADDRESS._replace(token=token)


def test_each_attempt_has_its_own() -> None:
    others: list[dict[str, Any]] = [{}, {"token": "other"}, {"step": 3}, {"job": "b_job"}, {"attempt": 4}]
    assert len({url_of(ADDRESS._replace(**other)) for other in others}) == 5


@pytest.mark.parametrize(
    "changed", ["", "x", ":", "WyJhIiwwLCJhIiwxXQ", "WyJhIiwwLCJhIiwxXQ:x", "\u00fc:\u00fc", "../admin"]
)
def test_what_nobody_signed_is_read_as_nothing(changed: str) -> None:
    assert read_path(f"{PATH}{changed}") is None


def test_a_signed_one_that_was_changed_anywhere_is_read_as_nothing() -> None:
    path = path_of(url_of())
    for at in range(len(PATH), len(path)):
        assert read_path(f"{path[:at]}{'A' if path[at] != 'A' else 'B'}{path[at + 1 :]}") is None
    assert read_path(path[:-1]) is None
    assert read_path(f"{path}/") is None


def test_another_use_of_the_same_key_is_not_believed() -> None:
    signed = Signer(key=OLD).sign_object(ADDRESS)
    assert read_path(f"{PATH}{signed}") is None


def test_the_first_key_signs_and_all_are_believed(settings: Any) -> None:
    of_old = url_of()
    settings.WRK_ANSWER_KEYS = [NEW, OLD]
    of_new = url_of()
    assert of_new != of_old
    assert read_path(path_of(of_old)) == read_path(path_of(of_new)) == ADDRESS
    settings.WRK_ANSWER_KEYS = [NEW]
    assert read_path(path_of(of_old)) is None
    assert read_path(path_of(of_new)) is not None


@pytest.mark.parametrize(("url", "keys"), [("", []), ("https://tasker.example", []), ("", [OLD])])
def test_without_both_settings_there_is_none(settings: Any, url: str, keys: list[str]) -> None:
    settings.WRK_PUBLIC_URL, settings.WRK_ANSWER_KEYS = url, keys
    assert JobContext("tok", "act", 2, "a_job", 3, {}, {}).answer_url is None


def test_it_is_in_no_picture_of_the_context() -> None:
    assert "answers" not in repr(JobContext("tok", "act", 2, "a_job", 3, {}, {}))
