"""The addresses of a pod, asked of real network namespaces."""

import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from ztunnel.own_addresses import own_addresses


@pytest.fixture
def netns() -> Iterator[str]:
    name = f"own{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=False)


def ip(netns: str, *arguments: str) -> None:
    subprocess.run(["ip", "-n", netns, *arguments], check=True)


def look(netns: str) -> set[str]:
    descriptor = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    try:
        return set(map(str, own_addresses(descriptor)))
    finally:
        os.close(descriptor)


def test_a_namespace_that_leads_nowhere_has_none(netns: str) -> None:
    assert look(netns) == set()


def test_of_each_family_the_one_that_connections_to_elsewhere_come_from(netns: str) -> None:
    ip(netns, "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    for device in ("eth0", "other"):
        ip(netns, "link", "set", device, "up")
    for address in ("10.1.0.2/24", "10.2.0.2/24"):
        ip(netns, "address", "add", address, "dev", "eth0")
    ip(netns, "address", "add", "fd00:1::2/64", "dev", "eth0", "nodad")
    ip(netns, "route", "add", "default", "via", "10.2.0.1")
    ip(netns, "-6", "route", "add", "default", "via", "fd00:1::1")
    assert look(netns) == {"10.2.0.2", "fd00:1::2"}


def test_what_is_no_namespace_is_refused(tmp_path) -> None:
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(OSError):
            own_addresses(descriptor)
    finally:
        os.close(descriptor)
