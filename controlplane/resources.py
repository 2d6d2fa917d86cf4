"""What the mesh looks like in xDS: named resources with a version of their content, rendered when somebody first wants them."""

from collections.abc import Mapping
from hashlib import sha256

from envoy.service.discovery.v3 import discovery_pb2  # type: ignore[import-untyped]  # xds-protos has no types

from mesh.model import Service, Workload
from mesh.policy.model import Authorization
from mesh.wire import workload_pb2 as pb
from mesh.wire.convert import resource_names, service_to_wire, workload_to_wire
from mesh.wire.policies import authorization_to_wire

ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization"
# 64 bits: a version only has to differ from the one that a client holds of the same resource.
_VERSION_DIGITS = 16

Source = Workload | Service | Authorization


class Resource:
    """One resource of either type.

    It is rendered once, and not before it is wanted: of a large cluster's resources most nodes want few.
    Args:
        source: what it says.
    """

    __slots__ = ("_field", "_version", "aliases", "name", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name, self.aliases = (source.key, ()) if isinstance(source, Authorization) else resource_names(source)
        self._field = b""
        self._version = ""

    @property
    def version(self) -> str:
        """Of the content: the same in every process and after every restart."""
        if not self._field:
            self._render()
        return self._version

    @property
    def field(self) -> bytes:
        """The resource as it stands in a response: the whole of its field `resources`, serialised."""
        if not self._field:
            self._render()
        return self._field

    @property
    def services(self) -> Mapping[str, object]:
        """By key the services that it backs."""
        return self.source.services if isinstance(self.source, Workload) else {}

    def _render(self) -> None:
        type_url, body = render_body(self.source)
        self._version = sha256(body).hexdigest()[:_VERSION_DIGITS]
        message = discovery_pb2.DeltaDiscoveryResponse()
        resource = message.resources.add(name=self.name, aliases=self.aliases, version=self._version)
        resource.resource.type_url, resource.resource.value = type_url, body
        self._field = message.SerializeToString()


def render_body(source: Source) -> tuple[str, bytes]:
    """Returns the type of a resource and what it says, serialised: the same bytes for the same content."""
    if isinstance(source, Authorization):
        return AUTHORIZATION_TYPE, authorization_to_wire(source).SerializeToString(deterministic=True)
    address = pb.Address(workload=workload_to_wire(source)) if isinstance(source, Workload) else pb.Address(service=service_to_wire(source))
    return ADDRESS_TYPE, address.SerializeToString(deterministic=True)
