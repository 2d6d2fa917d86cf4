"""The programs of the mesh as the lab starts them: their settings are those of docs/runtime.md."""

from collections.abc import Mapping

from lab.addresses import CONTROLPLANE
from lab.layout import Layout
from lab.supervisor import Program, script

# Where the programs listen when nobody tells them otherwise. Source: docs/runtime.md.
XDS_PORT = 15012
READINESS_PORT = 15021
AGENT_PORT = 15022
ZTUNNEL_ADMIN_PORT = 15000
# All nodes read the bundle from one directory, and look at it every second or two: nobody need wait for a new root to get around.
_ROOT_SPREAD_S = "10"


def controlplane(layout: Layout, base: Mapping[str, str]) -> Program:
    """`base` is the environment that every program gets."""
    env = {
        "ROOT_SPREAD_S": _ROOT_SPREAD_S,
        **base,
        "MANIFESTS_DIR": str(layout.manifests),
        "STATE_DIR": str(layout.controlplane),
        "TOKEN_KEY": str(layout.token_public_key),
    }
    log, pid_file = layout.process_log("controlplane"), layout.controlplane / "controlplane.pid"
    return Program("controlplane", layout.controlplane_netns, script("ambient-controlplane"), env, log, pid_file, READINESS_PORT)


def agent(layout: Layout, node: str, capture: str, base: Mapping[str, str]) -> Program:
    env = {
        **base,
        "NODE_NAME": node,
        "MANIFESTS_DIR": str(layout.manifests),
        "POD_NETNS_DIR": str(layout.pod_links(node)),
        "INPOD_UDS": str(layout.node(node) / "ztunnel.sock"),
        "CAPTURE": capture,
        "BPFFS": str(layout.bpffs),
    }
    log, pid_file = layout.process_log("agent", node), layout.node(node) / "agent.pid"
    return Program(f"agent of {node}", layout.node_netns(node), script("ambient-agent"), env, log, pid_file, AGENT_PORT)


def ztunnel(layout: Layout, node: str, base: Mapping[str, str]) -> Program:
    controlplane_address = f"{CONTROLPLANE[0]}:{XDS_PORT}"
    env = {
        **base,
        "NODE_NAME": node,
        "XDS_ADDRESS": controlplane_address,
        "CA_ADDRESS": controlplane_address,
        "ROOT_CERT": str(layout.bundle / "root-cert.pem"),
        "CRL_PATH": str(layout.bundle / "ca-crl.pem"),
        "AUTH_TOKEN": str(layout.node(node) / "token"),
        "INPOD_UDS": str(layout.node(node) / "ztunnel.sock"),
    }
    log, pid_file = layout.process_log("ztunnel", node), layout.node(node) / "ztunnel.pid"
    return Program(f"ztunnel of {node}", layout.node_netns(node), script("ztunnel"), env, log, pid_file, READINESS_PORT)
