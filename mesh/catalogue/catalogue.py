"""The books of the mesh: objects go in change by change, and what they mean for workloads, services and policies comes out."""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

from mesh.catalogue.books import Books, Touched
from mesh.catalogue.changes import Delta, ObjectChange, ObjectKey
from mesh.catalogue.intake import Intake
from mesh.catalogue.mutual_tls import Listings
from mesh.catalogue.pods import pod_uid
from mesh.catalogue.rendering import mutual_tls_of, render
from mesh.catalogue.residents import Residents
from mesh.identity import Identity
from mesh.model import Service, Workload
from mesh.policy.conditions import Condition
from mesh.policy.model import Authorization
from mesh.settings import MeshSettings

T = TypeVar("T", Service, Authorization)


class Catalogue:
    """Mutable books without I/O, used from one thread.

    workloads (by uid), services ("namespace/hostname"), policies ("namespace/name") and conditions (of policies, PeerAuthentications
    and ServiceEntries) are live views. generation grows by one with every apply whose Delta is not empty.
    """

    def __init__(self, settings: MeshSettings) -> None:
        self.generation = 0
        self._workloads: dict[str, Workload] = {}
        self._services: dict[str, Service] = {}
        self._policies: dict[str, Authorization] = {}
        self.workloads: Mapping[str, Workload] = MappingProxyType(self._workloads)
        self.services: Mapping[str, Service] = MappingProxyType(self._services)
        self.policies: Mapping[str, Authorization] = MappingProxyType(self._policies)
        self._books = Books(settings)
        self._intake = Intake(self._books)
        self._residents = Residents(settings.trust_domain)
        self._listings = Listings()
        self._pod_prefix = pod_uid(settings, "", "").rstrip("/") + "/"
        written = (self._books.policies.conditions, self._books.mutual_tls.conditions, self._books.entry_conditions)
        self.conditions: Mapping[ObjectKey, tuple[Condition, ...]] = MappingProxyType(ChainMap(*written))

    def apply(self, changes: Iterable[ObjectChange]) -> Delta:
        """Takes in changes, in their order. The cost grows with what they touch, and not with the cluster."""
        (delta,) = self.apply_in_steps(changes, None)
        return delta

    def apply_in_steps(self, changes: Iterable[ObjectChange], size: int | None) -> Iterator[Delta]:
        """As apply, but one change may touch every workload: those are settled some at a time, and others may read the views in between.

        At each step every policy that somebody lists is there: new ones come with the first step that needs them, and what is gone
        goes with the last. The next changes may be taken in when all steps are done.

        Args:
            size: workloads a step; None: all in one.
        """
        touched = Touched()
        for change in changes:
            self._intake.take(change, touched)
        self._intake.settle_slices(touched)
        self._books.mutual_tls.rank()
        uids, services, gone = list(touched.instances), touched.services, set[str]()
        for start in range(0, max(len(uids), 1), size or max(len(uids), 1)):
            end = start + size if size is not None else len(uids)
            workloads = self._settle_workloads(uids[start:end], touched)
            keys = touched.policies | gone
            gone = {key for key in keys if not self._exists(key)} if end < len(uids) else set()
            delta = Delta(workloads, self._settle_services(services), self._settle_policies(keys - gone))
            touched.policies, services = set(), set()
            self.generation += bool(delta)
            yield delta

    def runs(self, node: str, identity: Identity) -> bool:
        """Tells whether a node runs a pod of an identity of the mesh's own trust domain."""
        return self._residents.runs(node, identity)

    def policies_of_node(self, node: str) -> frozenset[str]:
        """Returns the keys of the policies that a node needs: mesh-wide, of the namespaces with pods there, and listed by its pods."""
        namespaces, listed = self._residents.policies(node)
        policies = self._books.policies
        return policies.of_mesh().union(listed, *(policies.of_namespace(namespace) for namespace in namespaces))

    def _settle_workloads(self, uids: Iterable[str], touched: Touched) -> dict[str, Workload | None]:
        changed: dict[str, Workload | None] = {}
        for uid in uids:
            instance = self._books.instances.by_uid.get(uid)
            mutual_tls = mutual_tls_of(self._books, instance) if instance is not None else None
            workload = render(self._books, instance, mutual_tls) if instance is not None else None
            if workload != self._workloads.get(uid):
                changed[uid] = workload
                self._enter(uid, workload, mutual_tls, touched)
        return changed

    def _enter(self, uid: str, workload: Workload | None, mutual_tls: Authorization | None, touched: Touched) -> None:
        """Replaces a workload in the views, and in what is counted of it."""
        known, pod = self._workloads.pop(uid, None), uid.startswith(self._pod_prefix)
        if workload is not None:
            self._workloads[uid] = workload
            if pod:
                self._residents.add(workload)
        if mutual_tls is not None:
            self._listings.add(mutual_tls)
            touched.policies.add(mutual_tls.key)
        if known is not None:
            if pod:
                self._residents.remove(known)
            for key in known.policies:
                if key in self._listings.policies:
                    self._listings.remove(key)
                    touched.policies.add(key)

    def _settle_services(self, keys: Iterable[str]) -> dict[str, Service | None]:
        books = self._books
        return _settle(self._services, {key: books.offers.service(key, books.instances.pod_addresses) for key in keys})

    def _exists(self, key: str) -> bool:
        return key in self._books.policies.by_key or key in self._listings.policies

    def _settle_policies(self, keys: Iterable[str]) -> dict[str, Authorization | None]:
        written, implied = self._books.policies.by_key, self._listings.policies
        return _settle(self._policies, {key: written.get(key) or implied.get(key) for key in keys})


def _settle(view: dict[str, T], now: Mapping[str, T | None]) -> dict[str, T | None]:
    """Brings some keys of a view to what they are now, and returns those that differed."""
    changed = {key: value for key, value in now.items() if view.get(key) != value}
    for key, value in changed.items():
        if value is None:
            del view[key]
        else:
            view[key] = value
    return changed
