"""The kinds of objects by the names that people type for them, as kubectl takes them."""

from collections.abc import Mapping
from types import MappingProxyType

from mesh.errors import ConfigError

# By the singular, in small letters: the kind, and its short name where kubectl or istioctl know one.
_KINDS = (
    ("Namespace", "ns"),
    ("Node", "no"),
    ("Pod", "po"),
    ("Service", "svc"),
    ("ServiceAccount", "sa"),
    ("EndpointSlice", ""),
    ("AuthorizationPolicy", "ap"),
    ("PeerAuthentication", "pa"),
    ("ServiceEntry", "se"),
    ("WorkloadEntry", "we"),
)


def _plural(singular: str) -> str:
    return singular[:-1] + "ies" if singular.endswith("y") else singular + "s"


_BY_NAME: Mapping[str, str] = MappingProxyType(
    {name: kind for kind, short in _KINDS for name in (kind.lower(), _plural(kind.lower()), short) if name}
)


def kind_named(text: str) -> str:
    """The kind that is meant: singular, plural or short, in any case.

    Raises:
        ConfigError: none that the lab knows.
    """
    kind = _BY_NAME.get(text.lower())
    if kind is None:
        raise ConfigError("kind", text, f"one of {', '.join(kind.lower() for kind, _ in _KINDS)}")
    return kind
