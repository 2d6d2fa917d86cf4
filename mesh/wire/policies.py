"""Between policies and the xDS resource istio.security.Authorization. What comes from the wire is hostile and is checked here."""

import enum
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import TypeVar

from google.protobuf.empty_pb2 import Empty

from mesh.errors import ConfigError
from mesh.policy.limits import MAX_PARTS, is_plain
from mesh.policy.model import (
    Authorization,
    IPNetwork,
    Match,
    PolicyAction,
    PolicyScope,
    Rule,
    ServiceAccountMatch,
    TextMatch,
    TextMatchKind,
)
from mesh.wire import authorization_pb2 as pb

_KEY = "authorization."
_Enum = TypeVar("_Enum", bound=enum.Enum)


def authorization_to_wire(policy: Authorization) -> pb.Authorization:
    return pb.Authorization(
        name=policy.name,
        namespace=policy.namespace,
        scope=pb.Scope.ValueType(policy.scope.value),
        action=pb.Action.ValueType(policy.action.value),
        groups=[_rule_to_wire(rule) for rule in policy.rules],
        dry_run=policy.dry_run,
    )


def authorization_from_wire(wire: pb.Authorization) -> Authorization:
    """Reads a policy that a control plane sent. Nothing of it is left out: what cannot be kept makes the whole of it an error.

    Raises:
        ConfigError: a field is not what it must be; `key` is "authorization.<field>".
    """
    _check_known(wire)
    if (parts := _count_parts(wire)) > MAX_PARTS:
        raise ConfigError(_KEY + "groups", parts, f"at most {MAX_PARTS} groups, rules, matches and values")
    return Authorization(
        name=_segment("name", wire.name),
        namespace=_segment("namespace", wire.namespace),
        scope=_value("scope", PolicyScope, wire.scope),
        action=_value("action", PolicyAction, wire.action),
        rules=tuple(tuple(tuple(_match(one) for one in clause.matches) for clause in group.rules) for group in wire.groups),
        dry_run=wire.dry_run,
    )


def _rule_to_wire(rule: Rule) -> pb.Group:
    return pb.Group(rules=[pb.Rules(matches=[_match_to_wire(match) for match in clause]) for clause in rule])


def _match_to_wire(match: Match) -> pb.Match:
    return pb.Match(
        namespaces=_texts_to_wire(match.namespaces),
        not_namespaces=_texts_to_wire(match.not_namespaces),
        service_accounts=_accounts_to_wire(match.service_accounts),
        not_service_accounts=_accounts_to_wire(match.not_service_accounts),
        principals=_texts_to_wire(match.principals),
        not_principals=_texts_to_wire(match.not_principals),
        source_ips=_networks_to_wire(match.source_ips),
        not_source_ips=_networks_to_wire(match.not_source_ips),
        destination_ips=_networks_to_wire(match.destination_ips),
        not_destination_ips=_networks_to_wire(match.not_destination_ips),
        destination_ports=match.destination_ports,
        not_destination_ports=match.not_destination_ports,
    )


def _match(wire: pb.Match) -> Match:
    return Match(
        namespaces=_texts("namespaces", wire.namespaces),
        not_namespaces=_texts("not_namespaces", wire.not_namespaces),
        service_accounts=_accounts("service_accounts", wire.service_accounts),
        not_service_accounts=_accounts("not_service_accounts", wire.not_service_accounts),
        principals=_texts("principals", wire.principals),
        not_principals=_texts("not_principals", wire.not_principals),
        source_ips=_networks("source_ips", wire.source_ips),
        not_source_ips=_networks("not_source_ips", wire.not_source_ips),
        destination_ips=_networks("destination_ips", wire.destination_ips),
        not_destination_ips=_networks("not_destination_ips", wire.not_destination_ips),
        destination_ports=_ports("destination_ports", wire.destination_ports),
        not_destination_ports=_ports("not_destination_ports", wire.not_destination_ports),
    )


def _texts_to_wire(texts: Iterable[TextMatch]) -> list[pb.StringMatch]:
    return [_text_to_wire(one) for one in texts]


def _text_to_wire(text: TextMatch) -> pb.StringMatch:
    match text.kind:
        case TextMatchKind.EXACT:
            return pb.StringMatch(exact=text.text)
        case TextMatchKind.PREFIX:
            return pb.StringMatch(prefix=text.text)
        case TextMatchKind.SUFFIX:
            return pb.StringMatch(suffix=text.text)
        case TextMatchKind.PRESENCE:
            return pb.StringMatch(presence=Empty())


def _accounts_to_wire(accounts: Iterable[ServiceAccountMatch]) -> list[pb.ServiceAccountMatch]:
    return [pb.ServiceAccountMatch(namespace=one.namespace, service_account=one.name) for one in accounts]


def _networks_to_wire(networks: Iterable[IPNetwork]) -> list[pb.Address]:
    return [pb.Address(address=one.network_address.packed, length=one.prefixlen) for one in networks]


def _texts(field: str, wire: Iterable[pb.StringMatch]) -> tuple[TextMatch, ...]:
    return tuple(_text(field, one) for one in wire)


def _text(field: str, wire: pb.StringMatch) -> TextMatch:
    form = wire.WhichOneof("match_type")
    if form is None:
        raise ConfigError(_KEY + field, None, "exact, prefix, suffix or presence")
    if form == "presence":
        return TextMatch(TextMatchKind.PRESENCE)
    return TextMatch(TextMatchKind(form), _plain(field, getattr(wire, form)))


def _accounts(field: str, wire: Iterable[pb.ServiceAccountMatch]) -> tuple[ServiceAccountMatch, ...]:
    return tuple(ServiceAccountMatch(_segment(field, one.namespace), _segment(field, one.service_account)) for one in wire)


def _networks(field: str, wire: Iterable[pb.Address]) -> tuple[IPNetwork, ...]:
    return tuple(_network(field, one) for one in wire)


def _network(field: str, wire: pb.Address) -> IPNetwork:
    """Bits after the prefix are taken for zeros: other control planes leave them in."""
    if len(wire.address) == 4 and wire.length <= 32:
        return IPv4Network((wire.address, wire.length), strict=False)
    if len(wire.address) == 16 and wire.length <= 128:
        network = IPv6Network((wire.address, wire.length), strict=False)
        if network.network_address.ipv4_mapped is None:
            return network
    shown = f"{wire.address[:32].hex()}/{wire.length}"
    raise ConfigError(_KEY + field, shown, "4 bytes and up to 32 bits, or 16 that are no IPv4-mapped address and up to 128")


def _ports(field: str, wire: Iterable[int]) -> tuple[int, ...]:
    ports = tuple(wire)
    for port in ports:
        if port > 65535:
            raise ConfigError(_KEY + field, port, "a port, up to 65535")
    return ports


def _value(field: str, kind: type[_Enum], number: int) -> _Enum:
    try:
        return kind(number)
    except ValueError:
        raise ConfigError(_KEY + field, number, f"one of {', '.join(str(one.value) for one in kind)}") from None


def _segment(field: str, value: str) -> str:
    """Checks a name that becomes one part of a key or an identity: a "/" in it would forge another."""
    if "/" in value:
        raise ConfigError(_KEY + field, value[:64], "a name without '/'")
    return _plain(field, value)


def _plain(field: str, value: str) -> str:
    if not is_plain(value):
        raise ConfigError(_KEY + field, value[:64], "a name of printable characters without spaces, not empty, bounded")
    return value


def _count_parts(wire: pb.Authorization) -> int:
    """Counts as mesh.policy.limits does, before anything is built."""
    clauses = [clause for group in wire.groups for clause in group.rules]
    matches = [match for clause in clauses for match in clause.matches]
    return len(wire.groups) + len(clauses) + len(matches) + sum(len(values) for match in matches for _, values in match.ListFields())


def _check_known(wire: pb.Authorization) -> None:
    """Refuses what a newer control plane may say and we cannot read: without it an ALLOW would allow more than is meant."""
    known = pb.Authorization()
    known.CopyFrom(wire)
    known.DiscardUnknownFields()
    if known.ByteSize() != wire.ByteSize():
        raise ConfigError(_KEY.rstrip("."), f"{wire.ByteSize() - known.ByteSize()} bytes of unknown fields", "fields that we know")
