"""Takes objects into the books, kind by kind, and notes what that touches."""

from collections.abc import Callable, Mapping

from mesh import kubernetes
from mesh.catalogue.books import Books, Touched
from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.catalogue.endpoints import EndpointList
from mesh.catalogue.entries import read_service_entry
from mesh.catalogue.instances import Instance
from mesh.catalogue.machines import EntryName, read_workload_entry
from mesh.catalogue.offers import Offer
from mesh.catalogue.pods import PodReader, pod_uid
from mesh.catalogue.services import read_service
from mesh.catalogue.slices import read_slice
from mesh.enrolment import MODE_LABEL
from mesh.kubernetes import Object
from mesh.model import IPAddress, Locality

# Source: Kubernetes, "Well-Known Labels"; the third is Istio's.
_REGION_LABEL = "topology.kubernetes.io/region"
_ZONE_LABEL = "topology.kubernetes.io/zone"
_SUBZONE_LABEL = "topology.istio.io/subzone"

_Take = Callable[[ObjectKey, Object | None, Touched], None]


class Intake:
    """Each method takes one kind; None: the object is gone."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._pods = PodReader(books.settings, books.sharing)
        self._takers: Mapping[str, _Take] = {
            "AuthorizationPolicy": self._take_authorization_policy,
            "EndpointSlice": self._take_slice,
            "Namespace": self._take_namespace,
            "Node": self._take_node,
            "PeerAuthentication": self._take_peer_authentication,
            "Pod": self._take_pod,
            "Service": self._take_service,
            "ServiceEntry": self._take_service_entry,
            "WorkloadEntry": self._take_workload_entry,
        }

    def take(self, change: ObjectChange, touched: Touched) -> None:
        """Takes in one change; a kind that means nothing to the mesh is passed over."""
        taker = self._takers.get(change.key.kind)
        if taker is not None:
            taker(change.key, change.value, touched)

    def settle_slices(self, touched: Touched) -> None:
        """Reads the touched slices with the service that each belongs to, once all changes are in the books."""
        books = self._books
        for key in touched.slices:
            found, service = books.slices.by_key.get(key), books.slices.service_of(key)
            offer = books.offers.by_origin.get(service) if service is not None else None
            wanted = found is not None and offer is not None and not offer.selector
            self._list(key, read_slice(found, offer, books.settings) if wanted and found and offer else None, touched)

    def _take_namespace(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.Namespace)
        modes = self._books.modes
        mode = value.metadata.labels.get(MODE_LABEL) if value is not None else None
        if mode != modes.get(key.name):
            touched.instances.update(self._books.instances.inheriting_mode(key.name))
        if mode is None:
            modes.pop(key.name, None)
        else:
            modes[key.name] = mode

    def _take_node(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.Node)
        localities, locality = self._books.localities, Locality()
        if value is not None:
            labels = value.metadata.labels
            locality = Locality(labels.get(_REGION_LABEL, ""), labels.get(_ZONE_LABEL, ""), labels.get(_SUBZONE_LABEL, ""))
        if locality != localities.get(key.name, Locality()):
            touched.instances.update(self._books.instances.by_node.get(key.name, ()))
        if locality == Locality():
            localities.pop(key.name, None)
        else:
            localities[key.name] = locality

    def _take_pod(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.Pod)
        books, uid = self._books, pod_uid(self._books.settings, key.namespace, key.name)
        before, after = books.instances.by_uid.get(uid), self._pods.read(value) if value is not None else None
        if books.instances.put(uid, after):
            touched.instances.add(uid)
            changed = {*_addresses(before)} ^ {*_addresses(after)}
            touched.services.update(books.offers.claiming(books.settings.network, changed))
            touched.instances.update(machine for ip in changed for machine in books.instances.machines.get(ip, ()))

    def _take_workload_entry(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.WorkloadEntry)
        uid = EntryName("WorkloadEntry", key.namespace, key.name).uid(self._books.settings)
        if self._books.instances.put(uid, read_workload_entry(value, self._books.settings) if value is not None else None):
            touched.instances.add(uid)

    def _take_service(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.Service)
        self._offer(key, read_service(key, value, self._books.settings) if value is not None else None, touched)
        touched.slices.update(self._books.slices.of_service.get(key, ()))

    def _take_slice(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.EndpointSlice)
        self._books.slices.put(key, value)
        touched.slices.add(key)

    def _take_service_entry(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.ServiceEntry)
        self._books.entry_conditions.pop(key, None)
        if value is None:
            self._offer(key, None, touched)
            self._list(key, None, touched)
            return
        read = read_service_entry(key, value, self._books.settings)
        self._books.entry_conditions[key] = read.conditions
        self._offer(key, read.offer, touched)
        self._list(key, read.endpoints, touched)

    def _take_authorization_policy(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.AuthorizationPolicy)
        touched.policies.add(f"{key.namespace}/{key.name}")
        for selection in self._books.policies.put(key, value):
            touched.instances.update(self._books.selected(selection))

    def _take_peer_authentication(self, key: ObjectKey, value: Object | None, touched: Touched) -> None:
        assert value is None or isinstance(value, kubernetes.PeerAuthentication)
        for selection in self._books.mutual_tls.put(key, value):
            touched.instances.update(self._books.selected(selection))

    def _offer(self, key: ObjectKey, offer: Offer | None, touched: Touched) -> None:
        change = self._books.offers.put(key, offer)
        touched.services.update(change.services)
        for one in change.reselected:
            touched.instances.update(self._books.backing(one))

    def _list(self, source: ObjectKey, after: EndpointList | None, touched: Touched) -> None:
        """Files a list of endpoints, and makes, changes and removes the instances that are the list's own."""
        before, different = self._books.endpoints.put(source, after)
        if not different:
            return
        old, new = (dict(one.endpoints) if one is not None else {} for one in (before, after))
        for uid in old.keys() | new.keys():
            was_own, listed = uid in old and old[uid].instance is not None, new.get(uid)
            if was_own or (listed is not None and listed.instance is not None):
                self._books.instances.put(uid, listed.instance if listed is not None else None)
        touched.instances.update(old.keys() | new.keys())


def _addresses(instance: Instance | None) -> tuple[IPAddress, ...]:
    return instance.workload.addresses if instance is not None else ()
