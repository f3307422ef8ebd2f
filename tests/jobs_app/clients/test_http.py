"""How a call is made: its deadline and size whatever the server does, its headers, its connections."""

import json
import re
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager, suppress
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs_app import __version__
from jobs_app.clients import http as http_client
from jobs_app.clients import keys
from jobs_app.outcomes import Failure, Retry
from jobs_app.tracing import traceparent
from tests.jobs_app.clients.conftest import HONEST_SECONDS, SECONDS, new_context
from tests.jobs_app.clients.server import answering, http, sending, serving

USER = b'{"id": 7, "email": "a@example.com"}'
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


@contextmanager
def ends_in_time(seconds=SECONDS):
    """The call gives up as a retry at its deadline: neither before it nor much later."""
    begun = time.monotonic()
    with pytest.raises(Retry, match="in time"):
        yield
    assert seconds * 0.9 <= time.monotonic() - begun < seconds + 1


# The deadline ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        [b"H", b"T", b"T", b"P", b"/", b"1", b".", b"1", b" "],
        [OK, b"X: x\r\n"],
        [OK + b"X: x", b"x"],
        [b"HTTP/1.1 100 Continue\r\n\r\n"],
        [OK + b"Content-Length: 1000\r\n\r\n", b" "],
        [OK + b"\r\n", b" "],
        [CHUNKED, b"1\r\n \r\n"],
        [CHUNKED, b"1"],
        [CHUNKED + b"0\r\n", b"X: x\r\n"],
        [OK + b"Content-Encoding: gzip\r\n\r\n", b"\x1f\x8b\x08" + b"\0" * 7, b"\0"],
    ],
    ids=["status", "headers", "header", "interim", "length", "to the end", "chunks", "chunk", "trailers", "gzip"],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_server_that_drips_does_not_stretch_the_deadline(call, method, pieces, short):
    with sending(*pieces, every=0.05) as server, ends_in_time():
        call(server.url, method)


def test_a_server_that_says_nothing_does_not_stretch_the_deadline(call, short):
    with serving(lambda _connection, _number: time.sleep(5)) as server, ends_in_time():
        call(server.url)


def test_a_server_that_never_accepts_does_not_stretch_the_deadline(call, short):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        with ends_in_time():
            call(f"http://127.0.0.1:{address[1]}")
        for one in waiting:
            one.close()


def test_a_server_that_does_not_read_does_not_stretch_the_deadline(call, honest):
    """Making the JSON is part of the call's time: it is only just too large for the buffers, and has a second."""

    def read_late(connection, _number):
        given_up.wait()
        with suppress(ConnectionResetError):
            while piece := connection.recv(MIB):
                arrived.append(len(piece))
        read_all.set()

    arrived: list[int] = []
    given_up, read_all = threading.Event(), threading.Event()
    with serving(read_late) as server:
        with ends_in_time(HONEST_SECONDS):
            call(server.url, "POST", body={"email": "x" * 6 * MIB})
        given_up.set()
        assert read_all.wait(20), "it was given up before it was sent"
    assert sum(arrived) < 6 * MIB, "it was given up after it was sent"


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x03\x10\x00"], ids=["silent", "dripping record"])
def test_slow_tls_does_not_stretch_the_deadline(call, start, short):
    def handshake(connection, _number):
        connection.sendall(start)
        while True:
            time.sleep(0.05)
            connection.sendall(start and b"\0")

    with serving(handshake) as server, ends_in_time():
        call(server.url.replace("http:", "https:"))


def test_a_dead_address_leaves_time_for_the_next_one(call, monkeypatch, honest):
    with answering(http(200, USER)) as server, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        found = socket.getaddrinfo("127.0.0.1", server.url.rpartition(":")[2], type=socket.SOCK_STREAM)
        dead = [(*found[0][:4], full.getsockname())]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: dead + found)
        assert call("http://two-addresses.example").content == USER
        for one in waiting:
            one.close()


# The size -------------------------------------------------------------------------------------------------------------


@contextmanager
def little_memory():
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()


def bomb(mebibytes: int) -> bytes:
    """Zeros in gzip. One compressed block, repeated: after a full flush no block looks back at another."""
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"\0" * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"\0" * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * (mebibytes - 1)


def test_a_body_of_one_mebibyte_is_read(call):
    body = b" " * (MIB - len(USER)) + USER
    with answering(http(200, body)) as server:
        assert call(server.url).json_object() == json.loads(USER)


def test_a_compressed_body_is_read(call):
    for packed, encoding in ((zlib.compress(USER, wbits=31), "gzip"), (zlib.compress(USER), "deflate")):
        with answering(http(200, packed, f"Content-Encoding: {encoding}")) as server:
            assert call(server.url).content == USER
            assert call(server.url).content == USER
            assert server.connections == 1


@pytest.mark.parametrize("status", [200, 302, 500])
def test_a_gzip_bomb_uses_little_memory(call, status):
    answer = http(status, bomb(200), "Content-Encoding: gzip", "Location: /elsewhere")
    with answering(answer) as server, little_memory(), pytest.raises((Failure, Retry)) as raised:
        call(server.url).json_object()
    assert "more than 1048576 bytes" in str(raised.value) or str(status) in str(raised.value)


def test_a_bomb_within_a_bomb_uses_little_memory(call):
    packer = zlib.compressobj(wbits=31)
    twice = packer.compress(bomb(2000)) + packer.flush()
    with (
        answering(http(200, twice, "Content-Encoding: gzip, gzip")) as server,
        little_memory(),
        pytest.raises(Failure, match="more than"),
    ):
        call(server.url).json_object()


def test_gzip_without_any_content_does_not_stretch_the_deadline(call, short):
    empty = zlib.compress(b"", wbits=31)
    begun = time.monotonic()
    with answering(http(200, empty * 80_000, "Content-Encoding: gzip")) as server, pytest.raises((Failure, Retry)):
        call(server.url).json_object()
    assert time.monotonic() - begun < SECONDS + 1


@pytest.mark.parametrize("piece", [b"400\r\n" + b" " * 1024 + b"\r\n", b"1;" + b"x" * 60_000 + b"\r\n \r\n"])
def test_chunks_without_end_are_a_failure(call, piece):
    with sending(CHUNKED, piece) as server, little_memory(), pytest.raises(Failure, match="no usable answer"):
        call(server.url).json_object()


def test_a_large_body_that_nobody_needs_leaves_the_call_done(call):
    with answering(http(200, b" " * 5 * MIB)) as server, little_memory():
        assert call(server.url, "DELETE").status == 200


def test_headers_without_end_are_a_failure(call):
    flood = OK + b"".join(b"X%d: %s\r\n" % (number, b"x" * 65_000) for number in range(99))
    with answering(flood) as server, little_memory(), pytest.raises(Failure, match="it does not end"):
        call(server.url)


# What is sent ---------------------------------------------------------------------------------------------------------


def test_every_call_says_who_calls_and_for_which_attempt(call):
    with answering(http(200)) as server:
        call(server.url, "DELETE", context=new_context(token="order-17%", step=1, name="job", attempt=3))
        assert server.header("Idempotency-Key") == "order-17%25:1:job"
        assert server.header("Tasker-Attempt") == "3"
        assert server.header("traceparent") == traceparent("order-17%", 1, "job", 3)
        assert server.header("User-Agent") == f"tasker-worker/{__version__}"
        assert server.requests[0].startswith(b"DELETE /user/7 HTTP/1.1\r\n")


def test_a_path_prefix_is_kept(call):
    with answering(http(200)) as server:
        call(f"{server.url}/api/v1/", "DELETE")
        assert server.requests[0].startswith(b"DELETE /api/v1/user/7 HTTP/1.1\r\n")


def test_a_body_is_sent_as_json(call):
    with answering(http(200)) as server:
        call(server.url, "POST", body={"email": "ö@example.com\ud800"})
        assert server.header("Content-Type") == "application/json"
        assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2]) == {"email": "ö@example.com\ud800"}


@pytest.mark.parametrize(
    ("token", "sent"),
    [
        ("a b%", "a%20b%25"),
        ("\N{PILE OF POO}", "%F0%9F%92%A9"),
        ("a\r\nHost: elsewhere", "a%0D%0AHost:%20elsewhere"),
        ("\0\x7f\t", "%00%7F%09"),
        ("é", "%C3%A9"),
        ("\ud800", "%ED%A0%80"),
        ("\N{PILE OF POO}" * 64, "%F0%9F%92%A9" * 64),
        ("order%207", "order%25207"),
        ("!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ],
)
def test_a_token_of_any_characters_is_sent_safely(call, token, sent):
    with answering(http(200)) as server:
        call(server.url, context=new_context(token=token))
        assert server.header("Idempotency-Key") == f"{sent}:0:service1_get_user"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("löschung-7", "l%C3%B6schung-7"),
        ("order 7", "order%207"),
        ("order%207", "order%25207"),
        ("a%", "a%25"),
        ("%", "%25"),
        ("\0", "%00"),
    ],
)
def test_two_tokens_are_never_one_key(one, other):
    keys = {http_client.header_safe(new_context(token=token).idempotency_key) for token in (one, other)}
    assert len(keys) == 2


@given(st.lists(st.text(st.sampled_from("a%25 :ö0"), max_size=8), min_size=2, max_size=2, unique=True))
def test_no_two_texts_are_one_key(texts):
    assert len(set(map(http_client.header_safe, texts))) == 2


def test_a_service_is_sent_its_authorization_and_no_other(call, settings):
    settings.AUTH_SERVICE1, settings.AUTH_SERVICE2 = "Bearer hunter2", "Bearer other"
    with answering(http(200)) as server:
        call(server.url)
        assert server.header("Authorization") == "Bearer hunter2"


@pytest.mark.parametrize(
    "url",
    ["http://svc:hunter2@a..b", "http://svc:hunter2@host:99999", "http://svc:hunter2@[::1", "svc://svc:hunter2@host"],
)
def test_an_exceptions_own_text_is_not_kept_with_its_password_and_id(call, url):
    with pytest.raises(Failure) as raised:
        call(url, id=4711)
    assert not {"hunter2", "4711"} & set(re.findall(r"\w+", str(raised.value)))
    assert str(raised.value).startswith("service1 GET /user/{id}: no usable answer: ")


def test_what_a_service_says_in_place_of_http_is_not_kept(call):
    with answering(b"SSH-2.0 hunter2@example.com\r\n") as server, pytest.raises(Failure) as raised:
        call(server.url)
    assert str(raised.value) == "service1 GET /user/{id}: no usable answer: BadStatusLine"


@pytest.mark.parametrize("wrong", [True, "7", "../admin", 7.0, None, [7]])
def test_only_integers_become_part_of_a_path(call, wrong):
    with answering(http(200)) as server, pytest.raises(Failure, match="id: an integer is needed"):
        call(server.url, id=wrong)
    assert server.connections == 0


# What is not followed, believed or kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(call, status):
    with answering(http(200, USER)) as elsewhere:
        with answering(http(status, b"", f"Location: {elsewhere.url}/user/7")) as server, pytest.raises(Failure):
            call(server.url)
        assert elsewhere.connections == 0


def test_proxies_and_netrc_of_the_environment_are_ignored(call, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\ndefault login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with answering(http(502)) as proxy, answering(http(200, USER)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert call(server.url).content == USER
        assert server.header("Authorization") is None
        assert proxy.connections == 0


def test_cookies_are_not_kept(call):
    with answering(http(200, USER, "Set-Cookie: session=secret; Path=/")) as server:
        call(server.url)
        call(server.url)
        assert server.header("Cookie") is None


def test_nothing_is_logged_of_a_call(call, caplog):
    caplog.set_level("DEBUG")
    odd = OK + b"Content-Length: 35\r\nTransfer-Encoding: chunked\r\nX y: a@example.com\r\n\r\n0\r\n\r\n"
    with answering(odd) as server:
        call(server.url, "DELETE")
    assert caplog.records == []


# Connections ----------------------------------------------------------------------------------------------------------


def test_a_connection_is_used_again_with_a_new_deadline(call, honest):
    with answering(http(200, USER), http(404), http(503, b"busy"), http(200, USER)) as server:
        call(server.url)
        call(server.url, "DELETE")
        with pytest.raises(Retry):
            call(server.url)
        time.sleep(HONEST_SECONDS * 1.1)
        call(server.url)
        assert (server.connections, len(server.requests)) == (1, 4)


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(call):
    def once(connection, _number):
        server.read_request(connection)
        connection.sendall(http(200, USER))

    with serving(once) as server:
        for _ in range(3):
            assert call(server.url).content == USER
            time.sleep(0.05)
        assert server.connections == 3


def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again(call):
    with answering(http(200, b" " * 3 * MIB), http(200, USER)) as server:
        call(server.url, "DELETE")
        assert call(server.url).content == USER
        assert server.connections == 2


def test_calls_at_the_same_time_have_each_their_own_deadline(call, honest):
    def slow(connection, _number):
        while server.read_request(connection):
            time.sleep(HONEST_SECONDS * 0.4)  # three of them take longer than one may
            connection.sendall(http(200, USER))

    def work():
        done.extend(call(server.url).content for _ in range(3))

    done: list[bytes] = []
    with serving(slow) as server:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done == [USER] * 24
        assert server.connections <= 8


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certify(tmp_path_factory):
    """Makes a self-signed certificate for an address, good for so many days."""
    folder, numbers = tmp_path_factory.mktemp("tls"), count()
    x509_help = subprocess.run(["openssl", "x509", "-help"], check=False, capture_output=True).stderr

    def certify(address: str, days: int):
        stem = folder / str(next(numbers))
        key, request, certificate = (str(stem.with_suffix(suffix)) for suffix in (".key", ".request", ".pem"))
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key]
        name = ["-subj", "/CN=test", "-addext", f"subjectAltName=IP:{address}"]
        # OpenSSL 3.5 refuses days in the past, 3.0 knows no other way to say when.
        gone = ["-not_before", "20190101000000Z", "-not_after", "20200101000000Z"]
        validity = gone if days < 0 and b"-not_after" in x509_help else ["-days", str(days)]
        signing = ["-signkey", key, *validity, "-copy_extensions", "copyall"]
        for command in (["req", *new_key, *name, "-out", request], ["x509", "-req", "-in", request, *signing]):
            out = [] if command[0] == "req" else ["-out", certificate]
            subprocess.run(["openssl", *command, *out], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context, certificate

    return certify


@pytest.fixture
def trust(monkeypatch):
    """Has the system's store hold this certificate for the test."""

    def trust(certificate: str) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        keys._built_adapter.cache_clear()

    yield trust
    keys._built_adapter.cache_clear()


def test_a_certificate_that_nobody_trusts_is_tried_again(call, certify):
    context, _ = certify("127.0.0.1", 2)
    with answering(http(200, USER), tls=context) as server, pytest.raises(Retry, match="self-signed"):
        call(server.url)
    assert server.requests == []


@pytest.mark.parametrize(("address", "days", "fault"), [("127.0.0.1", -1, "expired"), ("127.0.0.2", 2, "not valid")])
def test_a_certificate_that_does_not_hold_is_tried_again(call, certify, trust, address, days, fault):
    context, certificate = certify(address, days)
    trust(certificate)
    with answering(http(200, USER), tls=context) as server, pytest.raises(Retry, match=fault):
        call(server.url)
    assert server.requests == []


def test_connections_over_tls_are_used_again(call, certify, trust):
    context, certificate = certify("127.0.0.1", 2)
    trust(certificate)
    with answering(http(200, USER), tls=context) as server:
        for _ in range(3):
            assert call(server.url, "POST", body={"email": "x" * 100_000}).content == USER
        assert server.connections == 1


def test_a_body_that_drips_over_tls_does_not_stretch_the_deadline(call, certify, trust, short):
    def drip(connection, _number):
        server.read_request(connection)
        connection.sendall(CHUNKED)
        while True:
            time.sleep(0.05)
            connection.sendall(b"1\r\n \r\n")

    context, certificate = certify("127.0.0.1", 2)
    trust(certificate)
    with serving(drip, tls=context) as server, ends_in_time():
        call(server.url)
