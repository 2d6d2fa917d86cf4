"""Which endpoints of a service are preferred, how often each one's turn comes, and which one a client keeps."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from mesh.model import BalancingMode, LoadBalancing, RoutingScope, Workload

# The golden section: steps of this part of a round leave the widest gaps between the turns of one endpoint.
_GOLDEN = (math.sqrt(5) - 1) / 2


def rank(source: Workload | None, workload: Workload, preference: Sequence[RoutingScope]) -> int:
    """Returns how many scopes the two share, from the first on; the first that they do not share ends the count.

    Source: Istio's LoadBalancing.routing_preference, workload.proto.
    """
    for shared, scope in enumerate(preference):
        if source is None or not _share(scope, source, workload):
            return shared
    return len(preference)


def preferred(source: Workload | None, workloads: Sequence[Workload], balancing: LoadBalancing) -> Sequence[Workload]:
    """Returns those of the workloads that a connection may take, in the same order: STRICT perhaps none, FAILOVER always one."""
    if balancing.mode not in {BalancingMode.STRICT, BalancingMode.FAILOVER} or not balancing.preference:
        return workloads
    ranks = [rank(source, workload, balancing.preference) for workload in workloads]
    least = len(balancing.preference) if balancing.mode is BalancingMode.STRICT else max(ranks, default=0)
    return [workload for workload, its in zip(workloads, ranks, strict=True) if its >= least]


def turns(weights: Sequence[int], seed: int, turn: int, limit: int) -> list[int]:
    """Returns a round: indices into `weights`, each as often as its weight says, spread over the round.

    Args:
        weights: positive.
        seed: where this asker's rounds begin, so that not all begin with the same endpoint.
        turn: grows from call to call, so that the next round begins with another endpoint.
        limit: of the round's length. A longer round is sampled evenly: a light endpoint is then in some rounds only.
    """
    bounds = list(accumulate(weights))
    total = bounds[-1]
    length = min(total, limit)
    start = seed + turn * (total // len(weights))
    step = _step(length)
    points = ((start + (place * step % length) * total // length) % total for place in range(length))
    return [bisect_right(bounds, point) for point in points]


def kept(client: str, names: Sequence[str], weights: Sequence[int]) -> int:
    """Returns the index of the endpoint that a client keeps: the same while that endpoint is there, whoever else comes or goes.

    Nothing is remembered, so nothing runs out: an affinity with a timeout is kept at least as long.

    Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", with weights as in the logarithmic method.
    """
    return max(range(len(names)), key=lambda index: (weights[index] / -math.log(_uniform(client, names[index])), names[index]))


def _share(scope: RoutingScope, source: Workload, workload: Workload) -> bool:
    """A place or network without a name is one like any other: where nodes have zones and no regions, all are of one region.

    A node that is not known is nobody's.
    """
    match scope:
        case RoutingScope.REGION:
            return source.locality.region == workload.locality.region
        case RoutingScope.ZONE:
            return source.locality.zone == workload.locality.zone
        case RoutingScope.SUBZONE:
            return source.locality.subzone == workload.locality.subzone
        case RoutingScope.NODE:
            return bool(source.node) and source.node == workload.node and source.cluster == workload.cluster
        case RoutingScope.CLUSTER:
            return source.cluster == workload.cluster
        case RoutingScope.NETWORK:
            return source.network == workload.network


def _step(length: int) -> int:
    """Returns the step near the golden section that visits every place of a round once."""
    step = max(1, round(length * _GOLDEN))
    while math.gcd(step, length) != 1:
        step += 1
    return step


def _uniform(client: str, name: str) -> float:
    """Returns a number between 0 and 1, both excluded, that looks random and is always the same."""
    digest = blake2b(f"{client}\0{name}".encode(), digest_size=6).digest()
    return (int.from_bytes(digest) + 0.5) / 2**48
