"""A mesh of a few resources for the tests of discovery, changed resource by resource."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE, Source
from controlplane.table import Table
from mesh.model import PortMapping, Service, Workload
from mesh.policy.model import Authorization, PolicyAction, PolicyScope


def workload(name: str, address: int, backs: frozenset[str] = frozenset(), healthy: bool = True) -> Workload:
    ports = {f"ns/{service}": (PortMapping(80, 8080),) for service in sorted(backs)}
    return Workload(name, name, "ns", "default", "td", (IPv4Address(f"10.0.0.{address}"),), "n", healthy=healthy, services=ports)


def service(name: str, address: int, port: int = 80) -> Service:
    return Service(name, "ns", name, (IPv4Address(f"10.0.0.{address}"),), (PortMapping(port, 8080),))


def policy(name: str, dry_run: bool = False) -> Authorization:
    return Authorization(name, "ns", PolicyScope.NAMESPACE, PolicyAction.ALLOW, (), dry_run)


def name_of(source: Source) -> str:
    return source.uid if isinstance(source, Workload) else source.key


def table(*sources: Source) -> Table:
    one = Table()
    one.update({name_of(source): source for source in sources}, 1)
    return one


@dataclass
class SmallMesh:
    """Implements controlplane.stream.Mesh; `scopes` are the policies of each node, as a test sets them."""

    tables: dict[str, Table] = field(default_factory=lambda: {ADDRESS_TYPE: Table(), AUTHORIZATION_TYPE: Table()})
    scopes: dict[str, frozenset[str]] = field(default_factory=dict)
    generation: int = 0

    def put(self, *sources: Source, gone: tuple[str, ...] = (), gone_policies: tuple[str, ...] = ()) -> None:
        """Makes the next generation."""
        self.generation += 1
        policies = {one.key: one for one in sources if isinstance(one, Authorization)}
        addresses = {name_of(one): one for one in sources if not isinstance(one, Authorization)}
        self.tables[AUTHORIZATION_TYPE].update({**policies, **dict.fromkeys(gone_policies)}, self.generation)
        self.tables[ADDRESS_TYPE].update({**addresses, **dict.fromkeys(gone)}, self.generation)

    def table(self, type_url: str) -> Table:
        return self.tables.get(type_url, Table())

    def scope_generation(self, node: str) -> int:
        return self.generation

    def scope(self, node: str) -> frozenset[str]:
        return self.scopes[node]
