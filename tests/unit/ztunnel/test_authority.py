"""The authority that a peer sends: exactly an address and a port."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import RemoteProtocolError
from mesh.model import SocketAddress
from ztunnel.authority import parse_authority


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":80",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:080",
        "10.0.0.1:65536",
        "10.0.0.1:99999999999999999999",
        "10.0.0.1:+80",
        "10.0.0.1:-1",
        "10.0.0.1: 80",
        " 10.0.0.1:80",
        "10.0.0.1:80 ",
        "10.0.0.1:8_0",
        "10.0.0.1:٨٠",
        "10.0.0.01:80",
        "10.0.1:80",
        "0x0a000001:80",
        "167772161:80",
        "user@10.0.0.1:80",
        "[10.0.0.1]:80",
        "fd00::1:80",
        "[fd00::1]",
        "[fd00::1:80",
        "[fd00::1%eth0]:80",
        "[::ffff:10.0.0.1]:80",
        "[fd00::1]x:80",
        "web.shop.svc.cluster.local:80",
        "10.0.0.1:80\n",
        "10.0.0.1\x00:80",
        "1" * 10_000,
    ],
)
def test_everything_else_is_400(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_authority(text)
    assert caught.value.status == 400
    assert len(caught.value.reason) < 300


addresses = st.builds(
    SocketAddress, st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None), st.integers(1, 65535)
)


@given(addresses)
def test_what_we_print_is_what_we_read(address: SocketAddress) -> None:
    assert parse_authority(str(address)) == address


def test_any_spelling_of_an_ipv6_address_will_do() -> None:
    assert parse_authority("[FD00:0:0::0001]:8080") == SocketAddress(IPv6Address("fd00::1"), 8080)
    assert parse_authority("192.0.2.1:65535") == SocketAddress(IPv4Address("192.0.2.1"), 65535)
