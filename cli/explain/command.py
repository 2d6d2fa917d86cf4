"""The command: reads a lab's manifests, and asks mesh.explain."""

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

import click

from cli.explain.destination import addresses_of_name, only_port, parse_destination, parse_hosts
from cli.explain.display import document, lines
from cli.manifests import catalogue_of, mesh_settings, read_lab
from lab import api
from lab.layout import Layout, layout_of
from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.pods import pod_uid
from mesh.errors import ConfigError, MeshError
from mesh.explain import Explainer
from mesh.kubernetes import Pod
from mesh.manifests import Manifests
from mesh.model import IPAddress, SocketAddress, Workload
from mesh.settings import MeshSettings
from ztunnel.hostnames import usable_addresses

# 1 means that the connection is refused.
_EXIT_REFUSED, _EXIT_UNKNOWN = 1, 2


class _Senseless(click.ClickException):
    """The question cannot be answered."""

    exit_code = _EXIT_UNKNOWN


# The resolver of a node gives up after two attempts of 5 s.
_LOOKUP_TIMEOUT_S = 11.0


@click.command()
@click.argument("source", metavar="POD")
@click.argument("destination", metavar="DESTINATION[:PORT]")
@click.option("-n", "--namespace", default="default", show_default=True, help="The namespace of POD.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def explain(source: str, destination: str, namespace: str, as_json: bool) -> None:
    """Say what the mesh does with a connection from POD to DESTINATION, and why.

    DESTINATION is a service, a pod or a host as POD would name it, "namespace/name", or an address; the port may be left out where
    there is only one. For each endpoint that may be chosen: how it is reached, under which identity, and what each policy says.

    Answers for the lab's manifests as they are now, by the functions that decide in ztunnel; nothing is sent.
    Exit status: 0 allowed, 1 refused by at least one endpoint or leading nowhere, 2 the question makes no sense.
    """
    try:
        allowed = _explain(source if "/" in source else f"{namespace}/{source}", destination, as_json)
    except MeshError as error:
        raise _Senseless(str(error)) from error
    raise click.exceptions.Exit(0 if allowed else _EXIT_REFUSED)


def _explain(source: str, destination: str, as_json: bool) -> bool:
    layout = layout_of(os.environ)
    handle = api.Lab(layout)
    status = handle.status()
    manifests, settings = read_lab(layout), mesh_settings(status["settings"])
    catalogue = catalogue_of(manifests, settings)
    client = _workload(catalogue, settings, source)
    explainer = Explainer(catalogue, settings)
    targets = _targets(layout, client, destination, explainer, manifests)
    explained = [explainer.explain(client, target, lambda name: _look_up(handle, client.node, name)) for target in targets]
    if as_json:
        click.echo(json.dumps(document(client, destination, explained), indent=2))
    else:
        for line in (*lines(client, destination, explained, catalogue.conditions), *_provisos(status)):
            click.echo(line)
    return all(one.allowed for one in explained)


def _workload(catalogue: Catalogue, settings: MeshSettings, name: str) -> Workload:
    namespace, _, short = name.partition("/")
    found = catalogue.workloads.get(pod_uid(settings, namespace, short))
    if found is None:
        prefix = pod_uid(settings, "", "").rstrip("/") + "/"
        known = ", ".join(sorted(uid.removeprefix(prefix) for uid in catalogue.workloads if uid.startswith(prefix)))
        raise ConfigError("POD", name, f"one of {known}" if known else "a pod that runs: there is none")
    return found


def _targets(layout: Layout, client: Workload, destination: str, explainer: Explainer, manifests: Manifests) -> list[SocketAddress]:
    name, port = parse_destination(destination)
    found = addresses_of_name(name, parse_hosts(layout.hosts(client.namespace).read_text()))
    if not port:
        owner = explainer.owner(SocketAddress(found[0], port))
        port = only_port(name, owner, _declared_ports(manifests, found[0]))
    return [SocketAddress(ip, port) for ip in found]


def _declared_ports(manifests: Manifests, ip: IPAddress) -> list[int]:
    pods: list[Pod] = [pod for pod in manifests.pods.values() if ip in pod.addresses]
    return [port.container_port for pod in pods for one in pod.spec.containers for port in one.ports if port.protocol == "TCP"]


def _look_up(handle: api.Lab, node: str, hostname: str) -> tuple[IPAddress, ...]:
    """Asks the node's resolver, as its ztunnel does; no answer is no address."""
    command = handle.node_command(node, ["getent", "ahosts", hostname])
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LOOKUP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return ()
    return usable_addresses(line.split()[0] for line in done.stdout.splitlines())


def _provisos(status: Mapping[str, Any]) -> list[str]:
    """What keeps the lab from being as its manifests say."""
    stopped = [f"{name}: stopped" for name in status["stopped"]]
    pending = [f"{one['kind']} {one['name']}: {one['reason']}" for one in status["pending"]]
    return ["", "not so yet, because:", *(f"  {text}" for text in (*stopped, *pending))] if stopped or pending else []
