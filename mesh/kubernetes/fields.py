"""The values that Kubernetes objects are made of, checked: names, labels, addresses, ports. And what all objects have in common."""

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, StrictBool, StrictInt, StrictStr, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from mesh.model import IPAddress

# Source: RFC 1123 and Kubernetes, "Object Names and IDs". Names become parts of identities and paths: nothing else may pass.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Source: Kubernetes, "Labels and Selectors". Their values are told to the nodes and end in log lines.
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
# What looks like an address and is none must not become a name that is asked for.
_NUMBERS = re.compile(r"[0-9.]*")
_HOSTNAME = re.compile(rf"(\*\.)?{_SUBDOMAIN.pattern}")
# A uid names a file of the node agent.
_UID = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?")
_NO_ADDRESS = "None"
_T = TypeVar("_T")
# Shared by all objects, and never written to.
_NO_FIELDS: set[str] = set()


def expect(expected: str) -> PydanticCustomError:
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


def matching(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise expect(expected)
        return value

    return AfterValidator(check)


def at_least_one(values: tuple[_T, ...]) -> tuple[_T, ...]:
    if not values:
        raise expect("at least one entry")
    return values


def at_most(limit: int) -> AfterValidator:
    def check(values: tuple[_T, ...]) -> tuple[_T, ...]:
        if len(values) > limit:
            raise expect(f"at most {limit} entries")
        return values

    return AfterValidator(check)


@lru_cache(maxsize=8192)  # more than the templates that are being read at one time; to forget one costs memory and nothing else
def shared(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Returns the first of equal values in place of later ones: the pods of one template differ in little."""
    return values


def read_ip(value: object) -> IPAddress:
    try:
        ip = ip_address(value) if isinstance(value, str) else None
    except ValueError:
        ip = None
    if ip is None or (isinstance(ip, IPv6Address) and (ip.scope_id is not None or ip.ipv4_mapped is not None)):
        raise expect("an IPv4 or IPv6 address")
    return ip


def read_cluster_ip(value: object) -> IPAddress | None:
    return None if value in ("", _NO_ADDRESS) else read_ip(value)


def read_target_port(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 65535:
        return value
    if isinstance(value, str) and _LABEL.fullmatch(value):
        return value
    raise expect("a port 1-65535 or the name of a container's port")


def read_endpoint_address(value: object) -> IPAddress | str:
    """Reads an address, or a DNS name that stands for some."""
    if isinstance(value, str) and _SUBDOMAIN.fullmatch(value) and not _NUMBERS.fullmatch(value):
        return value
    try:
        return read_ip(value)
    except PydanticCustomError:
        raise expect("an IPv4 or IPv6 address, or a DNS name") from None


Label = Annotated[StrictStr, matching(_LABEL, "a DNS label (RFC 1123)")]
Subdomain = Annotated[StrictStr, matching(_SUBDOMAIN, "a DNS subdomain (RFC 1123)")]
OptionalSubdomain = Annotated[StrictStr, matching(re.compile(f"|{_SUBDOMAIN.pattern}"), "a DNS subdomain (RFC 1123)")]
Uid = Annotated[StrictStr, matching(_UID, "up to 128 letters, digits, '-', '_' or '.'")]
Address = Annotated[IPAddress, PlainValidator(read_ip)]
ClusterAddress = Annotated[IPAddress | None, PlainValidator(read_cluster_ip)]
EndpointAddress = Annotated[IPAddress | str, PlainValidator(read_endpoint_address)]
Hostname = Annotated[StrictStr, matching(_HOSTNAME, "a DNS name, its first label maybe '*'")]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Protocol = Literal["TCP", "UDP", "SCTP"]
Labels = dict[
    Annotated[StrictStr, matching(_LABEL_KEY, "a label's key: [prefix/]name")],
    Annotated[StrictStr, matching(_LABEL_VALUE, "a label's value: up to 63 letters, digits, '-', '_' or '.'")],
]
Zone = Annotated[StrictStr, matching(_LABEL_VALUE, "a label's value: up to 63 letters, digits, '-', '_' or '.'")]
Annotations = dict[StrictStr, StrictStr]


class KubernetesObject(BaseModel):
    """Frozen; fields are spelled as in Kubernetes on the way in, and in Python's way in code."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)

    def model_post_init(self, context: Any) -> None:
        """Forgets which fields were given: nobody asks, and it is two fifths of what a pod takes of memory."""
        object.__setattr__(self, "__pydantic_fields_set__", _NO_FIELDS)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        """Kubernetes prints and reads null where a field is not set."""
        return {key: one for key, one in value.items() if one is not None} if isinstance(value, Mapping) else value


class OwnerReference(KubernetesObject):
    kind: StrictStr
    name: Subdomain
    controller: StrictBool = False


class Metadata(KubernetesObject):
    """Of an object in a namespace."""

    name: Subdomain
    namespace: Label = "default"
    uid: Uid = ""
    labels: Labels = {}
    annotations: Annotations = {}
    owner_references: Annotated[tuple[OwnerReference, ...], AfterValidator(shared)] = ()
    deletion_timestamp: StrictStr | None = None
