from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import trustme

from fakes.authority import Authority
from fakes.service import FakeService
from twinset import Client, Tls, Unavailable
from twinset_server.config import AccessSettings, TlsSettings
from twinset_server.errors import StartupError
from twinset_server.rpc import certificates
from twinset_server.rpc.listening import check_exposure


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def served(authority: Authority, *, clients: Path | None = None) -> TlsSettings:
    pair = authority.issue()
    return TlsSettings(certificate=pair.certificate, key=pair.key, client_authority=clients)


def reach(service: FakeService, tls: Tls | None) -> int:
    with Client(service.address, tls=tls, timeout_s=5) as client:
        return client.catalog().item_count


def test_a_client_that_trusts_the_authority_gets_in(authority: Authority) -> None:
    with FakeService(tls=served(authority)) as service:
        assert reach(service, Tls(authority.certificate)) == 0


def test_plaintext_and_another_authority_are_kept_out(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    with FakeService(tls=served(authority)) as service:
        with pytest.raises(Unavailable):
            reach(service, None)
        with pytest.raises(Unavailable, match="don't trust each other") as caught:
            reach(service, Tls(other.certificate))
        assert caught.value.reason == "UNTRUSTED"


def test_a_certificate_of_another_name_is_not_trusted_unless_that_is_named(authority: Authority) -> None:
    pair = authority.issue("server", "shop.example")
    with FakeService(tls=TlsSettings(certificate=pair.certificate, key=pair.key)) as service:
        with pytest.raises(Unavailable):
            reach(service, Tls(authority.certificate))
        assert reach(service, Tls(authority.certificate, server_name="shop.example")) == 0


def test_a_server_that_asks_for_certificates_takes_those_of_its_authority_alone(
    authority: Authority, tmp_path: Path
) -> None:
    clients, strangers = Authority(tmp_path / "clients"), Authority(tmp_path / "strangers")
    mine, theirs = clients.issue("mine", "me"), strangers.issue("theirs", "me")
    with FakeService(tls=served(authority, clients=clients.certificate)) as service:
        assert reach(service, Tls(authority.certificate, mine.certificate, mine.key)) == 0
        for pair in (None, theirs):
            shown = (pair.certificate, pair.key) if pair else (None, None)
            with pytest.raises(Unavailable):
                reach(service, Tls(authority.certificate, *shown))


def test_a_new_certificate_is_taken_up_and_open_connections_go_on(authority: Authority, tmp_path: Path) -> None:
    settings = served(authority)
    replaced = Authority(tmp_path / "replaced")
    assert settings.certificate is not None
    assert settings.key is not None
    with (
        FakeService(tls=settings) as service,
        Client(service.address, tls=Tls(authority.certificate), timeout_s=5) as before,
    ):
        before.catalog()
        pair = replaced.issue()
        pair.key.replace(settings.key)
        pair.certificate.replace(settings.certificate)
        assert reach(service, Tls(replaced.certificate)) == 0
        before.catalog()
        with pytest.raises(Unavailable):
            reach(service, Tls(authority.certificate))


def test_a_broken_certificate_leaves_the_one_that_was(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    settings = served(authority)
    assert settings.certificate is not None
    with FakeService(tls=settings) as service:
        settings.certificate.write_text("no certificate")
        assert reach(service, Tls(authority.certificate)) == 0
    assert "certificates stay as they were" in caplog.text


def test_files_that_are_no_pair_are_refused_at_the_start(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    missing = tmp_path / "missing.pem"
    for certificate, key, clients, told in (
        (one.certificate, other.key, None, "are no certificate in PEM and its private key"),
        (missing, one.key, None, "missing.pem can't be read"),
        (one.certificate, one.key, one.key, "holds no certificates"),
    ):
        with pytest.raises(StartupError, match=told):
            certificates.credentials(TlsSettings(certificate=certificate, key=key, client_authority=clients))


def test_a_certificate_needs_its_key() -> None:
    for given in ({"certificate": Path("a")}, {"key": Path("a")}, {"client_authority": Path("a")}):
        with pytest.raises(ValueError):
            TlsSettings(**given)
    with pytest.raises(ValueError, match="go together"):
        Tls(certificate=Path("a"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_loopback_may_be_plaintext(host: str) -> None:
    check_exposure(host, "server.host", TlsSettings(), AccessSettings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "10.0.0.8", "shop.example", ""])
def test_what_others_reach_needs_tls_or_a_word(host: str) -> None:
    with pytest.raises(StartupError, match=r"^server\.host is .*access\.plaintext"):
        check_exposure(host, "server.host", TlsSettings(), AccessSettings())
    check_exposure(host, "server.host", TlsSettings(), AccessSettings(plaintext=True))
    check_exposure(host, "server.host", TlsSettings(certificate=Path("a"), key=Path("b")), AccessSettings())


def test_an_expired_certificate_is_not_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", not_after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    for name, blob in (
        ("ca.pem", authority.cert_pem),
        ("server.pem", issued.cert_chain_pems[0]),
        ("server.key", issued.private_key_pem),
    ):
        blob.write_to_path(tmp_path / name)
    settings = TlsSettings(certificate=tmp_path / "server.pem", key=tmp_path / "server.key")
    with FakeService(tls=settings) as service, pytest.raises(Unavailable):
        reach(service, Tls(tmp_path / "ca.pem"))
