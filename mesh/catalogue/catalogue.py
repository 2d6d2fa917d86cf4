"""The books of the mesh: objects go in change by change, and what they mean for workloads, services and policies comes out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mesh import kubernetes
from mesh.catalogue.changes import Delta, ObjectChange, ObjectKey
from mesh.catalogue.instances import Instance, InstanceBook
from mesh.catalogue.offers import OfferBook, OfferChange
from mesh.catalogue.pods import PodReader, pod_uid
from mesh.catalogue.residents import Residents
from mesh.catalogue.services import read_service
from mesh.catalogue.sharing import Sharing
from mesh.enrolment import AMBIENT, MODE_LABEL
from mesh.identity import Identity
from mesh.kubernetes import Object
from mesh.model import Service, TunnelProtocol, Workload
from mesh.policy.model import Authorization
from mesh.settings import MeshSettings


@dataclass(slots=True)
class _Touched:
    """What a batch of changes may have made different: uids of instances, keys of services."""

    instances: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=set)


class Catalogue:
    """Mutable books without I/O, used from one thread.

    workloads, services and policies are live views; generation grows by one with every apply whose Delta is not empty.
    """

    def __init__(self, settings: MeshSettings) -> None:
        self.settings = settings
        self.generation = 0
        self._workloads: dict[str, Workload] = {}
        self._services: dict[str, Service] = {}
        self._policies: dict[str, Authorization] = {}
        self.workloads: Mapping[str, Workload] = MappingProxyType(self._workloads)
        self.services: Mapping[str, Service] = MappingProxyType(self._services)
        self.policies: Mapping[str, Authorization] = MappingProxyType(self._policies)
        self._sharing = Sharing()
        self._modes: dict[str, str | None] = {}
        self._instances = InstanceBook()
        self._offers = OfferBook()
        self._residents = Residents(settings.trust_domain)
        self._pods = PodReader(settings, self._sharing)
        self._takers: Mapping[str, Callable[[ObjectKey, Object | None, _Touched], None]] = {
            "Namespace": self._take_namespace,
            "Pod": self._take_pod,
            "Service": self._take_service,
        }

    def apply(self, changes: Iterable[ObjectChange]) -> Delta:
        """Takes in changes, in their order. The cost grows with what they touch, and not with the cluster."""
        touched = _Touched()
        for change in changes:
            take = self._takers.get(change.key.kind)
            if take is not None:
                take(change.key, change.value, touched)
        delta = Delta(self._settle_workloads(touched.instances), self._settle_services(touched.services), {})
        self.generation += bool(delta)
        return delta

    def runs(self, node: str, identity: Identity) -> bool:
        """Tells whether a node runs a pod of an identity of the mesh's own trust domain."""
        return self._residents.runs(node, identity)

    def policies_of_node(self, node: str) -> frozenset[str]:
        """Returns the keys of the policies that a node needs: mesh-wide, of the namespaces with pods there, and listed by its workloads."""
        _, listed = self._residents.policies(node)
        return listed

    def _take_namespace(self, key: ObjectKey, value: Object | None, touched: _Touched) -> None:
        assert value is None or isinstance(value, kubernetes.Namespace)
        mode = value.metadata.labels.get(MODE_LABEL) if value is not None else None
        if mode != self._modes.get(key.name):
            touched.instances.update(self._instances.inheriting_mode(key.name))
        if value is None:
            self._modes.pop(key.name, None)
        else:
            self._modes[key.name] = mode

    def _take_pod(self, key: ObjectKey, value: Object | None, touched: _Touched) -> None:
        assert value is None or isinstance(value, kubernetes.Pod)
        uid = pod_uid(self.settings, key.namespace, key.name)
        if self._instances.put(uid, self._pods.read(value) if value is not None else None):
            touched.instances.add(uid)

    def _take_service(self, key: ObjectKey, value: Object | None, touched: _Touched) -> None:
        assert value is None or isinstance(value, kubernetes.Service)
        self._touch(self._offers.put(key, read_service(key, value, self.settings) if value is not None else None), touched)

    def _touch(self, change: OfferChange, touched: _Touched) -> None:
        touched.services.update(change.services)
        for offer in change.reselected:
            touched.instances.update(self._instances.labels.carrying(offer.origin.namespace, offer.selector))

    def _settle_workloads(self, uids: Iterable[str]) -> dict[str, Workload | None]:
        changed: dict[str, Workload | None] = {}
        for uid in uids:
            instance, known = self._instances.by_uid.get(uid), self._workloads.get(uid)
            workload = self._render(instance) if instance is not None else None
            if workload != known:
                changed[uid] = workload
                self._enter(uid, known, workload)
        return changed

    def _enter(self, uid: str, known: Workload | None, workload: Workload | None) -> None:
        if known is not None:
            self._residents.remove(known)
        if workload is None:
            del self._workloads[uid]
        else:
            self._workloads[uid] = workload
            self._residents.add(workload)

    def _render(self, instance: Instance) -> Workload:
        workload = instance.workload
        mode = instance.labels.get(MODE_LABEL, self._modes.get(workload.namespace))
        tunnel = TunnelProtocol.HBONE if instance.redirected and mode == AMBIENT else TunnelProtocol.NONE
        services = {}
        for origin in self._offers.selectors.selecting(workload.namespace, instance.labels):
            offer = self._offers.by_origin[origin]
            ports = self._sharing.value(offer.ports_on(instance))
            services.update(dict.fromkeys((service.key for service in self._offers.owned_by(offer)), ports))
        if not services and tunnel is workload.tunnel_protocol:
            return workload
        return replace(workload, tunnel_protocol=tunnel, services=self._sharing.mapping(services))

    def _settle_services(self, keys: Iterable[str]) -> dict[str, Service | None]:
        changed: dict[str, Service | None] = {}
        for key in keys:
            service = self._offers.service(key)
            if service != self._services.get(key):
                changed[key] = service
                if service is None:
                    del self._services[key]
                else:
                    self._services[key] = service
        return changed
