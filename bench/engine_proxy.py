"""One engine in a process of its own, with decisions that are fixed at start: what the engine costs without the rest of ztunnel.

    python -m bench.engine_proxy --netns NS --identity URI --peer URI --credentials DIR [--tunnel ADDRESS:PORT]

With --tunnel every outbound connection is carried there; every inbound tunnel reaches the authority that it asks for. Prints "ready".
"""

import argparse
import asyncio
import os
import signal
from pathlib import Path

import uvloop

from ztunnel.engine import make_engine
from ztunnel.engine.interface import (
    Action,
    Cause,
    Closed,
    Credentials,
    Decision,
    Direct,
    Direction,
    Endpoint,
    Engine,
    Flow,
    Miss,
    Notice,
    Refused,
    Reject,
    Tunnel,
)

POD = 1


def endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return host, int(port)


class FixedDecisions:
    """Answers the engine's misses without a mesh behind it."""

    def __init__(self, engine_name: str, identity: str, peer: str, tunnel: Endpoint | None) -> None:
        self._identity, self._peer, self._tunnel = identity, peer, tunnel
        self.engine: Engine = make_engine(engine_name, self._wake)

    def _wake(self) -> None:
        asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        for notice in self.engine.take_notices():
            if isinstance(notice, Miss):
                self.engine.decide(notice.flow, Decision((self._action(notice.flow),)))
            elif _is_trouble(notice):
                print(notice, flush=True)

    def _action(self, flow: Flow) -> Action:
        if flow.direction == Direction.OUTBOUND and self._tunnel:
            return Tunnel(self._tunnel, flow.destination, (), self._identity, (self._peer,), report=1)
        if flow.direction == Direction.INBOUND_HBONE:
            return Direct(endpoint(flow.destination), keep_source=False, report=2)
        return Reject(400, Cause.BAD_AUTHORITY, report=3)


def _is_trouble(notice: Notice) -> bool:
    """Load generators leave their last connections with a reset; anything else that ends badly belongs in the log."""
    expected = (Cause.NONE, Cause.CLIENT_RESET, Cause.SERVER_RESET)
    return isinstance(notice, Refused) or (isinstance(notice, Closed) and notice.cause not in expected)


async def serve(arguments: argparse.Namespace) -> None:
    shell = FixedDecisions(arguments.engine, arguments.identity, arguments.peer, arguments.tunnel)
    chain, key, roots = ((arguments.credentials / name).read_bytes() for name in ("certificate.pem", "key.pem", "roots.pem"))
    shell.engine.set_credentials(arguments.identity, Credentials(chain, key, roots))
    shell.engine.add_pod(POD, os.open(f"/run/netns/{arguments.netns}", os.O_RDONLY), arguments.identity)
    print("ready", flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await shell.engine.stop(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="python")
    parser.add_argument("--netns", required=True)
    parser.add_argument("--identity", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--credentials", required=True, type=Path)
    parser.add_argument("--tunnel", type=endpoint)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
