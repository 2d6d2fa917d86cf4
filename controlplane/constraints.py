"""Name constraints of an authority: peers enforce them, so what they refuse must not be signed in the first place. No I/O."""

from collections.abc import Iterable

from cryptography import x509


def name_refused(authority: x509.Certificate, trust_domain: str, dns_name: str) -> str | None:
    """Returns which of our names the authority's constraints refuse, None when they let all pass.

    Source: RFC 5280, section 4.2.1.10: a URI is held against its host, which for a SPIFFE identity is the trust domain.
    """
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    for kind, name, holds in (
        (x509.UniformResourceIdentifier, trust_domain, _uri_within),
        (x509.DNSName, dns_name, _dns_within),
    ):
        allowed = _values(permitted, kind)
        if (allowed and not any(holds(name, one) for one in allowed)) or any(holds(name, one) for one in _values(excluded, kind)):
            return f"{kind.__name__} {name}"
    return None


def _values(names: Iterable[x509.GeneralName], kind: type[x509.GeneralName]) -> list[str]:
    return [str(one.value).lower() for one in names if isinstance(one, kind)]


def _uri_within(host: str, constraint: str) -> bool:
    """A constraint that begins with a dot holds for hosts below it, any other for that host alone."""
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint


def _dns_within(name: str, constraint: str) -> bool:
    return not constraint or name == constraint or name.endswith("." + constraint.lstrip("."))
