"""What each response, and the lack of one, means for the job."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from jobs_app.clients.responses import MAX_QUOTED_BYTES, retry_after
from jobs_app.outcomes import Failure, Retry
from tests.jobs_app.clients.server import answering, http, reset, sending, serving

USER = b'{"id": 7, "email": "a@example.com"}'
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 299])
def test_every_2xx_is_done(call, method, status):
    with answering(http(status, USER)) as server:
        assert call(server.url, method).status == status


def test_an_answer_without_content_is_done(call):
    with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        assert call(server.url, "DELETE").content == b""
        assert call(server.url, "DELETE").content == b""
        assert server.connections == 1


def test_a_404_is_done_for_delete_only(call):
    with answering(http(404, b"no such user")) as server:
        assert call(server.url, "DELETE").status == 404
        for method in ("GET", "POST"):
            with pytest.raises(Failure, match=r"404$") as raised:
                call(server.url, method)
            assert raised.value.answer == "no such user"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_may_pass_is_tried_again(call, method, status):
    with answering(http(status, b"busy")) as server, pytest.raises(Retry, match=f"answered {status}$") as raised:
        call(server.url, method)
    assert (raised.value.at_least, raised.value.answer) == (None, "busy")


@pytest.mark.parametrize(
    "status", [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 405, 409, 410, 418, 422, 600, 999]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_any_other_status_is_a_failure(call, method, status):
    with answering(http(status)) as server, pytest.raises(Failure, match=f"answered {status}"):
        call(server.url, method)


def test_interim_answers_are_skipped(call):
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with answering(early + http(200, USER)) as server:
        assert call(server.url).content == USER


# Retry-After ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 503])
def test_retry_after_is_handed_on_in_seconds(call, status):
    with answering(http(status, b"", "Retry-After: 30")) as server, pytest.raises(Retry) as raised:
        call(server.url)
    assert raised.value.at_least == 30


def test_retry_after_is_obeyed_though_the_body_never_ends(call, short):
    head = b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 99\r\n\r\n"
    with sending(head, b".", every=0.05) as server, pytest.raises(Retry, match="503") as raised:
        call(server.url)
    assert raised.value.at_least == 30


def test_retry_after_may_be_a_date():
    until = datetime.now(UTC) + timedelta(seconds=90)
    assert retry_after({"Retry-After": format_datetime(until, usegmt=True)}) == pytest.approx(90, abs=2)


def test_a_retry_after_date_is_read_by_the_services_own_clock():
    headers = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT"}
    assert retry_after(headers) == 60


@pytest.mark.parametrize("form", ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "0"])
def test_retry_after_in_the_past_is_now(form):
    assert retry_after({"Retry-After": form}) == 0


@pytest.mark.parametrize("digits", ["1000000000", "9" * 400, "9" * 5000])
def test_retry_after_may_be_any_number_of_digits(digits):
    assert retry_after({"Retry-After": digits}) == float(digits)


NONSENSE = ["", "soon", "-5", "1e9", "1.5", "²", "٣", "nan", "30, 30", "Mon", "\x00", "; ; ;"]
NO_DATES = ["Sun, 99 Nov 1994 99:99:99 GMT", "Sun, 06 Nov 99999 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"]


@pytest.mark.parametrize("nonsense", NONSENSE + NO_DATES)
def test_nonsense_in_retry_after_is_ignored(nonsense):
    assert retry_after({"Retry-After": nonsense}) is None


# Content --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b'{"id": 7',
        b"[7]",
        b'"7"',
        b"null",
        b"\xff\xfe{",
        b'{"id": "\xff"}',
        b"[" * 100_000,
        b"9" * 9999,
    ],
    ids=range(10),
)
def test_what_is_not_a_json_object_is_a_failure(call, content):
    with answering(http(200, content)) as server, pytest.raises(Failure, match="not a JSON object"):
        call(server.url).json_object()


def test_content_that_nobody_needs_may_be_anything(call):
    with answering(http(200, b"<html>bye")) as server:
        assert call(server.url, "DELETE").status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", "gzip, deflate, gzip, deflate, gzip, deflate"])
def test_content_that_cannot_be_decompressed_is_a_failure(call, encoding):
    with (
        answering(http(200, USER, f"Content-Encoding: {encoding}")) as server,
        pytest.raises(Failure, match="no usable answer"),
    ):
        call(server.url).json_object()


def test_the_start_of_the_answer_is_kept_apart_from_our_sentence(call):
    with answering(http(422, b"\xff\x00a" * 100_000)) as server, pytest.raises(Failure) as raised:
        call(server.url)
    assert str(raised.value) == "service1 GET /user/{id}: answered 422"
    said = len(raised.value.answer.encode())
    assert MAX_QUOTED_BYTES - 100 < said <= MAX_QUOTED_BYTES + 2  # for a letter that was cut
    assert raised.value.answer.startswith("\N{REPLACEMENT CHARACTER}\0a")


# No answer ------------------------------------------------------------------------------------------------------------


def test_no_connection_is_tried_again(call):
    with answering(b"") as server:
        gone = server.url
    with pytest.raises(Retry, match="Connection refused"):
        call(gone)


def test_an_unknown_host_is_tried_again(call):
    with pytest.raises(Retry, match="no answer"):
        call("http://nowhere.invalid")


@pytest.mark.parametrize("url", ["", "service1", "ftp://service1", "http://", "http://a..b", "http://[::1", "http://*"])
def test_a_url_that_is_none_is_a_failure(call, url):
    with pytest.raises(Failure, match="service1 GET"):
        call(url)


@pytest.mark.parametrize("end", [reset, socket.socket.close])
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.",
        HEAD,
        HEAD + b"Content-Type: te",
        HEAD + b"Content-Length: 2\r\n",
        HEAD + b"Content-Length: 2\r\n\r\n",
        HEAD + b"Content-Length: 20\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n{",
    ],
    ids=range(11),
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_answer_that_is_cut_is_asked_for_again(call, method, sent, end):
    with sending(sent, end=end) as server, pytest.raises(Retry, match=r"no (whole )?answer"):
        call(server.url, method)


def test_a_connection_that_is_reset_at_once_is_tried_again(call):
    with serving(lambda connection, _number: reset(connection)) as server, pytest.raises(Retry):
        call(server.url)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\x00" * 1000 + b"\n",
        HEAD + b"Content-Length: 1, 2\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
        HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_is_not_http_is_a_failure(call, garbage):
    with sending(garbage, end=socket.socket.close) as server, pytest.raises(Failure, match="no usable answer"):
        call(server.url).json_object()


def test_ten_thousand_headers_are_a_failure(call):
    headers = [f"X-{number}: x" for number in range(10_000)]
    with answering(http(200, USER, *headers)) as server, pytest.raises(Failure, match="got more than 100 headers"):
        call(server.url)
