"""Policies in a running mesh: put in force, looked at from pods, and taken out of force again."""

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.netns.mesh.ground import Mesh, Place, Talk, until
from tests.netns.mesh.manifests import APP_PORT, FAR, MESH, NEAR, manifest

SECURITY_API = "security.istio.io/v1"
ROOT_NAMESPACE = "istio-system"
# A try must be over so soon: a refusal takes milliseconds, and a SYN is sent again after a second.
ATTEMPT_S = 3.0


@dataclass(frozen=True, slots=True)
class Way:
    """A connection that may be tried."""

    client: Place
    server: Place
    port: int = APP_PORT
    family: socket.AddressFamily = socket.AF_INET

    def open(self) -> Talk:
        """Raises OSError: it is refused."""
        connection = self.client.open(self.family)
        connection.settimeout(ATTEMPT_S)
        try:
            connection.connect((self.server.address(self.family), self.port))
            talk = Talk(connection)
            talk.ask(b"let in?")
        except OSError:
            connection.close()
            raise
        return talk

    def allowed(self) -> bool:
        try:
            self.open().connection.close()
        except TimeoutError:
            raise
        except OSError:
            return False
        return True


def authorization(name: str, *rules: Mapping[str, Any], action: str = "DENY", namespace: str = MESH, **more: Any) -> dict[str, Any]:
    """An AuthorizationPolicy; `more` are further fields of its spec, and `annotations`."""
    annotations = more.pop("annotations", {})
    body = manifest("AuthorizationPolicy", namespace, name, api=SECURITY_API, spec={"action": action, "rules": list(rules), **more})
    body["metadata"] = {**body["metadata"], "annotations": annotations}  # type: ignore[dict-item]
    return body


def peer_authentication(
    name: str, mode: str, *, namespace: str = MESH, ports: Mapping[int, str] | None = None, **more: Any
) -> dict[str, Any]:
    by_port = {"portLevelMtls": {str(port): {"mode": one} for port, one in ports.items()}} if ports else {}
    return manifest("PeerAuthentication", namespace, name, api=SECURITY_API, spec={"mtls": {"mode": mode}, **by_port, **more})


class Rules:
    """The policies of one test: what is applied is gone afterwards, and everything may be reached again."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._applied: dict[str, dict[str, Any]] = {}

    def apply(self, *bodies: dict[str, Any]) -> None:
        self._applied |= {f"{body['kind']}/{body['metadata']['namespace']}/{body['metadata']['name']}": body for body in bodies}
        self.mesh.lab.apply({"rules.yaml": yaml.safe_dump_all(bodies)})

    def delete(self, *clients: str) -> None:
        """Takes all out of force; returns when the clients of these namespaces are let in everywhere."""
        if self._applied:
            self.mesh.lab.delete({"rules.yaml": yaml.safe_dump_all(self._applied.values())})
            self._applied = {}
        until(lambda: all(way.allowed() for way in self.ways(*clients)), "without policies everything is allowed")

    def ways(self, *clients: str, port: int = APP_PORT, family: socket.AddressFamily = socket.AF_INET) -> list[Way]:
        """From the clients of these namespaces to the servers beside them and away from them."""
        servers = [self.mesh.pod(MESH, name) for name in (NEAR, FAR)]
        return [Way(self.mesh.pod(client, "client"), server, port, family) for client in clients for server in servers]

    def refused(self, *ways: Way) -> None:
        """Waits until none of the ways is open."""
        until(lambda: not any(way.allowed() for way in ways), "they are refused")

    def settled(self, *, refused: list[Way], allowed: list[Way]) -> None:
        """Waits until those are refused; these are allowed all the while after."""
        self.refused(*refused)
        still = [f"{way.client.name} to {way.server.name}:{way.port}" for way in allowed if not way.allowed()]
        assert still == []


def policies_of(mesh: Mesh) -> Iterator[dict[str, Any]]:
    """What the lab's status says of policies."""
    document = mesh.lab.status()
    assert json.loads(json.dumps(document)) == document
    yield from document["policies"]
