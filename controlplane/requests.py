"""Certificate requests (CSRs): what a node may ask to have signed. No I/O."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.errors import CredentialError
from mesh.identity import Identity

# A P-256 request has some 500 bytes; this is before anything is parsed.
MAX_CSR_LENGTH = 16_384


def read_csr(pem: str, identity: Identity) -> ec.EllipticCurvePublicKey:
    """Checks a certificate request and returns the key to certify; nothing else of the request goes into a certificate.

    Raises:
        CredentialError: it is malformed, not signed by its own key, not on P-256, asks to be an authority, or names anything but
            the identity.
    Source: RFC 2986; X.509-SVID, section 4 (one URI SAN).
    """
    if len(pem) > MAX_CSR_LENGTH:
        raise CredentialError(f"the CSR is longer than {MAX_CSR_LENGTH}")
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        key, extensions = csr.public_key(), csr.extensions
        # The cheap checks come first: a signature is verified for what would otherwise be granted.
        _check_key(key)
        _check_extensions(extensions, identity)
        signed = csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        raise CredentialError("the CSR is malformed") from None
    if not signed:
        raise CredentialError("the CSR's signature is wrong")
    assert isinstance(key, ec.EllipticCurvePublicKey), "checked above"
    return key


def _check_key(key: object) -> None:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CredentialError("the CSR's key is not on P-256")


def _check_extensions(extensions: x509.Extensions, identity: Identity) -> None:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName) and list(value) != [x509.UniformResourceIdentifier(str(identity))]:
            raise CredentialError("the CSR names something else than the identity asked for")
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise CredentialError("the CSR asks for the certificate of an authority")
