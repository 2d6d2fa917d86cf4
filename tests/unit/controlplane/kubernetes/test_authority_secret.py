"""What the Secret of the authority holds through its life, and what cannot be used."""

import datetime as dt
from typing import Any

import pytest

from controlplane.kubernetes.authority_secret import begun, decode_secret, encode_secret, is_empty, read_kept, step
from controlplane.rotation import Pace
from mesh.errors import ConfigError

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SPREAD, LONGEST = dt.timedelta(minutes=10), dt.timedelta(days=1)
PACE = Pace(SPREAD, LONGEST)
LONG_AGO = NOW - dt.timedelta(days=1)


def test_it_begins_with_one_root() -> None:
    contents = begun({"revoked": b"17"}, PACE, NOW)
    assert sorted(contents) == ["revoked", "root-cert.pem", "root-key.pem", "rotation-1.json"]
    kept = read_kept(contents, "s", {})
    assert (kept.state.signing, kept.state.trusted, kept.requested, kept.revoked) == (1, (1,), False, b"17")
    assert step(contents, kept, PACE, LONG_AGO, NOW) is None


def test_a_root_is_replaced_stage_by_stage() -> None:
    contents, now, history = begun({}, PACE, NOW), NOW, list[tuple[list[str], int]]()
    contents["rotate-root"] = b""
    for _ in range(3):
        kept = read_kept(contents, "s", {})
        following = step(contents, kept, PACE, kept.state.since, now)
        assert following is not None
        contents = following
        history.append((sorted(contents), read_kept(contents, "s", {}).state.signing))
        assert step(contents, read_kept(contents, "s", {}), PACE, now, now) is None
        now += SPREAD + LONGEST
    both = ["root-cert-2.pem", "root-cert.pem", "root-key-2.pem", "root-key.pem"]
    assert history == [
        ([*both, "rotation-2.json"], 1),
        ([*both, "rotation-3.json"], 2),
        (["root-cert-2.pem", "root-key-2.pem", "rotation-4.json"], 2),
    ]


def test_a_stage_waits_for_the_bundle_to_be_published() -> None:
    contents = step(
        {**begun({}, PACE, NOW), "rotate-root": b""}, read_kept({**begun({}, PACE, NOW), "rotate-root": b""}, "s", {}), PACE, NOW, NOW
    )
    assert contents is not None
    kept, later = read_kept(contents, "s", {}), NOW + SPREAD
    assert step(contents, kept, PACE, NOW + dt.timedelta(seconds=1), later) is None
    assert step(contents, kept, PACE, NOW, later) is not None


def test_a_request_that_comes_during_a_rotation_is_heard_once() -> None:
    contents = {**begun({}, PACE, NOW), "rotate-root": b""}
    contents = step(contents, read_kept(contents, "s", {}), PACE, NOW, NOW) or {}
    contents["rotate-root"] = b""
    following = step(contents, read_kept(contents, "s", {}), PACE, NOW, NOW)
    assert following is not None
    assert sorted(set(contents) - set(following)) == ["rotate-root"]


def test_roots_are_read_once() -> None:
    contents = begun({}, PACE, NOW)
    kept = read_kept(contents, "s", {})
    assert read_kept(contents, "s", kept.roots).issuer is kept.issuer
    assert read_kept(begun({}, PACE, NOW), "s", kept.roots).issuer is not kept.issuer


@pytest.mark.parametrize(
    ("damage", "key"),
    [
        ({"rotation-1.json": None}, "s"),
        ({"rotation-1.json": b"{}"}, "s/rotation-1.json"),
        ({"root-key.pem": None}, "s/root-key.pem"),
        ({"root-key.pem": b"?"}, "s/root-key.pem"),
        ({"root-cert.pem": None}, "s/root-cert.pem"),
        ({"root-cert.pem": b"?"}, "s/root-cert.pem"),
        ({"root-cert.pem": begun({}, PACE, NOW)["root-cert.pem"]}, "s/root-cert.pem"),
    ],
)
def test_what_cannot_be_used(damage: dict[str, bytes | None], key: str) -> None:
    contents = {name: value for name, value in {**begun({}, PACE, NOW), **damage}.items() if value is not None}
    assert not is_empty(contents)
    with pytest.raises(ConfigError) as refused:
        read_kept(contents, "s", {})
    assert refused.value.key == key
    assert "PRIVATE" not in str(refused.value)


def test_secrets_come_as_base64() -> None:
    contents = {"a": b"\x00\xff", "b": b""}
    assert decode_secret(encode_secret(contents), "s") == contents
    assert decode_secret({"metadata": {}}, "s") == {}


@pytest.mark.parametrize("secret", [{"data": {"a": "?"}}, {"data": {"a": 7}}, {"data": 7}, {"data": {"a": "é"}}])
def test_what_is_no_secret(secret: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        decode_secret(secret, "s")
