"""An authority that others made: what a mounted Secret must hold, checked as a whole. No I/O.

The files are those of istiod's `cacerts` Secret, and the errors name them.
"""

import datetime as dt
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.authority import Authority, SigningKey, issuer_of, make_authority
from controlplane.constraints import name_refused
from controlplane.revocation import check_lists
from mesh.errors import ConfigError
from mesh.pem import split_pem
from mesh.signatures import UNREADABLE, issued

CERTIFICATE, KEY, ROOTS, CHAIN, LISTS = "ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem", "ca-crl.pem"
# Names of the files, and whether there must be one.
FILES = {CERTIFICATE: True, KEY: True, ROOTS: True, CHAIN: False, LISTS: False}
# A rotation trusts two; more than this is no chain and no bundle of a mesh. Nodes take 32 of either.
MAX_CERTIFICATES = 10
# Source: NIST SP 800-57 part 1, table 2 (112 bits until 2030).
MIN_RSA_BITS = 2048


def check_authority(files: Mapping[str, bytes], names: tuple[str, str], now: dt.datetime) -> Authority:
    """Makes an authority of the files' contents.

    Args:
        files: by name; a file that is not there is left out.
        names: the trust domain, and the DNS name of the control plane: what the authority must be allowed to sign for.
    Raises:
        ConfigError: the file, and what was expected of it.
    """
    for name, required in FILES.items():
        if required and name not in files:
            raise ConfigError(name, None, "a file")
    (certificate,) = _certificates(files, CERTIFICATE, most=1)
    key = _key(files[KEY])
    if key.public_key() != certificate.public_key():
        raise ConfigError(KEY, "another key", f"the private key of {CERTIFICATE}")
    roots = _certificates(files, ROOTS)
    path = _path(certificate, _certificates(files, CHAIN) if files.get(CHAIN, b"").strip() else (), roots)
    for below, one in enumerate(path):
        _check_signer(one, below, now)
        refused = name_refused(one, *names)
        if refused:
            raise ConfigError(_file_of(one, certificate, roots), refused, "name constraints that let the mesh's names pass")
    lists = files.get(LISTS, b"")
    check_lists(lists, (*path, *roots), LISTS)
    above = tuple(one for one in path if one not in roots)
    bundle = b"".join(root.public_bytes(Encoding.PEM) for root in roots)
    return make_authority(issuer_of(key, certificate, above), bundle, lists)


def _certificates(files: Mapping[str, bytes], name: str, most: int = MAX_CERTIFICATES) -> tuple[x509.Certificate, ...]:
    expected = "one PEM certificate" if most == 1 else f"1 to {most} PEM certificates"
    try:
        certificates = tuple(map(x509.load_pem_x509_certificate, split_pem(files[name], "CERTIFICATE")))
        for one in certificates:
            # Read lazily; what is broken inside must show now.
            _ = one.extensions, one.subject, one.issuer, one.public_key(), one.not_valid_after_utc, one.not_valid_before_utc
    except UNREADABLE:
        raise ConfigError(name, "unreadable", expected) from None
    if not 1 <= len(certificates) <= most:
        raise ConfigError(name, f"{len(certificates)} certificates", expected)
    return certificates


def _key(pem: bytes) -> SigningKey:
    expected = f"an unencrypted PEM private key on P-256 or P-384, or RSA of {MIN_RSA_BITS} bits or more"
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except UNREADABLE:
        raise ConfigError(KEY, "unreadable", expected) from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return key
    raise ConfigError(KEY, f"{type(key).__name__} of {getattr(key, 'key_size', 'unknown')} bits", expected)


def _path(
    certificate: x509.Certificate, chain: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...]
) -> tuple[x509.Certificate, ...]:
    """Returns the certificates from the issuer up to a root, both included."""
    path = [certificate]
    while path[-1] not in roots:
        above = next((one for one in (*roots, *chain) if one not in path and issued(path[-1], one)), None)
        if above is None:
            file = CERTIFICATE if len(path) == 1 else CHAIN
            raise ConfigError(
                file, path[-1].subject.rfc4514_string()[:256], f"a certificate that leads to one of {ROOTS}, by way of {CHAIN}"
            )
        path.append(above)
    return tuple(path)


def _check_signer(certificate: x509.Certificate, below: int, now: dt.datetime) -> None:
    """Lets only a certificate through that may sign others now. `below`: how many authorities stand between it and a leaf."""
    name = CERTIFICATE if below == 0 else f"{CHAIN} or {ROOTS}: {certificate.subject.rfc4514_string()[:256]}"
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    if constraints is None or not constraints.ca:
        raise ConfigError(name, "CA:FALSE", "the certificate of an authority (CA:TRUE)")
    if constraints.path_length is not None and constraints.path_length < below:
        raise ConfigError(name, f"path length {constraints.path_length}", f"a path length of {below} or more")
    try:
        signs = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        signs = True
    if not signs:
        raise ConfigError(name, "a key usage without keyCertSign", "a certificate that may sign certificates")
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        life = f"{certificate.not_valid_before_utc.isoformat()} to {certificate.not_valid_after_utc.isoformat()}"
        raise ConfigError(name, life, "a certificate that is valid now")


def _file_of(one: x509.Certificate, certificate: x509.Certificate, roots: tuple[x509.Certificate, ...]) -> str:
    return ROOTS if one in roots and one != certificate else CERTIFICATE if one == certificate else CHAIN
