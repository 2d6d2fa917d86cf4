"""From what people write for a destination to the addresses that a pod would connect to."""

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from mesh.errors import ConfigError
from mesh.model import IPAddress, Service, Workload

# "[v6]", a bare v6 address, or anything without a colon; then maybe a port.
_FORM = re.compile(r"(?:\[(?P<bracketed>[^\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535
_LOCAL = re.compile(r"^localhost$|^ip6-")
_EXPECTED = "NAME, NAMESPACE/NAME or ADDRESS, with :PORT or without (an IPv6 address with a port in brackets)"
# As many names as fit into a message that people read.
_NAMES_SHOWN = 12


def parse_destination(text: str) -> tuple[str, int]:
    """Splits a destination into a name or address, and a port; 0: none is named.

    Raises:
        ConfigError: it is no destination.
    """
    if text.count(":") > 1 and _address(text) is not None:
        return text, 0
    match = _FORM.fullmatch(text)
    if match is None or not 1 <= int(match["port"] or 1) <= _MAX_PORT:
        raise ConfigError("DESTINATION", text, _EXPECTED)
    return match["bracketed"] or match["name"], int(match["port"] or 0)


def parse_hosts(text: str) -> dict[str, tuple[IPAddress, ...]]:
    """Reads /etc/hosts: the addresses of each name, in their order."""
    found: dict[str, tuple[IPAddress, ...]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        ip = _address(address)
        if ip is not None:
            found.update((name, (*found.get(name, ()), ip)) for name in names)
    return found


def addresses_of_name(name: str, hosts: Mapping[str, Sequence[IPAddress]]) -> tuple[IPAddress, ...]:
    """The addresses that a pod would find for a name; "namespace/name" is the same as "name.namespace".

    Args:
        hosts: what the pod's /etc/hosts says.
    Raises:
        ConfigError: nobody has that name.
    """
    literal = _address(name.strip("[]"))
    if literal is not None:
        return (literal,)
    namespace, slash, short = name.partition("/")
    found = hosts.get(f"{short}.{namespace}" if slash else name.lower())
    if not found:
        raise ConfigError("DESTINATION", name, f"an address, or a name that the pod knows: {_shown(hosts)}")
    return tuple(dict.fromkeys(found))


def only_port(name: str, owner: Workload | Service | None, declared: Iterable[int]) -> int:
    """The port of a destination that has one only.

    Args:
        declared: the ports of its containers, where it is a pod.
    Raises:
        ConfigError: it has none or several, or nobody knows.
    """
    ports = sorted({mapping.service_port for mapping in owner.ports} if isinstance(owner, Service) else set(declared))
    if len(ports) == 1:
        return ports[0]
    choice = f"{name}:PORT, where PORT is one of {', '.join(map(str, ports))}" if ports else f"{name}:PORT"
    raise ConfigError("DESTINATION", name, choice)


def _shown(hosts: Mapping[str, object]) -> str:
    """The short names, which are what people type."""
    names = sorted((name for name in hosts if not _LOCAL.search(name)), key=lambda name: (name.count("."), name))
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
