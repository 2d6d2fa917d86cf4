import pytest

from lab.layout import Layout, layout_of
from mesh.errors import ConfigError


def test_the_default_lab_has_the_names_of_the_documentation():
    layout = layout_of({})
    assert str(layout.root) == "/run/ambient-lab"
    assert layout.node_netns("node1") == "lab-node1"
    assert layout.pod_netns("default", "web-1") == "lab-default-web-1"
    assert str(layout.pod_log("default", "web-1")) == "/run/ambient-lab/logs/pods/default/web-1.log"
    assert str(layout.process_log("ztunnel", "node1")) == "/run/ambient-lab/logs/node1/ztunnel.log"


def test_another_lab_shares_nothing():
    one, other = layout_of({"AMBIENT_LAB": "one"}), Layout("other")
    assert one.root != other.root
    assert one.bridge_netns == "one-net"


@pytest.mark.parametrize("name", ["a-b", "A", "1a", "a/b", "..", "a" * 21, "a\n"])
def test_a_name_that_could_be_taken_for_another_is_refused(name: str):
    with pytest.raises(ConfigError, match="AMBIENT_LAB"):
        layout_of({"AMBIENT_LAB": name})


def test_the_longest_name_leaves_room_for_the_sockets():
    assert len(str(Layout("a" * 20).node("node100") / "ztunnel.sock")) <= 107
