"""Policies, and what became of them, as text that people can compare with the manifest."""

from collections.abc import Iterable, Mapping
from dataclasses import fields

from mesh.policy.conditions import Condition
from mesh.policy.model import Authorization, Match, Rule, ServiceAccountMatch, TextMatch


def render_policy(policy: Authorization | None, conditions: Iterable[Condition]) -> str:
    lines = ["  nothing at layer 4"] if policy is None else [*_policy(policy)]
    return "\n".join([*lines, *render_conditions(conditions)])


def render_conditions(conditions: Iterable[Condition]) -> list[str]:
    return [f"  {one.type} {one.status} {one.reason}: {one.message}" for one in conditions]


def render_listed(policies: Iterable[Authorization]) -> str:
    lines = [line for policy in policies for line in (f"  lists {policy.key}", *_policy(policy))]
    return "\n".join(lines or ["  lists nothing"])


def _policy(policy: Authorization) -> Iterable[str]:
    yield f"  {policy.action.name} {policy.scope.name}{' DRY RUN' if policy.dry_run else ''}"
    for rule in policy.rules:
        yield from _rule(rule)


def _rule(rule: Rule) -> Iterable[str]:
    if not rule:
        yield "  - everything"
    for number, clause in enumerate(rule):
        yield f"  {'and' if number else '-'} {' or '.join(f'({_match(one)})' for one in clause)}"


def _match(match: Match) -> str:
    values: Mapping[str, tuple[object, ...]] = {one.name: getattr(match, one.name) for one in fields(match)}
    return " ".join(f"{name}=[{' '.join(map(_value, found))}]" for name, found in values.items() if found)


def _value(value: object) -> str:
    if isinstance(value, TextMatch):
        return f"{value.kind.value}:{value.text}"
    return f"{value.namespace}/{value.name}" if isinstance(value, ServiceAccountMatch) else str(value)
