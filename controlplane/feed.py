"""Hands the newest state of the mesh to whoever follows it."""

import asyncio
from collections.abc import Iterable, Iterator

from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE, Source
from controlplane.table import Table
from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import Delta, ObjectChange
from mesh.catalogue.pods import pod_uid
from mesh.identity import Identity
from mesh.settings import MeshSettings

# Of types that we know nothing of there never is anything.
_NOTHING = Table()


class Feed:
    """The catalogue and what it looks like in xDS. Nothing is `known` until something was published."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self.catalogue = Catalogue(settings)
        self.known = False
        self._tables = {ADDRESS_TYPE: Table(), AUTHORIZATION_TYPE: Table()}
        # By node: the generation in which its pods last changed, and so maybe the policies that it needs.
        self._nodes: dict[str, int] = {}
        self._changed = asyncio.Event()

    def table(self, type_url: str) -> Table:
        return self._tables.get(type_url, _NOTHING)

    def apply_in_steps(self, changes: Iterable[ObjectChange], size: int) -> Iterator[Delta]:
        """Takes over changes, so many workloads a step; others may run in between. It wakes nobody: call `publish` when all is there."""
        for delta in self.catalogue.apply_in_steps(changes, size):
            self._take(delta)
            yield delta

    def _take(self, delta: Delta) -> None:
        addresses, generation = self._tables[ADDRESS_TYPE], self.catalogue.generation
        for uid, workload in delta.workloads.items():
            known = addresses.by_name.get(uid)
            for node in {getattr(known.source, "node", "") if known else "", workload.node if workload else ""}:
                self._nodes[node] = generation
        addresses.update({**delta.workloads, **delta.services}, generation)
        self._tables[AUTHORIZATION_TYPE].update(dict[str, Source | None](delta.policies), generation)

    def publish(self) -> None:
        """Wakes the followers. Those who were slow see the newest state only."""
        self.known = True
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """An event that is set by the next publish; take it before looking at the tables."""
        return self._changed

    def runs(self, node: str, identity: Identity) -> bool:
        """Tells whether a node runs a pod of an identity."""
        return self.catalogue.runs(node, identity)

    def node_of_pod(self, namespace: str, name: str) -> str:
        """Returns the node that a pod runs on; "" while that is not known."""
        found = self.catalogue.workloads.get(pod_uid(self._settings, namespace, name))
        return found.node if found is not None else ""

    def scope_generation(self, node: str) -> int:
        """When the policies that a node needs may last have become others."""
        return max(self._tables[AUTHORIZATION_TYPE].generation, self._nodes.get(node, 0))

    def scope(self, node: str) -> frozenset[str]:
        """Returns the keys of the policies that a node needs."""
        return self.catalogue.policies_of_node(node)
