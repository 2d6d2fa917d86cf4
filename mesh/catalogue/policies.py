"""The authorization policies of the mesh: as they are written, converted once, and whom they select."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mesh.catalogue.changes import ObjectKey
from mesh.catalogue.index import Labels, Selection, SelectorIndex
from mesh.catalogue.instances import discard
from mesh.kubernetes import AuthorizationPolicy
from mesh.policy.conditions import Condition
from mesh.policy.conversion import convert_policy
from mesh.policy.model import Authorization, PolicyScope
from mesh.policy.selectors import required_labels
from mesh.settings import MeshSettings

# No namespace is called so.
_ANYWHERE = "*"


@dataclass(slots=True)
class PolicyShelf:
    """The converted policies by key, and their places.

    Args:
        conditions: of every AuthorizationPolicy.
    """

    settings: MeshSettings
    by_key: dict[str, Authorization] = field(default_factory=dict)
    conditions: dict[ObjectKey, tuple[Condition, ...]] = field(default_factory=dict)
    _selections: dict[str, Selection] = field(default_factory=dict)
    _selectors: SelectorIndex[str] = field(default_factory=SelectorIndex)
    _of_mesh: set[str] = field(default_factory=set)
    _of_namespace: dict[str, set[str]] = field(default_factory=dict)

    def put(self, key: ObjectKey, policy: AuthorizationPolicy | None) -> tuple[Selection, ...]:
        """Takes in a policy, or forgets it; returns the selections whose workloads list other policies now."""
        name = f"{key.namespace}/{key.name}"
        before, selected_before = self.by_key.get(name), self._selections.get(name)
        after, selected_after = None, None
        self.conditions.pop(key, None)
        if policy is not None:
            converted = convert_policy(policy, self.settings)
            after, self.conditions[key] = converted.authorization, converted.conditions
            selected_after = self._selection(policy) if after is not None and after.scope is PolicyScope.SELECTOR else None
        if before is not None:
            self._unfile(name, before, selected_before)
        if after is not None:
            self._file(name, after, selected_after)
        return tuple(one for one in (selected_before, selected_after) if one is not None) if selected_before != selected_after else ()

    def selecting(self, namespace: str, labels: Labels) -> Iterator[str]:
        """Yields the keys of the policies that a workload must list, in no order."""
        yield from self._selectors.selecting(namespace, labels)
        yield from self._selectors.selecting(_ANYWHERE, labels)

    def of_mesh(self) -> frozenset[str]:
        return frozenset(self._of_mesh)

    def of_namespace(self, namespace: str) -> frozenset[str]:
        return frozenset(self._of_namespace.get(namespace, ()))

    def _selection(self, policy: AuthorizationPolicy) -> Selection:
        namespace = policy.metadata.namespace
        everywhere = namespace == self.settings.root_namespace
        return Selection(None if everywhere else namespace, required_labels(policy.spec.selector))

    def _file(self, name: str, policy: Authorization, selection: Selection | None) -> None:
        self.by_key[name] = policy
        if selection is not None:
            self._selections[name] = selection
            self._selectors.add(name, selection.namespace or _ANYWHERE, selection.labels)
        elif policy.scope is PolicyScope.MESH:
            self._of_mesh.add(name)
        else:
            self._of_namespace.setdefault(policy.namespace, set()).add(name)

    def _unfile(self, name: str, policy: Authorization, selection: Selection | None) -> None:
        del self.by_key[name]
        if selection is not None:
            del self._selections[name]
            self._selectors.remove(name, selection.namespace or _ANYWHERE, selection.labels)
        elif policy.scope is PolicyScope.MESH:
            self._of_mesh.remove(name)
        else:
            discard(self._of_namespace, policy.namespace, name)
