"""A policy in the form in which it is quickest to ask: sets, tuples and shifted integers in place of lists of patterns."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.model import IPAddress
from mesh.policy.model import Authorization, Clause, IPNetwork, Match, PolicyAction, Rule, ServiceAccountMatch, TextMatch, TextMatchKind


@dataclass(frozen=True, slots=True)
class Facts:
    """A connection, prepared once for all policies that apply to it.

    Args:
        namespaces: the one of the client's identity; empty when it proved none.
        principals: the identity in each spelling that counts as the same; empty likewise.
        account: None when it proved none.
    """

    namespaces: tuple[str, ...]
    principals: tuple[str, ...]
    account: ServiceAccountMatch | None
    source: IPAddress
    destination: IPAddress
    port: int


# Answers whether a connection is what a part of a policy asks for.
Test = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class _Texts:
    exact: frozenset[str]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    presence: bool

    def fit(self, spellings: tuple[str, ...]) -> bool:
        for text in spellings:
            if self.presence or text in self.exact or text.startswith(self.prefixes) or text.endswith(self.suffixes):
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Networks:
    """By version and number of host bits: the network addresses without those bits."""

    prefixes: tuple[tuple[int, int, frozenset[int]], ...]

    def fit(self, ip: IPAddress) -> bool:
        version, number = ip.version, int(ip)
        return any(version == of and number >> host_bits in networks for of, host_bits, networks in self.prefixes)


def compile_policy(policy: Authorization) -> Test:
    """Returns what tells whether a policy matches a connection. It looks at the policy's rules alone: not at scope, action or dry run."""
    vacuous = policy.action is PolicyAction.DENY
    return _some([_rule(rule, vacuous) for rule in policy.rules])


def _rule(rule: Rule, vacuous: bool) -> Test:
    return _every([_clause(clause, vacuous) for clause in rule])


def _clause(clause: Clause, vacuous: bool) -> Test:
    return _some([_match(match, vacuous) for match in clause or (Match(),)])


def _match(match: Match, vacuous: bool) -> Test:
    tests = list(_tests(match))
    return _every(tests) if tests else lambda _: vacuous


# Written as loops: all() and any() over a generator take twice as long, and this is the whole cost of a decision.
def _every(tests: list[Test]) -> Test:
    def every(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110
            if not test(facts):
                return False
        return True

    return tests[0] if len(tests) == 1 else every


def _some(tests: list[Test]) -> Test:
    def some(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110
            if test(facts):
                return True
        return False

    return tests[0] if len(tests) == 1 else some


def _tests(match: Match) -> Iterator[Test]:
    """Yields a test for each field that has values."""
    for name, build in _FIELDS.items():
        if values := getattr(match, name):
            yield build(values)
        if excluded := getattr(match, "not_" + name):
            yield _negated(build(excluded))


def _negated(test: Test) -> Test:
    return lambda facts: not test(facts)


def _ports(values: tuple[int, ...]) -> Test:
    ports = frozenset(values)
    return lambda facts: facts.port in ports


def _service_accounts(values: tuple[ServiceAccountMatch, ...]) -> Test:
    accounts = frozenset(values)
    return lambda facts: facts.account in accounts


def _namespaces(values: tuple[TextMatch, ...]) -> Test:
    texts = _texts(values)
    return lambda facts: texts.fit(facts.namespaces)


def _principals(values: tuple[TextMatch, ...]) -> Test:
    texts = _texts(values)
    return lambda facts: texts.fit(facts.principals)


def _source_ips(values: tuple[IPNetwork, ...]) -> Test:
    networks = _networks(values)
    return lambda facts: networks.fit(facts.source)


def _destination_ips(values: tuple[IPNetwork, ...]) -> Test:
    networks = _networks(values)
    return lambda facts: networks.fit(facts.destination)


def _texts(values: Iterable[TextMatch]) -> _Texts:
    by_kind: dict[TextMatchKind, list[str]] = {kind: [] for kind in TextMatchKind}
    for value in values:
        by_kind[value.kind].append(value.text)
    prefixes, suffixes = by_kind[TextMatchKind.PREFIX], by_kind[TextMatchKind.SUFFIX]
    return _Texts(frozenset(by_kind[TextMatchKind.EXACT]), tuple(prefixes), tuple(suffixes), bool(by_kind[TextMatchKind.PRESENCE]))


def _networks(values: Iterable[IPNetwork]) -> _Networks:
    groups: dict[tuple[int, int], set[int]] = {}
    for network in values:
        host_bits = network.max_prefixlen - network.prefixlen
        groups.setdefault((network.version, host_bits), set()).add(int(network.network_address) >> host_bits)
    return _Networks(tuple((version, host_bits, frozenset(networks)) for (version, host_bits), networks in groups.items()))


# What may be asked of a connection, the cheapest first; each has its negation under "not_".
_FIELDS: Mapping[str, Callable[[Any], Test]] = {
    "destination_ports": _ports,
    "service_accounts": _service_accounts,
    "namespaces": _namespaces,
    "principals": _principals,
    "source_ips": _source_ips,
    "destination_ips": _destination_ips,
}
