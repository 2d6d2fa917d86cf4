"""Kubernetes' discovery API: the endpoints of services, in slices."""

from typing import Literal

from pydantic import StrictBool, StrictStr

from mesh.kubernetes.fields import EndpointAddress, KubernetesObject, Metadata, OptionalSubdomain, Port, Protocol, Zone


class EndpointConditions(KubernetesObject):
    """None: not known, which counts as ready."""

    ready: StrictBool | None = None
    serving: StrictBool | None = None
    terminating: StrictBool | None = None


class ObjectReference(KubernetesObject):
    kind: StrictStr = ""
    name: StrictStr = ""
    namespace: StrictStr = ""


class Endpoint(KubernetesObject):
    """Only the first address counts. Source: Kubernetes API reference, EndpointSlice v1."""

    addresses: tuple[EndpointAddress, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    target_ref: ObjectReference | None = None
    node_name: OptionalSubdomain = ""
    zone: Zone = ""


class EndpointPort(KubernetesObject):
    """`port` None: every port of the service, under its own number."""

    name: StrictStr = ""
    port: Port | None = None
    protocol: Protocol = "TCP"


class EndpointSlice(KubernetesObject):
    metadata: Metadata
    address_type: Literal["IPv4", "IPv6", "FQDN"]
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
