"""The whole catalogue as routing sees it: what a node would know that had subscribed to everything."""

from collections.abc import Iterable, Mapping

from mesh.model import IPAddress, Service, Workload
from mesh.wire.convert import address_rank


class CatalogueView:
    """Implements mesh.routing.View for the objects of one moment."""

    def __init__(self, workloads: Mapping[str, Workload], services: Mapping[str, Service]) -> None:
        self._owners: dict[tuple[str, IPAddress], Workload | Service] = {}
        self._backends: dict[str, list[Workload]] = {}
        owners: list[Workload | Service] = [*services.values(), *workloads.values()]
        for owner in sorted(owners, key=address_rank):
            for ip in owner.addresses:
                self._owners.setdefault((owner.network, ip), owner)
        for workload in workloads.values():
            for key in workload.services:
                self._backends.setdefault(key, []).append(workload)

    def find(self, network: str, ip: IPAddress) -> Workload | Service | None:
        return self._owners.get((network, ip))

    def endpoints(self, service_key: str) -> Iterable[Workload]:
        return self._backends.get(service_key, ())
