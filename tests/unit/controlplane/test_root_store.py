"""The root is made once, kept, and never replaced silently."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.authority import new_root
from controlplane.root_store import load_or_create_root
from mesh.errors import ConfigError

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_the_first_start_makes_a_root_and_later_ones_keep_it(tmp_path: Path) -> None:
    first = load_or_create_root(tmp_path / "new", NOW)
    again = load_or_create_root(tmp_path / "new", NOW + dt.timedelta(days=300))
    assert again.certificate == first.certificate
    assert again.key.private_numbers() == first.key.private_numbers()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert modes == {"root-key.pem": 0o600, "root-cert.pem": 0o644}


def test_the_root_signs_leaves_only() -> None:
    root = new_root(NOW, ec.generate_private_key(ec.SECP256R1())).certificate
    root.verify_directly_issued_by(root)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)


def test_a_crash_between_the_two_files_is_made_good(tmp_path: Path) -> None:
    first = load_or_create_root(tmp_path, NOW)
    (tmp_path / "root-cert.pem").unlink()
    again = load_or_create_root(tmp_path, NOW)
    assert again.key.private_numbers() == first.key.private_numbers()
    assert again.certificate.public_key() == first.certificate.public_key()


def replace_with_other_key(directory: Path) -> None:
    other = directory / "other"
    load_or_create_root(other, NOW)
    (other / "root-key.pem").rename(directory / "root-key.pem")


@pytest.mark.parametrize(
    ("damage", "key", "expected"),
    [
        (lambda directory: (directory / "root-key.pem").unlink(), "root-key.pem", "private key of root-cert.pem"),
        (lambda directory: (directory / "root-key.pem").chmod(0o640), "root-key.pem", "mode 0600"),
        (lambda directory: (directory / "root-key.pem").write_text("?"), "root-key.pem", "PEM private key"),
        (lambda directory: (directory / "root-cert.pem").write_text("?"), "root-cert.pem", "PEM certificate"),
        (replace_with_other_key, "root-cert.pem", "certificate of root-key.pem"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, damage: object, key: str, expected: str) -> None:
    load_or_create_root(tmp_path, NOW)
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(ConfigError) as refused:
        load_or_create_root(tmp_path, NOW)
    assert refused.value.key.endswith(key)
    assert expected in refused.value.expected


def test_a_root_that_has_ended_is_refused(tmp_path: Path) -> None:
    load_or_create_root(tmp_path, NOW)
    with pytest.raises(ConfigError, match="still valid"):
        load_or_create_root(tmp_path, NOW + dt.timedelta(days=3651))
