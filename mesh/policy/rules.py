"""One rule of an AuthorizationPolicy: its layer 4 part as clauses, what only a waypoint can enforce, and what is wrong with it."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.kubernetes.security import Operation, PolicyPart, PolicyRule, Source, When
from mesh.policy.conditions import Problem, Reason, shown
from mesh.policy.model import Clause, Match, Rule
from mesh.policy.values import read_network, read_port, read_principal, read_service_account, read_text

# Reads one value; the second argument is the policy's namespace.
_Reader = Callable[[str, str], object]


def _plainly(read: Callable[[str], object]) -> _Reader:
    return lambda value, _: read(value)


_NOT = "not_"
# What layer 4 knows: field of Match that it goes to, and how a value is read. Their negations stand beside them under "not_".
_SOURCE: Mapping[str, tuple[str, _Reader]] = {
    "principals": ("principals", _plainly(read_principal)),
    "namespaces": ("namespaces", _plainly(read_text)),
    "service_accounts": ("service_accounts", read_service_account),
    "ip_blocks": ("source_ips", _plainly(read_network)),
}
_OPERATION: Mapping[str, tuple[str, _Reader]] = {"ports": ("destination_ports", _plainly(read_port))}
# Source: Istio, "Authorization Policy Conditions".
L4_CONDITIONS: Mapping[str, tuple[str, _Reader]] = {
    "source.ip": ("source_ips", _plainly(read_network)),
    "source.namespace": ("namespaces", _plainly(read_text)),
    "source.principal": ("principals", _plainly(read_principal)),
    "source.serviceAccount": ("service_accounts", read_service_account),
    "destination.ip": ("destination_ips", _plainly(read_network)),
    "destination.port": ("destination_ports", _plainly(read_port)),
}
# The conditions of the same page that need HTTP, a token, or the TLS of the application.
_WAYPOINT_KEY = re.compile(
    r"remote\.ip|source\.trustDomain|request\.auth\.(principal|audiences|presenter)|connection\.sni"
    r"|request\.headers\[[^\[\]]+\]|request\.auth\.claims(\[[^\[\]]+\])+|experimental\.envoy\.filters\..+"
)
_ACCOUNTS = ("service_accounts", "not_service_accounts")
_BESIDE_ACCOUNTS = ("principals", "not_principals", "namespaces", "not_namespaces")


@dataclass(slots=True)
class RuleReader:
    """Reads rules of one policy.

    Args:
        namespace: of the policy.
        problems: what was found wrong, in order.
        beyond_l4: paths of the fields that only a waypoint can enforce, in order.
    """

    namespace: str
    problems: list[Problem] = field(default_factory=list)
    beyond_l4: list[str] = field(default_factory=list)

    def read(self, rule: PolicyRule, path: str) -> Rule:
        """Returns what layer 4 can tell of the rule. A clause that it can tell nothing of is left out: the rule then matches more."""
        clauses = [self._sources(rule, path + ".from"), self._operations(rule, path + ".to"), *self._conditions(rule, path + ".when")]
        return tuple(clause for clause in clauses if clause and Match() not in clause)

    def _sources(self, rule: PolicyRule, path: str) -> Clause:
        clause = []
        for position, one in self._entries(rule.from_, path):
            where = f"{path}.{position}.source"
            if one.source is not None and self._has_fields(one.source):
                self._check_accounts(one.source, where)
                clause.append(self._match(one.source, _SOURCE, where))
            else:
                self._refuse(where, Reason.CONTRADICTION, "a source with at least one field")
        return tuple(clause)

    def _operations(self, rule: PolicyRule, path: str) -> Clause:
        clause = []
        for position, one in self._entries(rule.to, path):
            where = f"{path}.{position}.operation"
            if one.operation is not None and self._has_fields(one.operation):
                clause.append(self._match(one.operation, _OPERATION, where))
            else:
                self._refuse(where, Reason.CONTRADICTION, "an operation with at least one field")
        return tuple(clause)

    def _conditions(self, rule: PolicyRule, path: str) -> Iterator[Clause]:
        for position, one in self._entries(rule.when, path):
            yield (self._condition(one, f"{path}.{position}"),)

    def _condition(self, when: When, path: str) -> Match:
        if not when.values and not when.not_values:
            self._refuse(path, Reason.CONTRADICTION, "values or notValues")
        if when.key in L4_CONDITIONS:
            target, read = L4_CONDITIONS[when.key]
            values = self._values(when.values, read, path + ".values")
            return Match(**{target: values, _NOT + target: self._values(when.not_values, read, path + ".notValues")})
        if _WAYPOINT_KEY.fullmatch(when.key):
            self.beyond_l4.append(f"{path}.key {shown(when.key)}")
        else:
            self._refuse(path + ".key", Reason.INVALID_VALUE, f"{shown(when.key)!r} is not a condition's key")
        return Match()

    def _match(self, part: Source | Operation, known: Mapping[str, tuple[str, _Reader]], path: str) -> Match:
        found: dict[str, Any] = {}
        for name, alias, values in _given(part):
            where = f"{path}.{alias}"
            positive = name.removeprefix(_NOT)
            if positive in known:
                target, read = known[positive]
                found[_NOT + target if name != positive else target] = self._values(values, read, where)
            else:
                self.beyond_l4.append(where)
        return Match(**found)

    def _values(self, values: tuple[str, ...], read: _Reader, path: str) -> Any:
        result = []
        for position, value in enumerate(values):
            try:
                result.append(read(value, self.namespace))
            except ValueError as expected:
                self._refuse(f"{path}.{position}", Reason.INVALID_VALUE, f"{shown(value)!r} is not {expected}")
        return tuple(result)

    def _check_accounts(self, source: Source, path: str) -> None:
        given = {name: alias for name, alias, _ in _given(source)}
        accounts, others = ([given[name] for name in names if name in given] for names in (_ACCOUNTS, _BESIDE_ACCOUNTS))
        if accounts and others:
            self._refuse(f"{path}.{accounts[0]}", Reason.CONTRADICTION, f"cannot stand beside {others[0]}")

    def _has_fields(self, part: Source | Operation) -> bool:
        """Fields that nobody knows are reported elsewhere."""
        return bool(part.model_extra) or any(_given(part))

    def _entries(self, entries: tuple[Any, ...] | None, path: str) -> Iterator[tuple[int, Any]]:
        if entries == ():
            self._refuse(path, Reason.CONTRADICTION, "at least one entry, or no such field")
        yield from enumerate(entries or ())

    def _refuse(self, path: str, reason: Reason, explanation: str) -> None:
        self.problems.append(Problem(path, reason, explanation))


def _given(part: PolicyPart) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yields each field that has values: its name here and in Kubernetes, and the values."""
    for name, info in type(part).model_fields.items():
        if values := getattr(part, name):
            yield name, info.alias or name, values
