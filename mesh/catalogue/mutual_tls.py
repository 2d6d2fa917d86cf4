"""PeerAuthentications: what they mean for each workload, and the policies that nobody wrote which that takes."""

from collections import Counter
from dataclasses import dataclass, field

from mesh.catalogue.changes import ObjectKey
from mesh.catalogue.index import Labels, Selection, SelectorIndex
from mesh.kubernetes import PeerAuthentication
from mesh.policy.conditions import Condition
from mesh.policy.model import Authorization
from mesh.policy.mutual_tls import effective_mode, oldest, peer_conditions, strict_policy
from mesh.policy.selectors import required_labels
from mesh.settings import MeshSettings

_Selecting = tuple[ObjectKey, ...]


@dataclass(slots=True)
class MutualTlsShelf:
    """The PeerAuthentications by key.

    Args:
        conditions: of each.
    """

    settings: MeshSettings
    by_key: dict[ObjectKey, PeerAuthentication] = field(default_factory=dict)
    conditions: dict[ObjectKey, tuple[Condition, ...]] = field(default_factory=dict)
    # Those without labels, by namespace; the root namespace's are the mesh's.
    _general: dict[str, set[ObjectKey]] = field(default_factory=dict)
    _selectors: SelectorIndex[ObjectKey] = field(default_factory=SelectorIndex)
    _unranked: set[str] = field(default_factory=set)
    # The answers since the last change: there are about as many as there are namespaces.
    _answers: dict[tuple[str, _Selecting], Authorization | None] = field(default_factory=dict)

    def put(self, key: ObjectKey, policy: PeerAuthentication | None) -> tuple[Selection, ...]:
        """Takes in a PeerAuthentication, or forgets it; returns for whom it may have changed something."""
        self._answers.clear()
        before = self.by_key.pop(key, None)
        self.conditions.pop(key, None)
        if before is not None:
            self._unfile(key, before)
        if policy is not None:
            self.by_key[key] = policy
            self._file(key, policy)
            self.conditions[key] = peer_conditions(policy)
        self._unranked.add(key.namespace)
        return tuple(self._selection(key, one) for one in (before, policy) if one is not None)

    def rank(self) -> None:
        """Says in the status of those without labels which of them counts; once for a batch, for it looks at all of a namespace."""
        for namespace in self._unranked:
            rivals = {key: self.by_key[key] for key in self._general.get(namespace, ())}
            counting = oldest(rivals.values())
            self.conditions.update({key: peer_conditions(policy, counting) for key, policy in rivals.items()})
        self._unranked.clear()

    def policy_for(self, namespace: str, labels: Labels) -> Authorization | None:
        """Returns the policy by which a workload refuses plaintext where it is to."""
        question = (namespace, tuple(sorted(self._selectors.selecting(namespace, labels))))
        if question not in self._answers:
            self._answers[question] = self._answer(*question)
        return self._answers[question]

    def _answer(self, namespace: str, selecting: _Selecting) -> Authorization | None:
        root = self.settings.root_namespace
        of_mesh = [self.by_key[key] for key in self._general.get(root, ())]
        of_namespace = [self.by_key[key] for key in self._general.get(namespace, ())] if namespace != root else []
        return strict_policy(effective_mode(of_mesh, of_namespace, [self.by_key[key] for key in selecting]), root)

    def _selection(self, key: ObjectKey, policy: PeerAuthentication) -> Selection:
        labels = required_labels(policy.spec.selector)
        return Selection(None if not labels and key.namespace == self.settings.root_namespace else key.namespace, labels)

    def _file(self, key: ObjectKey, policy: PeerAuthentication) -> None:
        labels = required_labels(policy.spec.selector)
        if labels:
            self._selectors.add(key, key.namespace, labels)
        else:
            self._general.setdefault(key.namespace, set()).add(key)

    def _unfile(self, key: ObjectKey, policy: PeerAuthentication) -> None:
        labels = required_labels(policy.spec.selector)
        if labels:
            self._selectors.remove(key, key.namespace, labels)
        else:
            self._general[key.namespace].remove(key)
            if not self._general[key.namespace]:
                del self._general[key.namespace]


@dataclass(slots=True)
class Listings:
    """How many workloads list each policy that nobody wrote: it exists while one does."""

    policies: dict[str, Authorization] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, policy: Authorization) -> None:
        self.policies[policy.key] = policy
        self._counts[policy.key] += 1

    def remove(self, key: str) -> None:
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key], self.policies[key]
