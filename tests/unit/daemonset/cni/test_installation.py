"""The plugin on a node's disk: put there, kept there, and taken away without a trace."""

import asyncio
import json
from pathlib import Path

import pytest

from daemonset.cni.conflist import PLUGIN
from daemonset.cni.installation import Installation

ENTRY = {"socket": "/run/ambient/cni.sock"}
CHAIN = '{"cniVersion": "1.0.0", "name": "pods",\n  "plugins": [{"type": "bridge"}]}\n'


class Node:
    """Args:
    root: of the node's directories.
    """

    def __init__(self, root: Path) -> None:
        self.program, self.bin, self.conf = root / "image/ambient-cni", root / "bin", root / "net.d"
        self.program.parent.mkdir()
        self.program.write_bytes(b"a program")
        self.conf.mkdir()
        self.installation = Installation(self.program, self.bin, self.conf, ENTRY)

    def look(self) -> str:
        """One round of the agent's; returns what is wrong."""

        async def once() -> None:
            keeping = asyncio.create_task(self.installation.keep(lambda: True))
            before = self.installation.trouble
            while self.installation.trouble == before == "not installed yet":
                await asyncio.sleep(0)
            keeping.cancel()

        self.installation.trouble = "not installed yet"
        asyncio.run(once())
        return self.installation.trouble

    def plugins(self, name: str = "10-pods.conflist") -> list[str]:
        return [one["type"] for one in json.loads((self.conf / name).read_text())["plugins"]]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.conf.iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_program_and_entry_are_put_in_place_and_taken_away(node: Node) -> None:
    (node.conf / "10-pods.conflist").write_text(CHAIN)
    assert node.look() == ""
    assert node.plugins() == ["bridge", PLUGIN]
    assert (node.bin / PLUGIN).read_bytes() == b"a program"
    assert (node.bin / PLUGIN).stat().st_mode & 0o777 == 0o755
    node.installation.remove()
    assert json.loads((node.conf / "10-pods.conflist").read_text()) == json.loads(CHAIN)
    assert (node.files(), list(node.bin.iterdir())) == (["10-pods.conflist"], [])


def test_what_others_change_is_repaired_and_their_change_stays(node: Node) -> None:
    (node.conf / "10-pods.conflist").write_text(CHAIN)
    node.look()
    (node.conf / "10-pods.conflist").write_text(CHAIN.replace("bridge", "ptp"))
    (node.bin / PLUGIN).write_bytes(b"another program")
    assert node.look() == ""
    assert node.plugins() == ["ptp", PLUGIN]
    assert (node.bin / PLUGIN).read_bytes() == b"a program"


def test_a_single_configuration_comes_back_as_it_was(node: Node) -> None:
    single = '{"name": "pods", "type": "bridge"}'
    (node.conf / "10-pods.conf").write_text(single)
    assert node.look() == ""
    assert node.plugins() == ["bridge", PLUGIN]
    assert "10-pods.conf" not in node.files()
    node.installation.remove()
    assert node.files() == ["10-pods.conf"]
    assert (node.conf / "10-pods.conf").read_text() == single


def test_without_a_network_there_is_nothing_to_chain_to(node: Node) -> None:
    assert "no network configuration" in node.look()


def test_a_configuration_that_is_broken_stays_as_it_is(node: Node) -> None:
    (node.conf / "10-pods.conflist").write_text("{ broken")
    assert "no JSON" in node.look()
    assert (node.conf / "10-pods.conflist").read_text() == "{ broken"


def test_a_disk_that_is_full_leaves_the_former(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    (node.conf / "10-pods.conflist").write_text(CHAIN)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "net.d")

    monkeypatch.setattr("os.fsync", full)
    assert "No space left" in node.look()
    assert (node.conf / "10-pods.conflist").read_text() == CHAIN
    assert node.files() == ["10-pods.conflist"]


def test_a_disk_that_is_full_leaves_a_single_configuration_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    (node.conf / "10-pods.conf").write_text('{"name": "pods", "type": "bridge"}')

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "net.d")

    (node.bin).mkdir()
    (node.bin / PLUGIN).write_bytes(b"a program")
    monkeypatch.setattr("os.fsync", full)
    assert "No space left" in node.look()
    assert node.files() == ["10-pods.conf"]


def test_a_configuration_in_no_known_encoding_is_trouble_and_no_crash(node: Node) -> None:
    (node.conf / "10-pods.conflist").write_bytes(b"\xff\xfe{")
    assert "10-pods.conflist" in node.look()
    node.installation.remove()
    assert (node.conf / "10-pods.conflist").read_bytes() == b"\xff\xfe{"


def test_nothing_that_is_not_there_is_no_trouble_to_remove(node: Node) -> None:
    node.installation.remove()
