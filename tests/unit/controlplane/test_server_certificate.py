"""The control plane's own certificate is renewed at half of its life, and when another issuer signs."""

import datetime as dt

import grpc
import pytest
from cryptography import x509

from controlplane import server_certificate
from controlplane.authority import issuer_of, make_authority
from controlplane.server_certificate import ServerCertificate
from tests.unit.controlplane.authorities import DAY, NOW, Maker, authority

ROOT = authority("root", now=NOW)


class Issued:
    """Stands where gRPC takes over, and keeps what it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chains: list[bytes] = []
        self.now = NOW
        self.sign_with(ROOT)
        monkeypatch.setattr(grpc, "ssl_server_certificate_configuration", lambda pairs: self.chains.append(pairs[0][1]) or "configuration")
        monkeypatch.setattr(server_certificate.grpc, "dynamic_ssl_server_credentials", self.take)
        ServerCertificate(lambda: self.authority, DAY, lambda: self.now).credentials()

    def sign_with(self, issuer: Maker, *above: Maker) -> None:
        chain = tuple(one.certificate for one in above)
        self.authority = make_authority(issuer_of(issuer.key, issuer.certificate, chain), ROOT.pem, b"")

    def take(self, initial: object, fetch: object) -> None:
        assert initial == "configuration"
        self.fetch = fetch

    def renewed(self) -> bool:
        assert callable(self.fetch)
        return self.fetch() is not None

    def newest(self) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates(self.chains[-1])


@pytest.mark.parametrize(("hours", "renewed"), [(1, False), (11.9, False), (12, True), (40, True)])
def test_renewal(monkeypatch: pytest.MonkeyPatch, hours: float, renewed: bool) -> None:
    issued = Issued(monkeypatch)
    issued.now += dt.timedelta(hours=hours)
    assert issued.renewed() == renewed
    assert not issued.renewed()
    (leaf,) = issued.newest()
    assert leaf.not_valid_before_utc < issued.now < leaf.not_valid_after_utc
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [
        "controlplane.ambient"
    ]


def test_another_issuer_signs_at_once_and_its_chain_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    issued = Issued(monkeypatch)
    issuer = authority("ca", ROOT)
    issued.sign_with(issuer, issuer)
    assert issued.renewed()
    assert not issued.renewed()
    leaf, above = issued.newest()
    leaf.verify_directly_issued_by(above)
    above.verify_directly_issued_by(ROOT.certificate)


def test_an_issuer_that_has_ended_leaves_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    issued = Issued(monkeypatch)
    issued.now += 3651 * DAY
    assert not issued.renewed()
    assert "authority's own certificate ended" in capsys.readouterr().out


def test_a_certificate_that_ends_with_its_issuer_is_renewed_at_half_of_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    issued = Issued(monkeypatch)
    issued.sign_with(authority("short", ends=dt.timedelta(hours=2)))
    assert issued.renewed()
    issued.now += dt.timedelta(hours=1)
    assert issued.renewed()


def test_a_clock_that_was_ahead_leaves_no_certificate_of_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    issued = Issued(monkeypatch)
    issued.now -= dt.timedelta(hours=1)
    assert issued.renewed()
    assert issued.newest()[0].not_valid_before_utc < issued.now
    assert not issued.renewed()
