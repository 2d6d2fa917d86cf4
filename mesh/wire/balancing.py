"""Between LoadBalancing and its wire form; session affinity, which only our nodes know, is an extension beside it."""

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from mesh.errors import ConfigError
from mesh.model import BalancingMode, LoadBalancing, RoutingScope
from mesh.wire import workload_pb2 as pb
from mesh.wire.checks import check_size

SESSION_AFFINITY = "ambient.io/session-affinity"
# A day: what Kubernetes takes at most.
MAX_AFFINITY_S = 86_400
# Of a service; we know one.
MAX_EXTENSIONS = 64

_SCOPES = {scope.value: scope for scope in RoutingScope}
_MODES = {mode.value: mode for mode in BalancingMode}
_UNREADY_TOO = {pb.LoadBalancing.ONLY_HEALTHY: False, pb.LoadBalancing.ALLOW_ALL: True}


def load_balancing_to_wire(balancing: LoadBalancing) -> pb.LoadBalancing | None:
    """Returns None where all endpoints are alike: no field says that."""
    if not balancing.preference and balancing.mode is BalancingMode.UNSPECIFIED and not balancing.unready_too:
        return None
    wire = pb.LoadBalancing(health_policy=pb.LoadBalancing.ALLOW_ALL if balancing.unready_too else pb.LoadBalancing.ONLY_HEALTHY)
    wire.mode = pb.LoadBalancing.Mode.ValueType(balancing.mode.value)
    wire.routing_preference.extend(pb.LoadBalancing.Scope.ValueType(scope.value) for scope in balancing.preference)
    return wire


def extensions_to_wire(balancing: LoadBalancing) -> list[pb.Extension]:
    if not balancing.affinity_s:
        return []
    config = Any()
    config.Pack(pb.SessionAffinity(timeout_seconds=balancing.affinity_s))
    return [pb.Extension(name=SESSION_AFFINITY, config=config)]


def load_balancing_from_wire(key: str, service: pb.Service) -> LoadBalancing:
    """Reads the preferences of a service, its session affinity among them; extensions that we do not know are passed over.

    Raises:
        ConfigError: a value is none that we know; to guess would send connections where they must not go.
    """
    wire = service.load_balancing
    field = key + "load_balancing."
    check_size(field + "routing_preference", len(wire.routing_preference), len(RoutingScope))
    for scope in wire.routing_preference:
        if scope not in _SCOPES:
            raise ConfigError(field + "routing_preference", scope, "REGION, ZONE, SUBZONE, NODE, CLUSTER or NETWORK")
    if wire.mode not in _MODES:
        raise ConfigError(field + "mode", wire.mode, "UNSPECIFIED_MODE, STRICT, FAILOVER or PASSTHROUGH")
    if wire.health_policy not in _UNREADY_TOO:
        raise ConfigError(field + "health_policy", wire.health_policy, "ONLY_HEALTHY or ALLOW_ALL")
    return LoadBalancing(
        tuple(_SCOPES[scope] for scope in wire.routing_preference),
        _MODES[wire.mode],
        _UNREADY_TOO[wire.health_policy],
        _affinity_s(key + "extensions", service),
    )


def _affinity_s(key: str, service: pb.Service) -> int:
    check_size(key, len(service.extensions), MAX_EXTENSIONS)
    found = [extension for extension in service.extensions if extension.name == SESSION_AFFINITY]
    if not found:
        return 0
    affinity = pb.SessionAffinity()
    try:
        known = found[-1].config.Unpack(affinity)
    except DecodeError:
        known = False
    if not known or affinity.timeout_seconds > MAX_AFFINITY_S:
        raise ConfigError(key, SESSION_AFFINITY, f"a SessionAffinity of at most {MAX_AFFINITY_S} s")
    return affinity.timeout_seconds
