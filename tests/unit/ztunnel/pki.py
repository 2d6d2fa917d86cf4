"""A root that signs what a test asks for."""

import datetime as dt
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = dt.timedelta(days=1)


class Root:
    """Everything in PEM, as it is sent."""

    def __init__(self, name: str = "root") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        builder = x509.CertificateBuilder().subject_name(self.name).issuer_name(self.name).public_key(self.key.public_key())
        builder = builder.serial_number(1).not_valid_before(self.now - DAY).not_valid_after(self.now + 365 * DAY)
        certificate = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(self.key, hashes.SHA256())
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, public_key: object, *names: x509.GeneralName, ends: dt.timedelta = DAY) -> str:
        builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.name).public_key(public_key)  # type: ignore[arg-type]
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(self.now - 2 * DAY).not_valid_after(self.now + ends)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def sign_request(self, csr: str, ends: dt.timedelta = DAY) -> str:
        """Signs what a well-behaved CA signs: the key and the names of the request."""
        request = x509.load_pem_x509_csr(csr.encode())
        assert request.is_signature_valid
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return self.sign(request.public_key(), *names, ends=ends)

    def revokes(self, *serials: int) -> bytes:
        """Signs a revocation list."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(self.now - DAY).next_update(self.now + DAY)
        for serial in serials:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.now).build()
            )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def server_context(self, directory: Path, name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (directory / "server.pem").write_bytes(pem + self.sign(key.public_key(), x509.DNSName(name)).encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(directory / "server.pem")
        return context
