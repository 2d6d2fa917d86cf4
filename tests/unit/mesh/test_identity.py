"""SPIFFE identities of service accounts."""

import pytest

from mesh.errors import CredentialError
from mesh.identity import Identity, parse_identity


def test_an_identity_is_read_as_it_is_printed() -> None:
    identity = Identity("cluster.local", "shop", "web")
    assert str(identity) == "spiffe://cluster.local/ns/shop/sa/web"
    assert parse_identity(str(identity)) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "https://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/",
        "spiffe:///ns/shop/sa/web",
        "spiffe://cluster.local/ns//sa/web",
        "spiffe://cluster.local/sa/web/ns/shop",
        "spiffe://cluster.local/ns/shop/sa/web/more",
        "spiffe://cluster.local/ns/shop",
    ],
)
def test_anything_else_is_refused(uri: str) -> None:
    with pytest.raises(CredentialError):
        parse_identity(uri)
