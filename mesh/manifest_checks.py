"""Whether the objects of several manifests fit together: no two of one name, no reference to nothing, no address owned twice."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mesh.errors import ConfigError
from mesh.kubernetes import Namespace, Node, Object, Pod, Service, ServiceAccount, qualified_name
from mesh.model import IPAddress

# Kubernetes makes both by itself: the namespace "default", and in every namespace the service account "default".
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Placed:
    """An object and where it stands ("file:document number:", then the path of its item in a List)."""

    key: str
    value: Object


def find_duplicates(placed: Iterable[Placed]) -> Iterator[ConfigError]:
    """Finds two objects of one kind and name, or of one uid."""
    first: dict[tuple[str, str], str] = {}
    uids: dict[str, str] = {}
    for one in placed:
        kind, name, uid = type(one.value).__name__, qualified_name(one.value), one.value.metadata.uid
        other = first.setdefault((kind, name), one.key)
        if other != one.key:
            yield ConfigError(one.key + "metadata.name", name, f"one {kind} of this name; another stands in {other.rstrip(':.')}")
        elif uid and uids.setdefault(uid, one.key) != one.key:
            yield ConfigError(one.key + "metadata.uid", uid, f"a uid of its own; {uids[uid].rstrip(':.')} has it too")


def find_dangling(placed: Sequence[Placed]) -> Iterator[ConfigError]:
    """Finds references to what no file declares."""
    declared = {(type(one.value), qualified_name(one.value)) for one in placed}
    for one in placed:
        namespace = one.value.metadata.namespace
        if isinstance(one.value, Namespace | Node):
            continue
        if namespace != DEFAULT and (Namespace, namespace) not in declared:
            yield ConfigError(one.key + "metadata.namespace", namespace, "a namespace that a manifest declares")
        if isinstance(one.value, Pod):
            account = one.value.spec.service_account_name
            if account != DEFAULT and (ServiceAccount, f"{namespace}/{account}") not in declared:
                expected = f"a service account that a manifest declares in {namespace}"
                yield ConfigError(one.key + "spec.serviceAccountName", account, expected)


def find_clashes(placed: Iterable[Placed]) -> Iterator[ConfigError]:
    """Finds an address that two would own: connections to it would be sent to one of them with the other's identity."""
    owners: dict[IPAddress, str] = {}
    for one in placed:
        value = one.value
        if not isinstance(value, Pod | Service) or (isinstance(value, Pod) and (value.finished or value.spec.host_network)):
            continue
        field_path = "status.podIPs" if isinstance(value, Pod) else "spec.clusterIPs"
        for ip in value.addresses:
            if owners.setdefault(ip, one.key) != one.key:
                yield ConfigError(one.key + field_path, str(ip), f"an address of its own; {owners[ip].rstrip(':.')} has it too")
