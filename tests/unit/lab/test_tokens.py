import datetime
import stat
from pathlib import Path

import jwt
import pytest

from lab.tokens import LIFETIME, make_token_key, mint_token, write_private

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def test_a_token_says_which_node_it_is_for(tmp_path: Path):
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    make_token_key(private, public)
    token = mint_token(private.read_bytes(), "node1", NOW)
    claims = jwt.decode(token, public.read_bytes(), algorithms=["ES256"], audience="istio-ca", issuer="ambient-lab")
    assert claims["sub"] == "system:serviceaccount:istio-system:ztunnel"
    assert claims["kubernetes.io"] == {"node": {"name": "node1"}}
    assert claims["exp"] - NOW.timestamp() == LIFETIME.total_seconds()


def test_a_token_ends(tmp_path: Path):
    make_token_key(tmp_path / "key.pem", tmp_path / "key.pub.pem")
    token = mint_token((tmp_path / "key.pem").read_bytes(), "node1", NOW - LIFETIME - datetime.timedelta(seconds=1))
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(token, (tmp_path / "key.pub.pem").read_bytes(), algorithms=["ES256"], audience="istio-ca")


def test_secrets_are_roots_alone_and_are_replaced_as_a_whole(tmp_path: Path):
    path = tmp_path / "token"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["token"]
