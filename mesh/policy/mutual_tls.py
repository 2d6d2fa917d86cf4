"""From PeerAuthentications to what a workload asks of those who connect: mutual TLS, or plaintext as well.

The mode of a workload's own PeerAuthentication wins over its namespace's, that over the mesh's; UNSET is handed down, and at the
top it is PERMISSIVE. A selector selects in its own namespace alone, and the root namespace is no exception. Of several at one level
the oldest counts, and of several of one age the first by name. DISABLE is refused: a pod of the mesh always takes tunnels; it counts
as UNSET. What is not understood is refused too, and counts as STRICT on every port.
Source: Istio's reference of PeerAuthentication.
"""

import enum
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mesh.kubernetes.security import MutualTlsMode, PeerAuthentication
from mesh.policy.conditions import Condition, ConditionType, Problem, Reason, accepted, refused, shown
from mesh.policy.model import Authorization, Match, PolicyAction, PolicyScope, TextMatch, TextMatchKind
from mesh.policy.selectors import find_no_labels, required_labels
from mesh.policy.values import read_port

# Longer names of policies are cut to a digest: a name may end in many log lines.
MAX_PORTS_IN_NAME = 8
# No workload listens on so many ports; and what is made of them must fit into one policy, or nodes would refuse it.
MAX_PORTS = 1024


class Mode(enum.Enum):
    STRICT = "STRICT"  # plaintext is refused
    PERMISSIVE = "PERMISSIVE"


_UNSET, _DISABLE = "UNSET", "DISABLE"
_MODES: Mapping[str, Mode | None] = {Mode.STRICT.value: Mode.STRICT, Mode.PERMISSIVE.value: Mode.PERMISSIVE, _UNSET: None, _DISABLE: None}


@dataclass(frozen=True, slots=True)
class MutualTls:
    """What holds for one workload.

    Args:
        ports: of the workload, those whose mode is not `mode`.
    """

    mode: Mode = Mode.PERMISSIVE
    ports: Mapping[int, Mode] = field(default_factory=dict)


def effective_mode(
    mesh_wide: Iterable[PeerAuthentication], of_namespace: Iterable[PeerAuthentication], selecting: Iterable[PeerAuthentication]
) -> MutualTls:
    """Combines the levels for one workload.

    Args:
        mesh_wide: those of the root namespace without a selector.
        of_namespace: those of the workload's namespace without one; none when that is the root namespace.
        selecting: those of the workload's namespace whose labels it carries.
    """
    mode, ports = Mode.PERMISSIVE, dict[int, Mode]()
    for level in (mesh_wide, of_namespace, selecting):
        if (policy := oldest(level)) is not None:
            mode = _mode(policy) or mode
            ports = {port: own or mode for port, own in _ports(policy).items()}
    return MutualTls(mode, {port: own for port, own in sorted(ports.items()) if own is not mode})


def oldest(policies: Iterable[PeerAuthentication]) -> PeerAuthentication | None:
    """Returns the one that counts at a level; what has no time of creation is younger than all that have one."""
    return min(
        policies, key=lambda one: (not one.metadata.creation_timestamp, one.metadata.creation_timestamp, one.metadata.name), default=None
    )


def strict_policy(mutual_tls: MutualTls, root_namespace: str) -> Authorization | None:
    """Returns the policy that a workload must list, so that plaintext is refused where it is to be; None: nowhere.

    It is named by what it says, so that workloads of one mind share it, and a name never changes its meaning.
    """
    if mutual_tls.mode is Mode.PERMISSIVE and not mutual_tls.ports:
        return None
    plaintext, ports = (TextMatch(TextMatchKind.PRESENCE),), tuple(mutual_tls.ports)
    if mutual_tls.mode is Mode.STRICT:
        name, match = "strict_except", Match(not_principals=plaintext, not_destination_ports=ports)
    else:
        name, match = "strict_on", Match(not_principals=plaintext, destination_ports=ports)
    return Authorization(_name(name, ports), root_namespace, PolicyScope.SELECTOR, PolicyAction.DENY, (((match,),),))


def _name(kind: str, ports: tuple[int, ...]) -> str:
    """Names a policy that nobody wrote; the underscore keeps it apart from all that Kubernetes holds."""
    if not ports:
        return "mutual_tls_strict"
    numbers = "_".join(map(str, ports))
    return f"mutual_tls_{kind}_" + (numbers if len(ports) <= MAX_PORTS_IN_NAME else hashlib.sha256(numbers.encode()).hexdigest()[:32])


def peer_conditions(policy: PeerAuthentication, counting: PeerAuthentication | None = None) -> tuple[Condition, ...]:
    """Returns the status of a PeerAuthentication.

    Args:
        counting: the `oldest` of its level, for one without a selector; those with one may be rivals on single workloads only.
    """
    accepted_or_not, enforced_or_not = _verdict(policy)
    if counting is None or counting.metadata.name == policy.metadata.name:
        return accepted_or_not, enforced_or_not
    message = f"{counting.metadata.namespace}/{counting.metadata.name} is older, and counts alone"
    return accepted_or_not, Condition(ConditionType.ENFORCED_AT_L4, False, Reason.OVERRIDDEN, message)


def _verdict(policy: PeerAuthentication) -> tuple[Condition, Condition]:
    if problems := tuple(_misunderstood(policy)):
        return refused(problems, "until it is repaired, it counts as STRICT on every port")
    if disabled := tuple(_disabled(policy)):
        return refused(disabled, "it counts as UNSET there; the rest is enforced")
    return accepted(), Condition(ConditionType.ENFORCED_AT_L4, True, Reason.ENFORCED, "as it is written")


def _mode(policy: PeerAuthentication) -> Mode | None:
    return Mode.STRICT if any(_misunderstood(policy)) else _MODES[policy.spec.mtls.mode]


def _ports(policy: PeerAuthentication) -> dict[int, Mode | None]:
    if any(_misunderstood(policy)):
        return {}
    return {read_port(port): _MODES[one.mode] for port, one in policy.spec.port_level_mtls.items()}


def _modes(policy: PeerAuthentication) -> Iterator[tuple[str, MutualTlsMode]]:
    yield "spec.mtls.mode", policy.spec.mtls
    for port, one in policy.spec.port_level_mtls.items():
        yield f"spec.portLevelMtls.{port}.mode", one


def _disabled(policy: PeerAuthentication) -> Iterator[Problem]:
    for path, one in _modes(policy):
        if one.mode == _DISABLE:
            yield Problem(
                path, Reason.UNSUPPORTED_VALUE, "DISABLE is not supported: a pod of the mesh takes mutual TLS from all who offer it"
            )


def _misunderstood(policy: PeerAuthentication) -> Iterator[Problem]:
    spec = policy.spec
    for path in spec.unknown_fields("spec"):
        yield Problem(path, Reason.UNKNOWN_FIELD, "no such field")
    yield from find_no_labels(spec.selector)
    for path, one in _modes(policy):
        if one.mode not in _MODES:
            yield Problem(path, Reason.INVALID_VALUE, f"{shown(one.mode)!r} is none of {', '.join(_MODES)}")
    for port in spec.port_level_mtls:
        try:
            read_port(port)
        except ValueError as expected:
            yield Problem(f"spec.portLevelMtls.{port}", Reason.INVALID_VALUE, f"{shown(port)!r} is not {expected}")
    if len(spec.port_level_mtls) > MAX_PORTS:
        yield Problem("spec.portLevelMtls", Reason.TOO_LARGE, f"more than {MAX_PORTS} ports")
    if spec.port_level_mtls and not required_labels(spec.selector):
        yield Problem("spec.portLevelMtls", Reason.CONTRADICTION, "needs a selector with labels")
