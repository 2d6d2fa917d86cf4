"""The pair of Envoys as running processes, and the credentials that both kinds of pair read."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import envoy
from bench.certificates import Authority
from bench.envoy import CredentialFiles
from bench.process import running, wait_for_listener

IDENTITIES: Mapping[str, str] = {
    "client": "spiffe://bench/ns/default/sa/client",
    "server": "spiffe://bench/ns/default/sa/server",
}
# Loopback ports of the client's Envoy.
HTTP_PORT, BULK_PORT = 7080, 7201
# Not 15008: in the lab ztunnel listens there, and both would share its connections (SO_REUSEPORT).
HBONE_PORT = 16008


@dataclass(frozen=True, slots=True)
class Places:
    """Where the two proxies of a pair run.

    Args:
        client, server: commands that run a command in the namespace of each.
        server_address: where the server's proxy and its applications are reached.
        directory: for configurations and logs.
    """

    client: Sequence[str]
    server: Sequence[str]
    server_address: str
    directory: Path


def write_credentials(directory: Path) -> dict[str, CredentialFiles]:
    """A directory for each role, readable by its owner alone; nobody trusts their root but this measurement."""
    authority, files = Authority(), {}
    for role, identity in IDENTITIES.items():
        pair, place = authority.issue(identity), directory / role
        place.mkdir(mode=0o700)
        files[role] = CredentialFiles(place / "certificate.pem", place / "key.pem", place / "roots.pem")
        files[role].certificate.write_bytes(pair.certificate)
        files[role].private_key.write_bytes(pair.private_key)
        files[role].roots.write_bytes(authority.root)
    return files


@contextlib.contextmanager
def envoys(places: Places, credentials: Mapping[str, CredentialFiles], http_port: int, bulk_port: int) -> Iterator[tuple[int, int]]:
    """Runs the pair; gives the process ids of client and server. HTTP_PORT leads to the server's http_port, BULK_PORT to bulk_port."""
    applications = [f"{places.server_address}:{port}" for port in (http_port, bulk_port)]
    tunnel = f"{places.server_address}:{HBONE_PORT}"
    listeners = dict(zip((HTTP_PORT, BULK_PORT), applications, strict=True))
    outbound = envoy.client(tunnel, listeners, credentials["client"], IDENTITIES["server"])
    inbound = envoy.server(tunnel, applications, credentials["server"], IDENTITIES["client"])
    with (
        _envoy(places, "server", inbound, HBONE_PORT) as server,
        _envoy(places, "client", outbound, HTTP_PORT, BULK_PORT) as client,
    ):
        yield client, server


@contextlib.contextmanager
def _envoy(places: Places, role: str, configuration: dict[str, Any], *ports: int) -> Iterator[int]:
    path, log = places.directory / f"envoy-{role}.yaml", places.directory / f"envoy-{role}.log"
    path.write_text(yaml.safe_dump(configuration))
    enter = places.client if role == "client" else places.server
    # Envoys of one machine share memory by base id; the process id and the role make it unique.
    base_id = os.getpid() * 2 + (role == "server")
    with running([*enter, *envoy.command(Path(sys.executable).with_name("envoy"), path, base_id)], log) as process:
        wait_for_listener(process, log, enter, *ports)
        yield process.pid
