"""The python engine: the engine interface over the parts beside this file."""

import asyncio
import contextlib
import os
import resource
from collections.abc import Callable

from ztunnel.engine.interface import Cause, Counters, Credentials, Decision, Direction, EngineState, Flow, LiveFlow, Notice
from ztunnel.engine.python import sockets
from ztunnel.engine.python.accepting import Acceptor
from ztunnel.engine.python.core import Core, Pod
from ztunnel.engine.python.credentials import make_contexts

# How soon an engine that stops sees that its last peer has closed.
FAREWELL_POLL_S = 0.02


class PythonEngine:
    """Runs on the event loop that runs when it is made. See ztunnel.engine.interface.Engine for the contract."""

    name = "python"

    def __init__(self, wake: Callable[[], None]) -> None:
        _raise_descriptor_limit()
        self._core = Core(asyncio.get_running_loop(), wake)

    def add_pod(self, pod: int, netns_fd: int, identity: str) -> None:
        added = Pod(self._core, pod, netns_fd, identity)
        try:
            for direction in Direction:
                added.listeners[direction] = sockets.listen(netns_fd, direction)
        except OSError:
            for listener in added.listeners.values():
                listener.close()
            os.close(netns_fd)
            raise
        self._core.pods[pod] = added
        for direction in (Direction.OUTBOUND, Direction.INBOUND_PLAINTEXT):
            Acceptor(self._core, added, direction).start()
        self._accept_hbone(added)

    def _accept_hbone(self, pod: Pod) -> None:
        """Peers of a pod without credentials wait in the kernel's queue."""
        if pod.identity in self._core.contexts and not pod.accepting_hbone:
            pod.accepting_hbone = True
            Acceptor(self._core, pod, Direction.INBOUND_HBONE).start()

    def remove_pod(self, pod: int, drain_timeout_s: float) -> None:
        leaving = self._core.pods.pop(pod, None)
        if leaving is None:
            return
        for direction, listener in leaving.listeners.items():
            self._core.reactor.remove_reader(listener.fileno())
            if direction is not Direction.INBOUND_HBONE:
                # A tunnel would be told at once to go away; its peer opens another elsewhere.
                Acceptor(self._core, leaving, direction).take_queued()
            listener.close()
        self._core.drain_pod(leaving, drain_timeout_s)

    def set_credentials(self, identity: str, credentials: Credentials) -> None:
        self._core.set_contexts(identity, make_contexts(credentials, self._core.contexts.get(identity)))
        for pod in self._core.pods.values():
            if pod.identity == identity:
                self._accept_hbone(pod)

    def forget_credentials(self, identity: str) -> None:
        self._core.contexts.pop(identity, None)
        for pod in self._core.pods.values():
            if pod.identity == identity and pod.accepting_hbone:
                pod.accepting_hbone = False
                self._core.reactor.remove_reader(pod.listeners[Direction.INBOUND_HBONE].fileno())

    def decide(self, flow: Flow, decision: Decision) -> None:
        self._core.flows.decide(flow, decision)

    def invalidate(self) -> None:
        self._core.flows.invalidate()

    def live_flows(self) -> list[LiveFlow]:
        return self._core.live_flows()

    def close_flows(self, flows: frozenset[LiveFlow], cause: Cause, detail: str) -> None:
        self._core.close_flows(flows, cause, detail)

    def take_notices(self) -> list[Notice]:
        return self._core.ledger.take_notices()

    def counters(self) -> list[Counters]:
        return self._core.ledger.counters(self._core.relays)

    def forget_reports(self, reports: frozenset[int]) -> None:
        self._core.ledger.forget(reports)

    def state(self) -> EngineState:
        core = self._core
        tunnels = len(core.pool) + sum(len(pod.tunnels) for pod in (*core.pods.values(), *core.leaving))
        return EngineState(len(core.pods), len(core.relays), tunnels, len(core.flows), core.buffered_bytes)

    async def stop(self, drain_timeout_s: float) -> None:
        for pod in list(self._core.pods):
            self.remove_pod(pod, drain_timeout_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_timeout_s):
                if self._core.leaving:
                    await self._core.all_gone.wait()
                while self._core.reactor.farewells:
                    await asyncio.sleep(FAREWELL_POLL_S)
        for leaving in list(self._core.leaving):
            self._core.close_pod(leaving)
        self._core.reactor.close()


def _raise_descriptor_limit() -> None:
    """Each connection takes two descriptors; the default of 1024 would be reached by one busy pod."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
