"""Stands in for what is not under test: an engine that remembers, workloads and services in one line, a loop's next turns."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from mesh.errors import CredentialError
from mesh.model import PortMapping, Service, TunnelProtocol, Workload
from mesh.policy.evaluation import PolicyBook
from mesh.policy.model import Authorization
from ztunnel.config import NodeSettings
from ztunnel.discovery.policies import Policies, PolicyUpdate, PolicyUpsert
from ztunnel.discovery.store import Store, Update, Upsert
from ztunnel.engine.interface import Cause, Counters, Credentials, Decision, EngineState, Flow, LiveFlow, Notice

NODE = NodeSettings("n1", "cluster.local", "Kubernetes", "")


@dataclass
class FakeEngine:
    """Keeps what it was told. It owns the descriptors that it is given, as an engine does."""

    name: str = "fake"
    wake: Callable[[], None] = lambda: None
    pods: dict[int, tuple[int, str]] = field(default_factory=dict)
    removed: list[tuple[int, float]] = field(default_factory=list)
    credentials: dict[str, Credentials] = field(default_factory=dict)
    decisions: dict[Flow, Decision] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    totals: dict[int, Counters] = field(default_factory=dict)
    live: list[LiveFlow] = field(default_factory=list)
    closed: list[tuple[frozenset[LiveFlow], Cause, str]] = field(default_factory=list)
    invalidations: int = 0
    forgotten: set[int] = field(default_factory=set)
    stopped: bool = False
    broken: bool = False
    log: list[str] = field(default_factory=list)

    def add_pod(self, pod: int, netns_fd: int, identity: str) -> None:
        os.close(netns_fd)
        if self.broken:
            raise OSError(98, "address in use")
        self.pods[pod] = (netns_fd, identity)
        self.log.append(f"add {pod}")

    def remove_pod(self, pod: int, drain_timeout_s: float) -> None:
        del self.pods[pod]
        self.removed.append((pod, drain_timeout_s))
        self.log.append(f"remove {pod}")

    def set_credentials(self, identity: str, credentials: Credentials) -> None:
        if self.broken:
            raise CredentialError("key and certificate do not fit together")
        self.credentials[identity] = credentials

    def forget_credentials(self, identity: str) -> None:
        del self.credentials[identity]

    def decide(self, flow: Flow, decision: Decision) -> None:
        self.decisions[flow] = decision

    def invalidate(self) -> None:
        self.invalidations += 1

    def live_flows(self) -> list[LiveFlow]:
        return list(self.live)

    def close_flows(self, flows: frozenset[LiveFlow], cause: Cause, detail: str) -> None:
        self.closed.append((flows, cause, detail))
        self.live = [flow for flow in self.live if flow not in flows]

    def take_notices(self) -> list[Notice]:
        notices, self.notices = self.notices, []
        return notices

    def tell(self, *notices: Notice) -> None:
        if not self.notices:
            self.wake()
        self.notices += notices

    def counters(self) -> list[Counters]:
        return list(self.totals.values())

    def forget_reports(self, reports: frozenset[int]) -> None:
        self.forgotten |= reports
        for report in reports:
            self.totals.pop(report, None)

    def state(self) -> EngineState:
        return EngineState(len(self.pods), 1, 2, 3, 4)

    async def stop(self, drain_timeout_s: float) -> None:
        self.stopped = True


def workload(name: str, *ips: str, node: str = "n2", account: str = "default", mesh: bool = True, **more: object) -> Workload:
    """A workload of the namespace shop; `services` as {"shop/host": {service port: target port}}."""
    services = more.pop("services", {})
    assert isinstance(services, dict)
    ports = {key: tuple(PortMapping(*pair) for pair in mappings.items()) for key, mappings in services.items()}
    return Workload(
        uid=f"Kubernetes//Pod/shop/{name}",
        name=name,
        namespace="shop",
        service_account=account,
        trust_domain="cluster.local",
        addresses=tuple(map(ip_address, ips)),
        node=node,
        tunnel_protocol=TunnelProtocol.HBONE if mesh else TunnelProtocol.NONE,
        canonical_name=name,
        services=ports,
        **more,  # type: ignore[arg-type]
    )


def service(name: str, *ips: str, ports: dict[int, int] | None = None) -> Service:
    mappings = tuple(PortMapping(*pair) for pair in (ports or {80: 8080}).items())
    return Service(name, "shop", f"{name}.shop.svc.cluster.local", tuple(map(ip_address, ips)), mappings)


def name_of(resource: Workload | Service) -> str:
    return resource.uid if isinstance(resource, Workload) else resource.key


def update(*resources: Workload | Service, removed: tuple[str, ...] = (), version: str = "1") -> Update:
    return Update(tuple(Upsert(name_of(resource), version, resource) for resource in resources), removed)


def store_of(*resources: Workload | Service) -> Store:
    store = Store()
    store.apply(update(*resources))
    return store


def policies_told(*policies: Authorization, removed: tuple[str, ...] = (), refused: tuple[str, ...] = ()) -> PolicyUpdate:
    return PolicyUpdate(tuple(PolicyUpsert("1", policy) for policy in policies), removed, dict.fromkeys(refused, "truncated"))


def policies_of(*policies: Authorization) -> Policies:
    """What a node holds whose root namespace is istio-system, and that was told once."""
    held = Policies(PolicyBook("cluster.local", NODE.trust_domain_aliases), NODE.root_namespace)
    held.apply(policies_told(*policies))
    return held


async def eventually(condition: Callable[[], object]) -> None:
    """Lets the loop turn until it is so; the test's own timeout ends what never is."""
    while not condition():
        await asyncio.sleep(0)
