"""Asks the programs of the mesh how they are."""

import http.client
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.layout import Layout
from lab.mesh_programs import AGENT_PORT, READINESS_PORT, ZTUNNEL_ADMIN_PORT
from lab.options import Options
from lab.probing import get, is_ready
from lab.status import DEFAULT_TRUST_DOMAIN, AgentPod, Observed
from lab.supervisor import Program

# Probes are short; this many at once keep a lab of many nodes quick to look at.
_AT_ONCE = 8


def agent_pods(layout: Layout, nodes: Iterable[str]) -> dict[str, AgentPod]:
    """What the agents say of their pods, by uid; an agent that does not answer says nothing."""
    answers = [get(layout.node_netns(node), AGENT_PORT, "/pods") for node in nodes]
    bodies = [answer.body for answer in answers if answer is not None and answer.status == http.client.OK]
    return dict(pair for body in bodies for pair in read_agent_pods(body))


def observe(layout: Layout, nodes: Sequence[str], programs: Sequence[Program], options: Options) -> Observed:
    """Probes everything; what does not answer counts as not ready, and its pods as not captured."""
    if not options.mesh:
        return Observed(mesh=False, programs={}, agent_pods={}, tunnels={})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ready = pool.map(lambda program: is_ready(program.netns, program.readiness_port), programs)
        pods = pool.map(lambda node: agent_pods(layout, [node]), nodes)
        dumps = pool.map(lambda node: get(layout.node_netns(node), ZTUNNEL_ADMIN_PORT, "/config_dump"), nodes)
        programs_ready = {program.name: one for program, one in zip(programs, ready, strict=True)}
        known = {node: read_tunnels(dump.body) if dump is not None else {} for node, dump in zip(nodes, dumps, strict=True)}
        captures = dict(pair for one in pods for pair in one.items())
        domain = options.settings.get("TRUST_DOMAIN", DEFAULT_TRUST_DOMAIN)
        return Observed(
            mesh=True, programs=programs_ready, agent_pods=captures, tunnels=known, policies=_policies(layout), trust_domain=domain,
        )  # fmt: skip


def _policies(layout: Layout) -> tuple[Mapping[str, Any], ...]:
    """What the control plane says of policies; nothing while it does not answer."""
    answer = get(layout.controlplane_netns, READINESS_PORT, "/policies")
    return tuple(json.loads(answer.body)) if answer is not None and answer.status == http.client.OK else ()


def certificate_serials(layout: Layout, node: str) -> dict[str, str]:
    """The serials of the certificates that a node's ztunnel holds, by identity; none when it does not answer."""
    dump = get(layout.node_netns(node), ZTUNNEL_ADMIN_PORT, "/config_dump")
    return read_serials(dump.body) if dump is not None else {}


def read_serials(body: bytes) -> dict[str, str]:
    """Reads the certificates of a ztunnel's /config_dump; identities that wait for one have no serial."""
    return {one["identity"]: one["serial"] for one in json.loads(body)["certificates"] if "serial" in one}


def read_agent_pods(body: bytes) -> Iterable[tuple[str, AgentPod]]:
    """Reads an agent's /pods, as docs/runtime.md has it."""
    for pod in json.loads(body):
        yield pod["uid"], AgentPod(bool(pod["captured"]), str(pod.get("error") or ""))


def read_tunnels(body: bytes) -> dict[str, bool]:
    """Reads of a ztunnel's /config_dump which workloads it reaches by tunnel, by uid; others it would ask for."""
    return {workload["uid"]: workload["protocol"] == "hbone" for workload in json.loads(body)["workloads"]}
