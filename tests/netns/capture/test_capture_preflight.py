"""The machine that runs these tests can capture, and the try leaves nothing behind; what is missing is named."""

import subprocess
from pathlib import Path

import pytest

from daemonset.capture import chains, preflight
from daemonset.capture.items import Mode
from daemonset.mounts import mount_bpffs
from ebpf import pins


def mounts() -> str:
    """Everything that is mounted; other tests mount too."""
    return Path("/proc/self/mountinfo").read_text()


def test_this_machine_can_capture(mode: Mode) -> None:
    assert preflight(mode.value) == []
    assert "ambient-preflight" not in mounts()


@pytest.mark.parametrize("mode", [Mode.EBPF])
def test_programs_that_were_not_compiled_are_named(mode: Mode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pins, "OBJECTS", tmp_path)
    assert [line.split(":")[0] for line in preflight(mode.value)] == [
        "no compiled program capture.bpf.o",
        "no compiled program sockets.bpf.o",
    ]


@pytest.mark.parametrize("mode", [Mode.IPTABLES])
def test_programs_that_are_not_installed_are_named_with_their_package(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "backend", lambda: "nft")
    monkeypatch.setenv("PATH", "/nowhere")
    lacks = preflight(mode.value)
    assert "no program iptables-nft-restore: apt-get install iptables" in lacks
    assert "no program nft: apt-get install nftables" in lacks


def test_bpffs_is_mounted_once(tmp_path: Path) -> None:
    place = tmp_path / "bpf" / "ambient"
    try:
        mount_bpffs(place)
        mount_bpffs(place)
        mount_bpffs(place / "node")
        assert mounts().count(str(place)) == 1
    finally:
        subprocess.run(["umount", str(place)], check=False)
