"""How a service knows us and we know it: AUTH_, CA_ and CERT_, from files that are replaced while the process runs."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs_app.clients import keys
from jobs_app.credentials import mask_credentials
from jobs_app.outcomes import Failure, Retry
from tests.authority import Authority
from tests.jobs_app.clients.conftest import Call
from tests.jobs_app.clients.server import answering, http

NAME = "IP:127.0.0.1"


@pytest.fixture(autouse=True)
def _new_adapters() -> Iterator[None]:
    keys._built_adapter.cache_clear()
    yield
    keys._built_adapter.cache_clear()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


def server_context(authority: Authority, *, demands: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.certificate("server", NAME))
    if demands:
        context.load_verify_locations(authority.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def bundle(authority: Authority, folder: Path, name: str = "tasker") -> Path:
    """A certificate of ours and its key, in one file."""
    file = folder / f"{name}.bundle.pem"
    file.write_text("".join(Path(part).read_text() for part in authority.certificate(name, f"DNS:{name}")))
    return file


# CA_ and CERT_ --------------------------------------------------------------------------------------------------------
def test_a_service_of_our_own_ca_is_believed_and_no_other_service_by_it(
    call: Call, settings: Any, authority: Authority
) -> None:
    with answering(http(200), tls=server_context(authority)) as server:
        with pytest.raises(Retry, match="certificate"):
            call(server.url, "DELETE")
        settings.CA_SERVICE2 = authority.ca
        with pytest.raises(Retry, match="certificate"):
            call(server.url, "DELETE")
        settings.CA_SERVICE1 = authority.ca
        assert call(server.url, "DELETE").status == 200


def test_with_a_ca_of_its_own_no_other_is_believed(call: Call, settings: Any, tmp_path: Path) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    settings.CA_SERVICE1 = ours.ca
    with answering(http(200), tls=server_context(other)) as server, pytest.raises(Retry, match="certificate"):
        call(server.url, "DELETE")
    assert server.requests == []


def test_a_certificate_of_ours_is_shown_where_one_is_demanded(
    call: Call, settings: Any, authority: Authority, tmp_path: Path
) -> None:
    settings.CA_SERVICE1 = authority.ca
    with answering(http(200), tls=server_context(authority, demands=True)) as server:
        with pytest.raises(Retry):
            call(server.url, "DELETE")
        settings.CERT_SERVICE1 = str(bundle(authority, tmp_path))
        for _ in range(3):
            assert call(server.url, "DELETE").status == 200
        assert server.connections == 2, "one that was refused, and one that is used again"


def test_certificates_are_read_again_when_they_change(
    call: Call, settings: Any, authority: Authority, tmp_path: Path
) -> None:
    ca, other = tmp_path / "ca.pem", Authority(tmp_path / "other")
    ca.write_text(Path(other.ca).read_text())
    cert = bundle(other, tmp_path)
    settings.CA_SERVICE1, settings.CERT_SERVICE1 = str(ca), str(cert)
    with answering(http(200), tls=server_context(authority, demands=True)) as server:
        with pytest.raises(Retry):
            call(server.url, "DELETE")
        ca.write_text(Path(authority.ca).read_text())
        with pytest.raises(Retry):
            call(server.url, "DELETE")
        bundle(authority, tmp_path, "tasker")
        assert call(server.url, "DELETE").status == 200


@pytest.mark.parametrize("half", ["", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_half_a_file_leaves_what_there_was(
    half: str, call: Call, settings: Any, authority: Authority, tmp_path: Path
) -> None:
    cert = bundle(authority, tmp_path)
    settings.CA_SERVICE1, settings.CERT_SERVICE1 = authority.ca, str(cert)
    with answering(http(200), tls=server_context(authority, demands=True)) as server:
        call(server.url, "DELETE")
        cert.write_text(half)
        assert call(server.url, "DELETE").status == 200
        cert.unlink()
        assert call(server.url, "DELETE").status == 200


# AUTH_ ----------------------------------------------------------------------------------------------------------------
@pytest.fixture
def auth_file(tmp_path: Path, settings: Any) -> Path:
    file = tmp_path / "auth"
    file.write_text("Bearer first-secret\n")
    settings.AUTH_SERVICE1, settings.SECRET_FILES = "Bearer first-secret", {"AUTH_SERVICE1": str(file)}
    settings.SECRETS = ("Bearer first-secret",)
    return file


def test_an_authorization_is_read_again_when_its_file_changes(call: Call, auth_file: Path) -> None:
    with answering(http(200)) as server:
        for written in ("Bearer first-secret", "Bearer other-secret", "Bearer third-secret"):
            new = auth_file.with_name("new")
            new.write_text(f"{written}\n")
            new.replace(auth_file)  # as Kubernetes and careful scripts do it
            call(server.url, "DELETE")
            assert server.header("Authorization") == written


@pytest.mark.parametrize("broken", [b"", b"\n", b"Bearer a\nb", b"Bearer \xff", "Bearer \u20ac".encode(), None])
def test_what_no_header_can_hold_leaves_the_one_before_and_is_told_without_it(
    broken: bytes | None, call: Call, auth_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(http(200)) as server:
        call(server.url, "DELETE")
        auth_file.unlink() if broken is None else auth_file.write_bytes(broken)
        for _ in range(3):
            call(server.url, "DELETE")
            assert server.header("Authorization") == "Bearer first-secret"
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "AUTH_SERVICE1" in caplog.text
        auth_file.write_text("Bearer mended-secret")
        call(server.url, "DELETE")
        assert server.header("Authorization") == "Bearer mended-secret"


def test_what_came_since_is_masked_like_what_was_there_at_the_start(call: Call, auth_file: Path) -> None:
    auth_file.write_text("Bearer rotated/secret")
    with answering(http(200)) as server:
        call(server.url, "DELETE")
    assert mask_credentials("first-secret rotated/secret rotated\\/secret rotated%2Fsecret") == "*** *** *** ***"


# What it refuses ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_setting_and_not_its_value(
    status: int, call: Call, settings: Any, authority: Authority, tmp_path: Path
) -> None:
    def refusal() -> str:
        with answering(http(status, b'{"your": "Bearer hunter2"}')) as server, pytest.raises(Failure) as raised:
            call(server.url)
        return str(raised.value).partition(f"answered {status}: ")[2]

    assert refusal() == "it refuses a call without AUTH_SERVICE1"
    settings.AUTH_SERVICE1 = "Bearer hunter2"
    assert refusal() == "it refuses AUTH_SERVICE1"
    settings.CERT_SERVICE1 = str(bundle(authority, tmp_path))
    assert refusal() == "it refuses AUTH_SERVICE1 and CERT_SERVICE1"
