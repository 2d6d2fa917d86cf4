"""Istio's networking API as far as layer 4 goes: services that Kubernetes does not run, and machines that are no pods.

Source: istio/api, networking/v1 (v1beta1 and v1alpha3 are alike).
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator, StrictInt, StrictStr

from mesh.kubernetes.fields import (
    Hostname,
    KubernetesObject,
    Labels,
    Metadata,
    Port,
    Subdomain,
    at_least_one,
    at_most,
    expect,
    matching,
    read_endpoint_address,
)
from mesh.model import IPAddress

# Source: protobuf, uint32.
Weight = Annotated[StrictInt, Field(ge=0, le=2**32 - 1)]
# What the names of networks and places are made of: they are told to the nodes and end in log lines.
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
NetworkName = Annotated[StrictStr, matching(re.compile(f"({_NAME})?"), "up to 63 letters, digits, '-', '_' or '.'")]
LocalityText = Annotated[StrictStr, matching(re.compile(f"({_NAME}(/{_NAME}){{0,2}})?"), "region, region/zone or region/zone/subzone")]
# A URI (RFC 3986) has no spaces and nothing that is not ASCII.
SubjectAltName = Annotated[StrictStr, matching(re.compile(r"[!-~]{1,1024}"), "a name or URI of at most 1024 printable characters")]
# What the nodes accept of one service.
MAX_ADDRESSES = 64
MAX_SUBJECT_ALT_NAMES = 256


def _read_network(value: object) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        network = None
    if network is None or (isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None):
        raise expect("an IPv4 or IPv6 address or network (CIDR)")
    return network


Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_read_network)]


def _read_entry_address(value: object) -> IPAddress | str:
    return "" if value == "" else read_endpoint_address(value)


class WorkloadEntrySpec(KubernetesObject):
    """`address` is "" where only the network is known. A weight of 0 is one that was not given."""

    address: Annotated[IPAddress | str, PlainValidator(_read_entry_address)] = ""
    ports: dict[StrictStr, Port] = Field(default_factory=dict)
    labels: Labels = Field(default_factory=dict)
    network: NetworkName = ""
    locality: LocalityText = ""
    weight: Weight = 0
    service_account: Subdomain = "default"


class WorkloadEntry(KubernetesObject):
    metadata: Metadata
    spec: WorkloadEntrySpec


class ServiceEntryPort(KubernetesObject):
    number: Port
    name: StrictStr = ""
    protocol: StrictStr = "TCP"
    target_port: Port | None = None


class EntrySelector(KubernetesObject):
    labels: Labels = Field(default_factory=dict)


class ServiceEntrySpec(KubernetesObject):
    hosts: Annotated[tuple[Hostname, ...], AfterValidator(at_least_one)]
    addresses: Annotated[tuple[Network, ...], at_most(MAX_ADDRESSES)] = ()
    ports: tuple[ServiceEntryPort, ...] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: tuple[WorkloadEntrySpec, ...] = ()
    workload_selector: EntrySelector | None = None
    export_to: tuple[StrictStr, ...] = ()
    subject_alt_names: Annotated[tuple[SubjectAltName, ...], at_most(MAX_SUBJECT_ALT_NAMES)] = ()


class ServiceEntryMetadata(Metadata):
    """creation_timestamp is RFC 3339 in UTC, to the second, as Kubernetes prints it; "" where nobody wrote one."""

    creation_timestamp: StrictStr = ""


class ServiceEntry(KubernetesObject):
    metadata: ServiceEntryMetadata
    spec: ServiceEntrySpec
