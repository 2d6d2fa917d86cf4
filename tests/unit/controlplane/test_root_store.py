"""A root is made once, kept, and never replaced silently."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.authority import Issuer, new_root
from controlplane.root_store import create_root, forget_root, load_root
from mesh.errors import ConfigError

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def made(directory: Path, generation: int = 1, now: dt.datetime = NOW) -> Issuer:
    create_root(directory, generation, now)
    return load_root(directory, generation)


def test_the_first_start_makes_a_root_and_later_ones_keep_it(tmp_path: Path) -> None:
    first = made(tmp_path)
    again = made(tmp_path, now=NOW + dt.timedelta(days=300))
    assert again.certificate == first.certificate
    assert again.key.private_numbers() == first.key.private_numbers()
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"root-key.pem": 0o600, "root-cert.pem": 0o644}


def test_generations_stand_beside_each_other_and_are_told_apart_by_name(tmp_path: Path) -> None:
    first, second = made(tmp_path), made(tmp_path, 2)
    assert first.certificate.subject != second.certificate.subject
    forget_root(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"root-key-2.pem", "root-cert-2.pem"}
    assert load_root(tmp_path, 2).certificate == second.certificate
    with pytest.raises(ConfigError, match="private key of a root"):
        load_root(tmp_path, 1)


def test_replicas_that_start_at_once_end_with_one_root(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        roots = list(pool.map(lambda _: made(tmp_path), range(8)))
    assert len({root.certificate for root in roots}) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"root-key.pem", "root-cert.pem"}, "and nothing else is left behind"


def test_the_root_signs_leaves_only() -> None:
    root = new_root(NOW, ec.generate_private_key(ec.SECP256R1()))
    root.verify_directly_issued_by(root)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)


def test_a_crash_between_the_two_files_is_made_good(tmp_path: Path) -> None:
    first = made(tmp_path)
    (tmp_path / "root-cert.pem").unlink()
    again = made(tmp_path)
    assert again.key.private_numbers() == first.key.private_numbers()
    assert again.certificate.public_key() == first.certificate.public_key()


def replace_with_other_key(directory: Path) -> None:
    other = directory / "other"
    other.mkdir()
    made(other)
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
    made(tmp_path)
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(ConfigError) as refused:
        made(tmp_path)
    assert refused.value.key.endswith(key)
    assert expected in refused.value.expected
