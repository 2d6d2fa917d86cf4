"""Keys, signing requests, and the check of what comes back. Pure but for the randomness of keys."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.errors import CredentialError
from mesh.identity import Identity
from mesh.signatures import UNREADABLE, issued
from ztunnel.certificates.schedule import Validity
from ztunnel.certificates.trust import Trust, read_roots
from ztunnel.engine.interface import Credentials

# A leaf, a few intermediates and the roots of a bundle: more is nothing that a CA of a mesh sends; it bounds the work below.
MAX_CHAIN = 32


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A fresh key and the request for its certificate, PEM."""

    key: ec.EllipticCurvePrivateKey
    csr: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the engine gets, and what the admin page may show of it."""

    credentials: Credentials
    validity: Validity
    serial: str


def make_request(identity: Identity) -> SigningRequest:
    """Makes a P-256 key and a request whose one name is the identity.

    Source: SPIFFE X.509-SVID section 4: one URI SAN, critical where the subject is empty (RFC 5280 section 4.2.1.6).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=True).sign(key, hashes.SHA256())
    return SigningRequest(key, csr.public_bytes(serialization.Encoding.PEM).decode("ascii"))


def check_reply(request: SigningRequest, identity: Identity, chain_pem: list[str], trust: Trust, now_s: float) -> Certificate:
    """Takes the CA's answer only when peers will take it too.

    Args:
        chain_pem: leaf first; one or more certificates in each part.
        trust: what the node believes; it goes into the credentials.
    Raises:
        CredentialError: the chain is not for this key and identity, is not valid now, or does not lead to the bundle.
    Source: references of the ecosystem: a node proxy checks that the reply's SAN is the identity that it asked for.
    """
    chain = _load("\n".join(chain_pem).encode())
    leaf = chain[0]
    _check_names(leaf, identity)
    if not _is_for(leaf, request):
        raise CredentialError("the certificate is for another key")
    validity = Validity(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())
    if validity.not_after_s <= now_s:
        raise CredentialError(f"the certificate ended at {printable_time(validity.not_after_s)}")
    if validity.not_before_s > now_s:
        raise CredentialError(f"the certificate begins at {printable_time(validity.not_before_s)}: this clock or the CA's is wrong")
    presented = [certificate for certificate in chain if certificate.issuer != certificate.subject]
    _check_path(presented, read_roots(trust.roots))
    credentials = Credentials(
        certificate_chain=b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in presented),
        private_key=request.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        roots=trust.roots,
        revoked=trust.revoked,
    )
    return Certificate(credentials, validity, f"{leaf.serial_number:x}")


def printable_time(seconds: float) -> str:
    """Returns a time since the epoch as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _load(pem: bytes) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except UNREADABLE as error:
        raise CredentialError(f"the CA's reply: {error}") from None
    if not 1 <= len(certificates) <= MAX_CHAIN:
        raise CredentialError(f"the CA's reply holds {len(certificates)} certificates, expected 1 to {MAX_CHAIN}")
    return certificates


def _check_names(leaf: x509.Certificate, identity: Identity) -> None:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, *UNREADABLE) as error:
        raise CredentialError(f"the certificate has no readable subject alternative name: {error}") from None
    names = [str(name.value) for name in extension.value]
    if names != [str(identity)]:
        raise CredentialError(f"the certificate is for {names[:4]}, asked for {identity}")


def _is_for(leaf: x509.Certificate, request: SigningRequest) -> bool:
    try:
        return leaf.public_key() == request.key.public_key()
    except UNREADABLE:
        return False


def _check_path(presented: list[x509.Certificate], roots: list[x509.Certificate]) -> None:
    """Follows the chain, each certificate issued by the next and the last by a root."""
    if not presented:
        raise CredentialError("the CA's reply holds nothing but roots")
    for certificate, issuer in pairwise(presented):
        if not issued(certificate, issuer):
            raise CredentialError("the CA's chain is out of order or broken")
    if not any(issued(presented[-1], root) for root in roots):
        raise CredentialError("the chain does not lead to the trust bundle")
