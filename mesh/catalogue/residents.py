"""Which node runs whom: what a node may have certificates for, and which policies it needs."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from mesh.identity import Identity
from mesh.model import Workload

K = TypeVar("K", bound=Hashable)
_Account = tuple[str, str]


@dataclass(slots=True)
class _Node:
    accounts: Counter[_Account] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Residents:
    """Counts the pods of each node by service account, by namespace and by the policies that they list."""

    trust_domain: str
    nodes: dict[str, _Node] = field(default_factory=dict)

    def add(self, workload: Workload) -> None:
        node = self.nodes.setdefault(workload.node, _Node())
        node.accounts[workload.namespace, workload.service_account] += 1
        node.namespaces[workload.namespace] += 1
        node.policies.update(workload.policies)

    def remove(self, workload: Workload) -> None:
        node = self.nodes[workload.node]
        _decrement(node.accounts, (workload.namespace, workload.service_account))
        _decrement(node.namespaces, workload.namespace)
        for policy in workload.policies:
            _decrement(node.policies, policy)
        if not node.namespaces:
            del self.nodes[workload.node]

    def policies(self, node: str) -> tuple[frozenset[str], frozenset[str]]:
        """Returns the namespaces that have pods on a node, and the policies that its pods list."""
        known = self.nodes.get(node)
        return (frozenset(known.namespaces), frozenset(known.policies)) if known is not None else (frozenset(), frozenset())

    def runs(self, node: str, identity: Identity) -> bool:
        known = self.nodes.get(node)
        own = identity.trust_domain == self.trust_domain
        return known is not None and own and (identity.namespace, identity.service_account) in known.accounts


def _decrement(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
