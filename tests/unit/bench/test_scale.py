"""The large cluster is one that the control plane would read as it is."""

from bench.scale.cluster import Cluster, hostname
from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange
from mesh.manifest_checks import find_misfits
from mesh.manifests import Reading
from mesh.model import TunnelProtocol
from mesh.settings import MeshSettings


def test_a_cluster_has_what_was_asked_for() -> None:
    cluster, reading = Cluster(workloads=300, services=30, policies=60), Reading()
    for number in range(cluster.namespaces):
        for one in cluster.objects(number):
            reading.read(f"{number}.", one)
    assert (reading.errors, reading.ignored) == ([], [])
    assert list(find_misfits([one.outline for one in reading.placed])) == []
    catalogue = Catalogue(MeshSettings())
    catalogue.apply(ObjectChange(one.outline.key, one.value) for one in reading.placed)
    assert (len(catalogue.workloads), len(catalogue.services), len(catalogue.policies)) == (300, 30, 60)
    assert {len(one.services) for one in catalogue.workloads.values()} == {1}
    assert {one.tunnel_protocol for one in catalogue.workloads.values()} == {TunnelProtocol.HBONE}
    assert all(hostname(service, cluster.namespaces) in catalogue.services for service in range(30))
    assert all(status.status for conditions in catalogue.conditions.values() for status in conditions)
