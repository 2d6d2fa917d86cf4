"""What the manifests of a lab that is up come to in the mesh."""

from collections.abc import Mapping

from lab import api
from lab.layout import Layout
from mesh.catalogue.catalogue import Catalogue
from mesh.catalogue.changes import ObjectChange
from mesh.manifests import Manifests, parse_manifests
from mesh.settings import MeshSettings


def read_lab(layout: Layout) -> Manifests:
    """Raises LabError, ConfigErrors: they cannot be read."""
    return parse_manifests(api.read_manifests(layout.manifests))


def catalogue_of(manifests: Manifests, settings: MeshSettings) -> Catalogue:
    catalogue = Catalogue(settings)
    catalogue.apply(ObjectChange(key, value) for key, value in manifests.objects.items())
    return catalogue


def mesh_settings(given: Mapping[str, str]) -> MeshSettings:
    """What the lab's options say of the mesh, by the names of docs/runtime.md."""
    usual = MeshSettings()
    return MeshSettings(
        trust_domain=given.get("TRUST_DOMAIN", usual.trust_domain),
        trust_domain_aliases=tuple(filter(None, given.get("TRUST_DOMAIN_ALIASES", "").split(","))),
        cluster_id=given.get("CLUSTER_ID", usual.cluster_id),
        cluster_domain=given.get("CLUSTER_DOMAIN", usual.cluster_domain),
        root_namespace=given.get("ROOT_NAMESPACE", usual.root_namespace),
    )
