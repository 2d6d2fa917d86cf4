"""The settings are those that docs/runtime.md names."""

import re
from pathlib import Path

import pytest

from lab import mesh_programs
from lab.layout import Layout
from lab.supervisor import Program

LAYOUT = Layout()
RUNTIME = (Path(__file__).parents[3] / "docs/runtime.md").read_text()


def section(title: str) -> str:
    return re.split(r"^## ", RUNTIME.split(f"## {title}\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("title", "program"),
    [
        ("ambient-controlplane", mesh_programs.controlplane(LAYOUT, {})),
        ("ambient-agent", mesh_programs.agent(LAYOUT, "node1", "ebpf", {})),
        ("ztunnel", mesh_programs.ztunnel(LAYOUT, "node1", {})),
    ],
)
def test_every_setting_is_documented_and_all_required_ones_are_given(title: str, program: Program):
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", section(title), flags=re.MULTILINE)
    documented = {name: default for names, default in rows for name in re.findall(r"`([A-Z_]+)`", names)}
    assert set(program.env) <= set(documented)
    assert {name for name, default in documented.items() if default == "required"} <= set(program.env)


def test_agent_and_ztunnel_of_a_node_meet_at_one_socket():
    agent, ztunnel = mesh_programs.agent(LAYOUT, "node1", "iptables", {}), mesh_programs.ztunnel(LAYOUT, "node1", {})
    assert agent.env["INPOD_UDS"] == ztunnel.env["INPOD_UDS"] == "/run/ambient-lab/nodes/node1/ztunnel.sock"
    assert agent.netns == ztunnel.netns == "lab-node1"
    assert agent.env["CAPTURE"] == "iptables"


def test_further_settings_reach_every_program():
    assert mesh_programs.ztunnel(LAYOUT, "node1", {"LOG_LEVEL": "debug"}).env["LOG_LEVEL"] == "debug"
