"""An authority that others made: what is taken, and the table of what is refused, each with the file's name."""

import datetime as dt
from collections.abc import Callable
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from controlplane.authority import issue_workload
from controlplane.given import check_authority
from mesh.errors import ConfigError
from mesh.identity import Identity
from tests.unit.controlplane.authorities import DAY, NOW, authority, p256, secret

NAMES = ("cluster.local", "controlplane.ambient")
IDENTITY = Identity("cluster.local", "shop", "web")
ROOT = authority("root")
MIDDLE = authority("middle", ROOT)
CA = authority("ca", MIDDLE, path_length=0)
OTHER = authority("other")
KEYS = {
    "P-256": p256(),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
}


def uri(name: str) -> x509.NameConstraints:
    return x509.NameConstraints([x509.UniformResourceIdentifier(name)], None)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_any_strong_key_signs_certificates_that_lead_to_the_root(key: object) -> None:
    issuer = authority("ca", MIDDLE, key)
    read = check_authority(secret(issuer, ROOT, chain=(MIDDLE,)), NAMES, NOW)
    leaf = issue_workload(read.issuer, p256().public_key(), IDENTITY, DAY, NOW)
    path = [leaf, *read.issuer.above, ROOT.certificate]
    assert [one.subject for one in path[1:]] == [issuer.certificate.subject, MIDDLE.certificate.subject, ROOT.certificate.subject]
    for below, above in pairwise(path):
        below.verify_directly_issued_by(above)
    assert len(read.reply_chain) == 3, "issuer, the one above, and the bundle last"


def test_a_root_that_signs_itself_needs_no_chain() -> None:
    read = check_authority(secret(ROOT, ROOT, OTHER), NAMES, NOW)
    assert read.issuer.above == ()
    assert read.reply_chain == (read.bundle.decode(),)
    assert x509.load_pem_x509_certificates(read.bundle) == [ROOT.certificate, OTHER.certificate]


def test_the_chain_may_hold_the_issuer_and_the_root_in_any_order() -> None:
    read = check_authority(secret(CA, ROOT, chain=(ROOT, MIDDLE, CA)), NAMES, NOW)
    assert read.issuer.above == (CA.certificate, MIDDLE.certificate)


def test_lists_of_any_authority_of_ours_are_taken_one_after_the_other() -> None:
    lists = CA.revokes(1) + b"a comment\n" + ROOT.revokes(2, 3)
    assert check_authority(secret(CA, ROOT, chain=(MIDDLE,), lists=lists), NAMES, NOW).revocations == lists


def test_the_issuer_s_own_name_of_its_key_is_repeated() -> None:
    named = authority("ca", ROOT, extra=(x509.SubjectKeyIdentifier(b"by hand"),))
    leaf = issue_workload(check_authority(secret(named, ROOT), NAMES, NOW).issuer, p256().public_key(), IDENTITY, DAY, NOW)
    assert leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == b"by hand"


@pytest.mark.parametrize("name", ["cluster.local", ".local"])
def test_name_constraints_that_let_us_pass(name: str) -> None:
    check_authority(secret(authority("ca", ROOT, extra=(uri(name),)), ROOT), NAMES, NOW)


def without(name: str) -> Callable[[], dict[str, bytes]]:
    return lambda: {file: content for file, content in secret(CA, ROOT, chain=(MIDDLE,)).items() if file != name}


def replaced(name: str, content: bytes) -> Callable[[], dict[str, bytes]]:
    return lambda: {**secret(CA, ROOT, chain=(MIDDLE,)), name: content}


def encrypted() -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return CA.key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret"))


def of_key(key: object) -> dict[str, bytes]:
    return secret(authority("ca", ROOT, key), ROOT)


def of_root(**wrong: object) -> dict[str, bytes]:
    root = authority("root", **wrong)  # type: ignore[arg-type]
    return secret(authority("ca", root), root)


def of_issuer(**wrong: object) -> dict[str, bytes]:
    return secret(authority("ca", ROOT, **wrong), ROOT)  # type: ignore[arg-type]


def excluded() -> x509.NameConstraints:
    return x509.NameConstraints(None, [x509.DNSName("ambient")])


REFUSALS = {
    "no certificate": (without("ca-cert.pem"), "ca-cert.pem", "a file"),
    "no key": (without("ca-key.pem"), "ca-key.pem", "a file"),
    "no root": (without("root-cert.pem"), "root-cert.pem", "a file"),
    "empty certificate": (replaced("ca-cert.pem", b""), "ca-cert.pem", "one PEM certificate"),
    "two certificates": (replaced("ca-cert.pem", CA.pem + MIDDLE.pem), "ca-cert.pem", "one PEM certificate"),
    "rubbish for a root": (replaced("root-cert.pem", b"rubbish"), "root-cert.pem", "1 to 10 PEM certificates"),
    "a root and a half": (replaced("root-cert.pem", ROOT.pem + OTHER.pem[:-40]), "root-cert.pem", "1 to 10 PEM certificates"),
    "too many roots": (replaced("root-cert.pem", ROOT.pem * 11), "root-cert.pem", "1 to 10 PEM certificates"),
    "rubbish for a chain": (replaced("cert-chain.pem", b"rubbish"), "cert-chain.pem", "1 to 10 PEM certificates"),
    "rubbish for a key": (replaced("ca-key.pem", b"rubbish"), "ca-key.pem", "unencrypted PEM private key"),
    "encrypted key": (replaced("ca-key.pem", encrypted()), "ca-key.pem", "unencrypted PEM private key"),
    "another's key": (replaced("ca-key.pem", OTHER.key_pem), "ca-key.pem", "private key of ca-cert.pem"),
    "weak RSA": (lambda: of_key(rsa.generate_private_key(65537, 1024)), "ca-key.pem", "2048 bits or more"),
    "P-521": (lambda: of_key(ec.generate_private_key(ec.SECP521R1())), "ca-key.pem", "P-256 or P-384"),
    "Ed25519": (replaced("ca-key.pem", ed25519.Ed25519PrivateKey.generate().private_bytes_raw()), "ca-key.pem", "P-256 or P-384"),
    "foreign root": (replaced("root-cert.pem", OTHER.pem), "cert-chain.pem", "leads to one of root-cert.pem"),
    "chain with a hole": (without("cert-chain.pem"), "ca-cert.pem", "by way of cert-chain.pem"),
    "no authority": (lambda: of_issuer(ca=False), "ca-cert.pem", "CA:TRUE"),
    "may not sign": (lambda: of_issuer(signs=False), "ca-cert.pem", "may sign certificates"),
    "ended": (lambda: of_issuer(ends=dt.timedelta()), "ca-cert.pem", "valid now"),
    "not begun": (lambda: of_issuer(begins=DAY), "ca-cert.pem", "valid now"),
    "ended root": (lambda: of_root(ends=dt.timedelta()), "root-cert.pem", "valid now"),
    "path too long": (lambda: of_root(path_length=0), "root-cert.pem", "a path length of 1 or more"),
    "constraints on another domain": (lambda: of_issuer(extra=(uri("other.example"),)), "ca-cert.pem", "let the mesh's names pass"),
    "constraints on the control plane": (lambda: of_issuer(extra=(excluded(),)), "ca-cert.pem", "let the mesh's names pass"),
    "rubbish for lists": (replaced("ca-crl.pem", b"rubbish"), "ca-crl.pem", "PEM revocation lists"),
    "half a list": (replaced("ca-crl.pem", CA.revokes(1)[:-20]), "ca-crl.pem", "PEM revocation lists"),
    "a list and a half": (replaced("ca-crl.pem", CA.revokes(1) * 2 + CA.revokes(1)[:-20]), "ca-crl.pem", "PEM revocation lists"),
    "somebody's list": (replaced("ca-crl.pem", CA.revokes(1) + OTHER.revokes(1)), "ca-crl.pem", "has signed"),
    "a forged list": (replaced("ca-crl.pem", authority("ca").revokes(1)), "ca-crl.pem", "has signed"),
}


@pytest.mark.parametrize(("files", "name", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals(files: Callable[[], dict[str, bytes]], name: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_authority(files(), NAMES, NOW)
    assert name in refused.value.key
    assert expected in refused.value.expected
    assert "PRIVATE KEY" not in str(refused.value)
