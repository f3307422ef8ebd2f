"""What is kept of an error holds no credentials, whoever raised it and however it quotes them."""

import html
import json
from typing import Any
from urllib.parse import quote_plus

import pytest

from jobs_app.clients.responses import MAX_QUOTED_BYTES, Response
from jobs_app.credentials import mask_credentials
from jobs_app.db.faults import fault_line
from jobs_app.models.attempts import ClaimedJob
from jobs_app.outcomes import Failure, JobContext, Retry
from jobs_app.registry import JobDefinition
from jobs_app.worker.callback import run_callback
from jobs_app.worker.retry_policy import result_of

SECRET = "hunter2-c3ZjOlBX"
HEADERS = {"Authorization": f"Bearer {SECRET}", "Accept": "application/json"}
QUOTES = [
    f"Failed to parse: http://svc:{SECRET}@host:99999/user/7",
    f"http://svc:{SECRET}/with@signs@host refused",
    f"Invalid header value: 'Bearer {SECRET}\\n'",
    f"Authorization: Bearer {SECRET}",
    f"authorization: Basic {SECRET}\nAccept: x",
    f"Proxy-Authorization=Basic {SECRET}",
    f"headers={HEADERS}",
    f"headers={json.dumps(HEADERS)}",
    f"headers={list(HEADERS.items())}",
    f"Cookie: session={SECRET}; theme={SECRET}",
    f"X-Api-Key: {SECRET}",
    f"connect(user='svc', password='{SECRET}', host='db')",
    f"user=svc password={SECRET} host=db",
    f"?client_secret={SECRET}&id=7",
    f'{{"access_token": "{SECRET}"}}',
    f"POST https://t.example/answers/WyJhIl0:{SECRET} refused",
    f"/answers/{SECRET}%3A{SECRET}/",
]


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("kind", [ValueError, Failure, Retry])
def test_an_error_that_quotes_credentials_is_kept_without_them(quote: str, kind: type[Exception]) -> None:
    def callback(_: JobContext) -> None:
        raise kind(f"it went wrong: {quote}")

    outcome = run_callback(
        JobDefinition("a", callback, False, None, None, None), JobContext("t", "a", 0, "a", 1, {}, {})
    )
    error = result_of(ClaimedJob(1, 2, 0, "a", 1, 10, "claim"), outcome).error
    assert SECRET not in error
    assert "it went wrong" in error
    assert ("Traceback" in error) == (kind is ValueError)


@pytest.mark.parametrize("quote", QUOTES)
def test_nor_does_the_line_of_a_fault_hold_them(quote: str) -> None:
    assert SECRET not in fault_line(RuntimeError(quote))


@pytest.mark.parametrize(
    "text",
    [
        "service1 GET /user/{id}: answered 409: {'reason': 'taken'}",
        "Access denied for user 'tasker'@'localhost' (using password: YES) (error 1045)",
        "RuntimeError: Basic authentication is needed",
        "no token 7 at http://service1:8080/user/7",
        "KeyError: 'email'",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert mask_credentials(text) == text


def test_nor_is_our_own_quoted_in_another_form(settings: Any) -> None:
    settings.SECRETS = ("Basic c3ZjOmh1bnRlcjIvYQ==", 'Bearer "an/other')
    said = r"c3ZjOmh1bnRlcjIvYQ== svc:hunter2/a pw hunter2/a hunter2%2Fa hunter2\/a"
    assert mask_credentials(said) == "*** *** pw *** *** ***"
    assert mask_credentials(r'"an/other \"an/other \"an\/other %22an/other') == "*** *** *** ***"


SAID = 'Bearer aB1+c/"d'


@pytest.mark.parametrize(
    "said",
    [
        quote_plus(SAID).replace("%2B", "%2b"),
        html.escape(SAID),
        r"Bearer\u0020aB1\u002Bc\u002F\u0022d",  # .NET
        r"Bearer aB1+c\/\"d",  # PHP
        "Bearer aB1&#43;c&#x2F;&#34;d",
        json.dumps(json.dumps(SAID))[3:-3],  # in a text that is in JSON
    ],
)
def test_nor_as_other_languages_write_it(said: str, settings: Any) -> None:
    settings.SECRETS = (SAID,)
    assert mask_credentials(f"[{said}]") == "[***]"


def test_nor_is_the_beginning_of_one_where_an_answer_is_cut(settings: Any) -> None:
    settings.SECRETS = (f"Bearer {SECRET}",)
    for before in range(MAX_QUOTED_BYTES - len(SECRET), MAX_QUOTED_BYTES):
        with pytest.raises(Failure) as failed:
            Response("a call", 400, {}, b"x" * before + SECRET.encode()).judged(may_be_gone=False)
        assert set(failed.value.answer) <= {"x", "*"}
        assert len(failed.value.answer) <= MAX_QUOTED_BYTES


def test_our_own_secrets_are_masked_wherever_they_stand(settings: Any) -> None:
    settings.SECRETS = ("pa$$w.rd", "Bearer an+other/one", "short", "")
    assert mask_credentials("a pa$$w.rd, 'Xan+other/oneX', short") == "a ***, 'X***X', short"
