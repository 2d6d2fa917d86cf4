"""The authority in force: read anew, published, rotated, revoked; what cannot be used changes nothing."""

import datetime as dt
import os
import shutil
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane import given_store
from controlplane.authority import issue_workload
from controlplane.authority_keeper import AuthorityKeeper, source_of
from controlplane.config import AuthoritySettings
from controlplane.files import write_over
from controlplane.revocation import read_lists
from mesh.errors import ConfigError
from mesh.identity import Identity
from tests.unit.controlplane.authorities import DAY, NOW, Maker, authority, p256, secret

NAMES = ("cluster.local", "controlplane.ambient")
SPREAD, LONGEST = dt.timedelta(seconds=10), dt.timedelta(seconds=20)
IDENTITY = Identity("cluster.local", "shop", "web")


class Place:
    """The directories of a control plane, and its clock."""

    def __init__(self, directory: Path, given: bool = False) -> None:
        self.now = NOW
        self.state, self.ca, self.bundle = directory / "state", directory / "ca", directory / "bundle"
        self._given = given
        self._moments = 0

    def keeper(self, bundle: str = "bundle") -> AuthorityKeeper:
        bundle_dir = self.bundle.parent / bundle
        settings = AuthoritySettings(self.ca if self._given else None, LONGEST, SPREAD)
        return AuthorityKeeper(source_of(settings, self.state, NAMES), bundle_dir, lambda: self.now)

    def mount(self, files: dict[str, bytes]) -> None:
        """Puts all files in place at once, as the kubelet does with a Secret."""
        self._moments += 1
        moment = self.ca / f"..{self._moments}"
        moment.mkdir(parents=True)
        for name, content in files.items():
            (moment / name).write_bytes(content)
            if not (self.ca / name).is_symlink():
                (self.ca / name).symlink_to(f"..data/{name}")
        (self.ca / "..next").symlink_to(moment.name)
        (self.ca / "..next").rename(self.ca / "..data")

    def pass_s(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)

    def roots(self) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates((self.bundle / "root-cert.pem").read_bytes())

    def revoked(self) -> list[set[int]]:
        return [{entry.serial_number for entry in one} for one in read_lists((self.bundle / "ca-crl.pem").read_bytes(), "")]

    def put_revoked(self, *serials: int) -> None:
        (self.state / "revoked").write_text("".join(f"{serial:x}\n" for serial in serials))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def mounted(tmp_path: Path) -> Place:
    return Place(tmp_path, given=True)


def signer(keeper: AuthorityKeeper) -> x509.Certificate:
    return keeper.current.issuer.certificate


def leaf(keeper: AuthorityKeeper, now: dt.datetime) -> x509.Certificate:
    return issue_workload(keeper.current.issuer, p256().public_key(), IDENTITY, LONGEST, now)


def test_the_first_start_makes_an_authority_and_publishes_it(place: Place) -> None:
    keeper = place.keeper()
    assert place.roots() == [signer(keeper)]
    assert (place.bundle / "ca-crl.pem").read_bytes() == b""
    assert {path.name for path in place.state.iterdir()} == {"root-key.pem", "root-cert.pem", "rotation-1.json"}
    assert signer(place.keeper()) == signer(keeper), "the next start finds it"
    assert (place.bundle / "root-cert.pem").stat().st_mode & 0o777 == 0o644


def test_a_rotation_by_two_replicas_in_turn(place: Place) -> None:
    first, second = place.keeper("bundle"), place.keeper("bundle")
    old = signer(first)
    (place.state / "rotate-root").touch()
    second.refresh()
    first.refresh()
    assert not (place.state / "rotate-root").exists(), "asked and answered"
    assert len(place.roots()) == 2
    assert signer(first) == signer(second) == old
    place.pass_s(9)
    first.refresh()
    assert signer(first) == old, "not every node has the bundle yet"
    last = leaf(first, place.now)
    place.pass_s(1)
    first.refresh()
    assert signer(first) != old
    assert signer(second) == old, "it has not looked yet"
    second.refresh()
    assert signer(second) == signer(first)
    place.pass_s(29)
    second.refresh()
    assert len(place.roots()) == 2
    assert last.not_valid_after_utc <= place.now
    place.pass_s(1)
    third = place.keeper("bundle")
    third.refresh()
    first.refresh()
    assert place.roots() == [signer(first)] == [signer(third)]
    assert {path.name for path in place.state.iterdir()} == {"root-key-2.pem", "root-cert-2.pem", "rotation-4.json"}


def test_a_request_while_a_rotation_is_under_way_is_part_of_it(place: Place) -> None:
    keeper = place.keeper()
    for _ in range(2):
        (place.state / "rotate-root").touch()
        keeper.refresh()
    assert not (place.state / "rotate-root").exists()
    for _ in range(3):
        place.pass_s(60)
        keeper.refresh()
    assert len(place.roots()) == 1
    keeper.refresh()
    assert [path.name for path in place.state.glob("rotation-*")] == ["rotation-4.json"]


def test_the_root_is_rotated_in_good_time_without_being_asked(place: Place) -> None:
    keeper = place.keeper()
    old = signer(keeper)
    place.now += 2921 * DAY
    for _ in range(3):
        keeper.refresh()
        place.pass_s(60)
    keeper.refresh()
    assert signer(keeper) != old
    assert place.roots() == [signer(keeper)]


def test_a_rotation_waits_for_the_bundle_to_be_where_the_nodes_find_it(place: Place) -> None:
    keeper = place.keeper()
    old = signer(keeper)
    (place.state / "rotate-root").touch()
    (place.bundle / "root-cert.pem").unlink()
    (place.bundle / "root-cert.pem").mkdir()
    for _ in range(3):
        keeper.refresh()
        place.pass_s(60)
    (place.bundle / "root-cert.pem").rmdir()
    for _ in range(2):
        keeper.refresh()
        assert (len(place.roots()), signer(keeper)) == (2, old), "the nodes have it only now"
        place.pass_s(9)
    keeper.refresh()
    assert signer(keeper) != old


def test_a_root_that_has_ended_is_refused(place: Place) -> None:
    place.keeper()
    place.now += 3651 * DAY
    with pytest.raises(ConfigError, match="still valid"):
        place.keeper()


def test_a_rotation_s_root_without_the_rotation_is_refused(place: Place) -> None:
    place.keeper()
    for name in ("root-key", "root-cert"):
        (place.state / f"{name}.pem").rename(place.state / f"{name}-2.pem")
    (place.state / "rotation-1.json").unlink()
    with pytest.raises(ConfigError, match="rotation that made it"):
        place.keeper()


def test_serials_are_revoked_by_every_root_and_set_free_again(place: Place) -> None:
    keeper = place.keeper()
    one = leaf(keeper, place.now)
    place.put_revoked(one.serial_number)
    keeper.refresh()
    assert place.revoked() == [{one.serial_number}]
    (place.state / "rotate-root").touch()
    keeper.refresh()
    assert place.revoked() == [{one.serial_number}] * 2
    written = (place.bundle / "ca-crl.pem").read_bytes()
    place.keeper().refresh()
    assert (place.bundle / "ca-crl.pem").read_bytes() == written, "replicas do not sign over each other"
    place.put_revoked()
    keeper.refresh()
    assert place.revoked() == []


def test_a_list_is_signed_anew_before_it_runs_out(place: Place) -> None:
    place.keeper()
    place.put_revoked(7)
    keeper = place.keeper()
    before = (place.bundle / "ca-crl.pem").read_bytes()
    place.now += 8 * DAY
    keeper.refresh()
    assert place.revoked() == [{7}]
    assert (place.bundle / "ca-crl.pem").read_bytes() != before


@pytest.mark.parametrize("content", [b"not hexadecimal\n", b"\xff\xfe", b"1" * 3_000_000])
def test_serials_that_cannot_be_read_free_nobody(place: Place, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    keeper = place.keeper()
    place.put_revoked(7)
    keeper.refresh()
    (place.state / "revoked").write_bytes(content)
    for _ in range(3):
        keeper.refresh()
    assert place.revoked() == [{7}]
    assert capsys.readouterr().out.count("authority_not_read") == 1, "said once"


ROOT, NEXT = authority("root"), authority("next")
CA, NEXT_CA = authority("ca", ROOT), authority("next ca", NEXT)


def certificates(*makers: Maker) -> list[x509.Certificate]:
    return [maker.certificate for maker in makers]


def test_an_owner_rotates_the_root_step_by_step(mounted: Place) -> None:
    mounted.mount(secret(CA, ROOT))
    keeper = mounted.keeper()
    held = leaf(keeper, mounted.now)
    assert (signer(keeper), mounted.roots()) == (CA.certificate, certificates(ROOT))
    for files, signs, roots in (
        (secret(CA, ROOT, NEXT), CA, (ROOT, NEXT)),
        (secret(NEXT_CA, ROOT, NEXT), NEXT_CA, (ROOT, NEXT)),
        (secret(NEXT_CA, NEXT), NEXT_CA, (NEXT,)),
    ):
        mounted.mount(files)
        keeper.refresh()
        assert (signer(keeper), mounted.roots()) == (signs.certificate, certificates(*roots))
    held.verify_directly_issued_by(CA.certificate)
    assert keeper.current.reply_chain[0].encode() == NEXT_CA.certificate.public_bytes(Encoding.PEM)


def test_bad_new_content_leaves_the_last_good(mounted: Place, capsys: pytest.CaptureFixture[str]) -> None:
    mounted.mount(secret(CA, ROOT))
    keeper = mounted.keeper()
    mounted.mount({**secret(NEXT_CA, NEXT), "root-cert.pem": ROOT.pem})
    for _ in range(3):
        keeper.refresh()
    assert (signer(keeper), mounted.roots()) == (CA.certificate, certificates(ROOT))
    log = capsys.readouterr().out
    assert log.count("authority_not_read") == 1
    assert "ca/ca-cert.pem" in log
    mounted.mount(secret(NEXT_CA, NEXT))
    keeper.refresh()
    assert signer(keeper) == NEXT_CA.certificate


def test_what_becomes_valid_with_time_is_looked_at_again(mounted: Place) -> None:
    mounted.mount(secret(CA, ROOT))
    keeper = mounted.keeper()
    later = authority("later", ROOT, begins=dt.timedelta(seconds=90))
    mounted.mount(secret(later, ROOT))
    keeper.refresh()
    assert signer(keeper) == CA.certificate
    mounted.pass_s(120)
    keeper.refresh()
    assert signer(keeper) == later.certificate


def test_a_start_without_an_authority_is_refused_by_file(mounted: Place) -> None:
    mounted.mount({"ca-cert.pem": CA.pem})
    with pytest.raises(ConfigError) as refused:
        mounted.keeper()
    assert refused.value.key == str(mounted.ca / "ca-key.pem")


def test_an_owner_s_lists_reach_the_nodes_when_they_are_the_authority_s(mounted: Place) -> None:
    mounted.mount(secret(CA, ROOT, lists=CA.revokes(7)))
    keeper = mounted.keeper()
    assert mounted.revoked() == [{7}]
    mounted.mount(secret(CA, ROOT, lists=NEXT_CA.revokes(8)))
    keeper.refresh()
    assert mounted.revoked() == [{7}]


def test_an_issuer_that_ends_soon_is_told_once_a_day(mounted: Place, capsys: pytest.CaptureFixture[str]) -> None:
    mounted.mount(secret(authority("ca", ROOT, ends=29 * DAY), ROOT))
    keeper = mounted.keeper()
    for _ in range(5):
        keeper.refresh()
        mounted.now += DAY / 2
    assert capsys.readouterr().out.count("authority_ends_soon") == 3


@pytest.mark.parametrize("rotated", [False, True])
def test_a_state_directory_that_is_suddenly_empty_makes_no_root(place: Place, rotated: bool, capsys: pytest.CaptureFixture[str]) -> None:
    keeper = place.keeper()
    if rotated:
        (place.state / "rotate-root").touch()
        for _ in range(5):
            keeper.refresh()
            place.pass_s(60)
    roots, signs = place.roots(), signer(keeper)
    # A volume that is not mounted for a while leaves the directory that it is mounted on.
    place.state.rename(place.state.with_name("unmounted"))
    place.state.mkdir()
    for _ in range(3):
        place.pass_s(60)
        keeper.refresh()
    assert list(place.state.iterdir()) == []
    assert (place.roots(), signer(keeper)) == (roots, signs)
    assert capsys.readouterr().out.count("authority_not_read") == 1
    place.state.rmdir()
    place.state.with_name("unmounted").rename(place.state)
    keeper.refresh()
    assert (place.roots(), signer(keeper)) == (roots, signs)


def test_a_revocation_does_not_hold_up_a_rotation(place: Place) -> None:
    keeper = place.keeper()
    old = signer(keeper)
    (place.state / "rotate-root").touch()
    for serial in range(1, 4):
        keeper.refresh()
        place.put_revoked(serial)
        place.pass_s(6)
    keeper.refresh()
    assert signer(keeper) != old


def test_what_a_crash_left_of_a_root_key_is_removed_in_time(place: Place) -> None:
    place.keeper()
    scratch = place.state / ".root-key.pem.a1b2c3d4"
    os.link(place.state / "root-key.pem", scratch)
    others = [place.state / ".root-key.pem.swp", place.state / ".notes.a1b2c3d4"]
    for one in others:
        one.touch()
    write_over(place.bundle / "x.pem", b"", 0o644)
    left = place.bundle / ".ca-crl.pem.a1b2c3d4"
    left.touch()
    place.keeper()
    assert scratch.exists(), "another replica may be about to use it"
    old_s = time.time() - 7200
    for one in (scratch, left, *others):
        os.utime(one, (old_s, old_s))
    place.keeper()
    assert not scratch.exists()
    assert not left.exists()
    assert (place.state / "root-key.pem").exists()
    assert all(one.exists() for one in others)


def test_a_secret_that_is_replaced_while_it_is_read_is_read_again(mounted: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = authority("ca")
    mounted.mount({**secret(issuer), "ca-crl.pem": b""})
    place, swapped = mounted, []
    original = given_store.read_bounded

    def swapping(path: Path, limit: int) -> bytes:
        """The kubelet removes the old moment when the new one is in place."""
        if path.name == "ca-crl.pem" and not swapped:
            swapped.append(path)
            place.mount({**secret(issuer), "ca-crl.pem": b"new"})
            shutil.rmtree(path.parent)
        return original(path, limit)

    monkeypatch.setattr(given_store, "read_bounded", swapping)
    assert given_store.read_files(mounted.ca)["ca-crl.pem"] == b"new"
