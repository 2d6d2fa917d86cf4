"""The values of an AuthorizationPolicy's lists, read one by one. What has another form is refused: it would match what was not meant.

Each function raises ValueError with what would have been accepted.
"""

import re
from ipaddress import IPv6Network, ip_network

from mesh.policy.limits import is_plain
from mesh.policy.model import IPNetwork, ServiceAccountMatch, TextMatch, TextMatchKind

_PORT = re.compile(r"[1-9][0-9]{0,4}")
# A netmask after the slash, which ipaddress would take as well, is no CIDR.
_CIDR = re.compile(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?")
_WILDCARD = "*"
_SCHEME = "spiffe://"


def read_text(value: str) -> TextMatch:
    """Reads "text", "prefix*", "*suffix" or "*"."""
    if value == _WILDCARD:
        return TextMatch(TextMatchKind.PRESENCE)
    kind, text = TextMatchKind.EXACT, value
    if value.startswith(_WILDCARD):
        kind, text = TextMatchKind.SUFFIX, value[1:]
    elif value.endswith(_WILDCARD):
        kind, text = TextMatchKind.PREFIX, value[:-1]
    if not is_plain(text) or _WILDCARD in text:
        raise ValueError("a name, or one with a single * at its beginning or end")
    return TextMatch(kind, text)


def read_principal(value: str) -> TextMatch:
    if value.startswith(_SCHEME):
        raise ValueError(f"an identity without {_SCHEME}")
    return read_text(value)


def read_service_account(value: str, namespace: str) -> ServiceAccountMatch:
    """Reads "namespace/name", or "name" of the policy's own namespace."""
    before, slash, after = value.partition("/")
    owner, name = (before, after) if slash else (namespace, before)
    if "/" in name or _WILDCARD in value or not (is_plain(owner) and is_plain(name)):
        raise ValueError("a service account: name, or namespace/name, without *")
    return ServiceAccountMatch(owner, name)


def read_network(value: str) -> IPNetwork:
    """Reads an address or a CIDR; bits after the prefix are taken for zeros."""
    try:
        network = ip_network(value, strict=False) if _CIDR.fullmatch(value) else None
    except ValueError:
        network = None
    if network is None or (isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None):
        raise ValueError("an IPv4 or IPv6 address, or a CIDR such as 10.0.0.0/8")
    return network


def read_port(value: str) -> int:
    if not _PORT.fullmatch(value) or int(value) > 65535:
        raise ValueError("a port, 1 to 65535")
    return int(value)
