"""Whom a node believes: what the files may hold, and when our own certificate is no longer believed."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.errors import CredentialError
from tests.unit.ztunnel.pki import DAY, Root
from ztunnel.certificates.trust import Trust, read_trust, why_untrusted
from ztunnel.certificates.trust_files import TrustFiles

ROOT, NEXT, STRANGER = Root("root"), Root("next"), Root("stranger")
BUNDLE = (ROOT.pem + NEXT.pem).encode()


def leaf(root: Root) -> bytes:
    return root.sign(ec.generate_private_key(ec.SECP256R1()).public_key()).encode()


def serial(chain: bytes) -> int:
    return x509.load_pem_x509_certificate(chain).serial_number


def intermediate(root: Root) -> Root:
    """A root's child that signs as roots do."""
    child = Root("intermediate")
    builder = x509.CertificateBuilder().subject_name(child.name).issuer_name(root.name).public_key(child.key.public_key())
    builder = builder.serial_number(99).not_valid_before(root.now - DAY).not_valid_after(root.now + DAY)
    certificate = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(root.key, hashes.SHA256())
    child.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return child


def test_a_bundle_and_lists_of_its_roots_and_of_others_below_them() -> None:
    lists = ROOT.revokes(1) + b"# a comment\n" + intermediate(ROOT).revokes(2)
    assert read_trust(BUNDLE, lists) == Trust(BUNDLE, lists)
    assert read_trust(BUNDLE, b"\n") == Trust(BUNDLE, b"\n")


@pytest.mark.parametrize(
    ("roots", "lists", "which"),
    [
        (b"", b"", "trust bundle"),
        (b"rubbish", b"", "trust bundle"),
        (BUNDLE[:-60], b"", "trust bundle"),
        (ROOT.pem.encode() * 33, b"", "trust bundle"),
        (BUNDLE, b"rubbish", "revocation lists"),
        (BUNDLE, ROOT.revokes(1)[:-60], "revocation lists"),
        (BUNDLE, ROOT.revokes(1) + b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "revocation lists"),
        (BUNDLE, ROOT.revokes(1) * 33, "revocation lists"),
        (BUNDLE, BUNDLE, "revocation lists"),
        (BUNDLE, Root("root").revokes(1), "has not signed"),
    ],
)
def test_what_cannot_be_used(roots: bytes, lists: bytes, which: str) -> None:
    with pytest.raises(CredentialError, match=which):
        read_trust(roots, lists)


def test_our_own_certificate() -> None:
    ours = leaf(ROOT)
    assert why_untrusted(ours, Trust(BUNDLE)) == ""
    assert "left the trust bundle" in why_untrusted(ours, Trust(NEXT.pem.encode()))
    assert f"{serial(ours):x} is revoked" in why_untrusted(ours, Trust(BUNDLE, NEXT.revokes(7) + ROOT.revokes(3, serial(ours))))
    assert why_untrusted(ours, Trust(BUNDLE, ROOT.revokes(serial(ours) + 1))) == ""
    assert why_untrusted(ours, Trust(BUNDLE, NEXT.revokes(serial(ours)))) == "", "another root's number"


def test_our_own_issuer() -> None:
    below = intermediate(ROOT)
    ours = leaf(below) + below.pem.encode()
    assert why_untrusted(ours, Trust(BUNDLE)) == ""
    assert "certificate 63 is revoked" in why_untrusted(ours, Trust(BUNDLE, ROOT.revokes(99)))
    assert f"{serial(ours):x} is revoked" in why_untrusted(ours, Trust(BUNDLE, below.revokes(serial(ours))))


class Files:
    def __init__(self, directory: Path) -> None:
        self.roots, self.lists = directory / "root-cert.pem", directory / "ca-crl.pem"
        self.told: list[Trust] = []
        self.watch = TrustFiles(self.roots, self.lists, self.told.append)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_changes_are_told_once(files: Files) -> None:
    files.roots.write_bytes(BUNDLE)
    for _ in range(3):
        assert files.watch.read() == Trust(BUNDLE)
    files.lists.write_bytes(ROOT.revokes(1))
    trust = files.watch.read()
    files.lists.unlink()
    assert files.watch.read() == Trust(BUNDLE)
    assert files.told == [Trust(BUNDLE), trust, Trust(BUNDLE)]


@pytest.mark.parametrize("damage", ["roots", "lists", "gone", "large"])
def test_the_last_good_stays(files: Files, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files.roots.write_bytes(BUNDLE)
    good = files.watch.read()
    match damage:
        case "roots":
            files.roots.write_bytes(BUNDLE[:100])
        case "lists":
            files.lists.write_bytes(b"rubbish")
        case "gone":
            files.roots.unlink()
        case "large":
            monkeypatch.setattr("ztunnel.certificates.trust_files.MAX_LENGTH", 10)
    for _ in range(3):
        assert files.watch.read() == good
    monkeypatch.undo()
    files.roots.write_bytes(NEXT.pem.encode())
    files.lists.unlink(missing_ok=True)
    assert files.watch.read() == Trust(NEXT.pem.encode())
    assert files.told == [good, Trust(NEXT.pem.encode())]


def test_there_never_was_anything(files: Files) -> None:
    with pytest.raises(CredentialError, match="No such file"):
        files.watch.read()
    files.roots.write_bytes(b"rubbish")
    with pytest.raises(CredentialError, match="trust bundle"):
        files.watch.read()


def test_lists_are_read_once_for_all_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    load, loaded = x509.load_pem_x509_crl, []
    monkeypatch.setattr(x509, "load_pem_x509_crl", lambda pem: loaded.append(pem) or load(pem))
    trust = read_trust(BUNDLE, ROOT.revokes(1) + NEXT.revokes(1))
    for _ in range(3):
        assert why_untrusted(leaf(ROOT), trust) == ""
    assert len(loaded) == 2
