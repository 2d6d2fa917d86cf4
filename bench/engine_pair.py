"""Measures an engine alone: a pair of engine processes with fixed decisions, beside no mesh and a pair of Envoys, in two namespaces.

    python -m bench.engine_pair [--rows GLOB] [--repeat 3] [--seconds 3] [--modes none,envoy,ours] [--engine python]

No control plane, no agent, no lab: for work on the byte path. `python -m bench` measures the whole mesh.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import nginx, proxies
from bench.alternate import Mode, measure
from bench.envoy import CredentialFiles
from bench.load import LoadFailed, Target
from bench.process import running, wait_for_listener
from bench.proxies import IDENTITIES, Places
from bench.rows import select
from bench.summary import summarise, table
from bench.two_namespaces import CAPTURED_ADDRESS, SERVER_ADDRESS, two_namespaces

HTTP_PORT, BULK_PORT = 80, 5201
# Where an engine listens (ztunnel.engine.interface.Direction).
OUTBOUND_PORT, HBONE_PORT = 15001, 15008


@dataclass(frozen=True, slots=True)
class Bench:
    """What the parts of one measurement share.

    Args:
        netns: namespaces by role, "client" and "server".
    """

    places: Places
    netns: Mapping[str, str]
    credentials: Mapping[str, CredentialFiles]


@contextlib.contextmanager
def applications(places: Places) -> Iterator[None]:
    """Runs nginx and iperf3 in the server's namespace."""
    configuration = places.directory / "nginx.conf"
    configuration.write_text(nginx.configuration(places.directory, HTTP_PORT))
    web_log, bulk_log = places.directory / "nginx.log", places.directory / "iperf3.log"
    with (
        running([*places.server, "nginx", "-c", str(configuration)], web_log) as web,
        running([*places.server, "iperf3", "-s", "-p", str(BULK_PORT)], bulk_log) as bulk,
    ):
        wait_for_listener(web, web_log, places.server, HTTP_PORT)
        wait_for_listener(bulk, bulk_log, places.server, BULK_PORT)
        yield


@contextlib.contextmanager
def engines(bench: Bench, engine: str) -> Iterator[tuple[int, int]]:
    """A pair of engine processes; gives their process ids. The captured address of the server leads to them."""
    tunnel = f"{CAPTURED_ADDRESS}:{HBONE_PORT}"
    directory, places = bench.places.directory, bench.places
    client_log, server_log = directory / "engine-client.log", directory / "engine-server.log"
    with (
        running(engine_command(bench, engine, "server", "client"), server_log) as server,
        running([*engine_command(bench, engine, "client", "server"), "--tunnel", tunnel], client_log) as client,
    ):
        wait_for_listener(server, server_log, places.server, HBONE_PORT)
        wait_for_listener(client, client_log, places.client, OUTBOUND_PORT)
        yield client.pid, server.pid


def engine_command(bench: Bench, engine: str, role: str, peer: str) -> list[str]:
    credentials = str(bench.credentials[role].roots.parent)
    who = ["--netns", bench.netns[role], "--identity", IDENTITIES[role], "--peer", IDENTITIES[peer]]
    return [sys.executable, "-m", "bench.engine_proxy", "--engine", engine, *who, "--credentials", credentials]


@contextlib.contextmanager
def mode(name: str, bench: Bench, engine: str) -> Iterator[Mode]:
    """Starts what a mode needs, for as long as the block lasts; between its turns it is idle."""
    enter = tuple(bench.places.client)
    if name == "none":
        yield Mode(name, Target(enter, f"{SERVER_ADDRESS}:{HTTP_PORT}", f"{SERVER_ADDRESS}:{BULK_PORT}"), ())
    elif name == "envoy":
        with proxies.envoys(bench.places, bench.credentials, HTTP_PORT, BULK_PORT) as pids:
            yield Mode(name, Target(enter, f"127.0.0.1:{proxies.HTTP_PORT}", f"127.0.0.1:{proxies.BULK_PORT}"), pids)
    else:
        with engines(bench, engine) as pids:
            yield Mode(name, Target(enter, f"{CAPTURED_ADDRESS}:{HTTP_PORT}", f"{CAPTURED_ADDRESS}:{BULK_PORT}"), pids)


@contextlib.contextmanager
def ground() -> Iterator[Bench]:
    """The namespaces, a directory, credentials and the applications."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, two_namespaces() as pair:
        enter_client, enter_server = (("ip", "netns", "exec", netns) for netns in (pair.client, pair.server))
        places = Places(enter_client, enter_server, SERVER_ADDRESS, Path(name))
        with applications(places):
            yield Bench(places, {"client": pair.client, "server": pair.server}, proxies.write_credentials(places.directory))


def last_words(directory: Path) -> Iterator[str]:
    """The end of each log that says anything."""
    for log in sorted(directory.glob("*.log")):
        if text := log.read_text(errors="replace").strip():
            yield f"--- {log.name}\n{text[-1500:]}"


def main() -> None:
    # Being told to end is no reason to leave namespaces and processes behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="*", help="shell pattern of row names")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="length of one load")
    parser.add_argument("--modes", default="none,envoy,ours")
    parser.add_argument("--engine", default="python")
    arguments = parser.parse_args()
    names, loads = arguments.modes.split(","), select(arguments.rows)
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(ground())
        modes = [stack.enter_context(mode(name, bench, arguments.engine)) for name in names]
        try:
            samples = measure(loads, modes, arguments.repeat, arguments.seconds)
        except LoadFailed as error:
            sys.exit("\n".join([str(error), *last_words(bench.places.directory)]))
    print(table(summarise([row for load in loads for row in load.rows], samples), names))


if __name__ == "__main__":
    main()
