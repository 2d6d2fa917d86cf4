"""The control plane's own certificate is renewed at half of its life."""

import datetime as dt

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane import server_certificate
from controlplane.authority import new_root
from controlplane.server_certificate import ServerCertificate

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Issued:
    """Stands where gRPC takes over, and keeps what it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chains: list[bytes] = []
        self.now = START
        root = new_root(START, ec.generate_private_key(ec.SECP256R1()))
        monkeypatch.setattr(grpc, "ssl_server_certificate_configuration", lambda pairs: self.chains.append(pairs[0][1]) or "configuration")
        monkeypatch.setattr(server_certificate.grpc, "dynamic_ssl_server_credentials", self.take)
        ServerCertificate(root, lambda: self.now).credentials()

    def take(self, initial: object, fetch: object) -> None:
        assert initial == "configuration"
        self.fetch = fetch


@pytest.mark.parametrize(("hours", "renewed"), [(1, False), (11.9, False), (12, True), (40, True)])
def test_renewal(monkeypatch: pytest.MonkeyPatch, hours: float, renewed: bool) -> None:
    issued = Issued(monkeypatch)
    issued.now += dt.timedelta(hours=hours)
    assert callable(issued.fetch)
    assert (issued.fetch() is not None) == renewed
    assert issued.fetch() is None
    leaf = x509.load_pem_x509_certificates(issued.chains[-1])[0]
    assert leaf.not_valid_before_utc < issued.now < leaf.not_valid_after_utc
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [
        "controlplane.ambient"
    ]
