"""What capture consists of in a pod's network namespace: each item is one thing that the kernel holds, as plain data."""

import enum
from dataclasses import dataclass

from mesh.model import IPAddress


class Mode(enum.Enum):
    """How a pod is captured."""

    EBPF = "ebpf"
    IPTABLES = "iptables"


class Phase(enum.Enum):
    """How far capture of a pod is switched on.

    CAPTURE: every new connection goes to ztunnel. DRAIN: none does, and those that ztunnel carries go on.
    """

    CAPTURE = "capture"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Device:
    """A network interface of the pod's namespace and its addresses, loopback addresses aside."""

    name: str
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found in the namespace before planning: its devices, in the kernel's order."""

    devices: tuple[Device, ...]

    @property
    def addresses(self) -> frozenset[IPAddress]:
        return frozenset(ip for device in self.devices for ip in device.addresses)


@dataclass(frozen=True, slots=True)
class Programs:
    """The pod's own instance of the capture programs and maps, pinned.

    Args:
        stale: found so, never planned: pinned in part only, or by another version.
    """

    stale: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("programs",)

    def __str__(self) -> str:
        return "pinned programs, stale" if self.stale else "pinned programs"


@dataclass(frozen=True, slots=True)
class Own:
    """The addresses that the programs take for the pod's."""

    addresses: frozenset[IPAddress]

    @property
    def key(self) -> tuple[str, ...]:
        return ("own",)

    def __str__(self) -> str:
        return f"own addresses {' '.join(sorted(map(str, self.addresses)))}"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel setting of the namespace; `path` is relative to /proc/sys."""

    path: str
    value: int

    @property
    def key(self) -> tuple[str, ...]:
        return ("sysctl", self.path)

    def __str__(self) -> str:
        return f"sysctl {self.path}={self.value}"


@dataclass(frozen=True, slots=True)
class LoopFilter:
    """The TC program on the ingress of lo.

    Args:
        stale: found so, never planned: it is not the pinned program of Programs.
    """

    stale: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("filter",)

    def __str__(self) -> str:
        return "filter on lo, stale" if self.stale else "filter on lo"


@dataclass(frozen=True, slots=True)
class Route:
    """A route that takes every destination for local, so that packets loop back in.

    Args:
        family: 4 or 6.
        source: the address that connections get which choose none; None: the kernel chooses.
        metric: tells the routes of several devices apart.
    """

    family: int
    table: int
    device: str
    source: IPAddress | None
    metric: int

    @property
    def key(self) -> tuple[str, ...]:
        return ("route", str(self.family), str(self.table), self.device)

    def __str__(self) -> str:
        source = f" src {self.source}" if self.source else ""
        return f"IPv{self.family} route local default dev {self.device} table {self.table}{source} metric {self.metric}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy-routing rule: looks up `table`, or goes on at the rule with preference `goto`, or does nothing (a place to go on at).

    Args:
        family: 4 or 6.
        mark: selects by the packet's mark, under MARK_MASK.
        destination: selects one address.
    """

    family: int
    preference: int
    mark: int | None = None
    tcp: bool = False
    destination: IPAddress | None = None
    table: int | None = None
    goto: int | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return ("rule", str(self.family), str(self.preference))

    def __str__(self) -> str:
        parts = [f"IPv{self.family} rule {self.preference}:"]
        parts += [f"mark {self.mark:#x}"] if self.mark is not None else []
        parts += ["tcp"] if self.tcp else []
        parts += [f"to {self.destination}"] if self.destination else []
        parts += [f"lookup {self.table}"] if self.table else [f"goto {self.goto}"] if self.goto else ["nop"]
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Steering:
    """The sk_lookup program, attached to the namespace.

    Args:
        inbound: whether plaintext from the network goes to ztunnel; HBONE always does.
    """

    inbound: bool

    @property
    def key(self) -> tuple[str, ...]:
        return ("steering",)

    def __str__(self) -> str:
        return f"sk_lookup attached, inbound {'captured' if self.inbound else 'let through'}"


@dataclass(frozen=True, slots=True)
class Chains:
    """Our chains of one iptables table, each reached from the built-in chain of the same name without the prefix.

    Args:
        family: 4 or 6.
        table: "nat" or "mangle".
        chains: names, in order.
        rules: as iptables-save prints them, the jumps from built-in chains left out.
    """

    family: int
    table: str
    chains: tuple[str, ...]
    rules: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        return ("chains", str(self.family), self.table)

    def __str__(self) -> str:
        return f"IPv{self.family} iptables {self.table}: {len(self.rules)} rules in {' '.join(self.chains)}"


Item = Programs | Own | Sysctl | LoopFilter | Route | Rule | Steering | Chains


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that capture of one pod puts into its namespace, in the order in which it is put there."""

    mode: Mode
    phase: Phase | None
    items: tuple[Item, ...]
