"""From an AuthorizationPolicy as it is written to what layer 4 enforces of it, and what its status says.

A policy that is not understood in full is never enforced in part. It is refused, and in its place stands what is safe: a DENY denies
everything to the workloads that it selects, an ALLOW keeps its selection and allows nothing. An action that nobody knows counts as DENY.
Fields that need HTTP are understood, and cannot be enforced here: an ALLOW rule that has one never matches, a DENY rule matches
without it, and so denies more than is written. The status says either.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.kubernetes.security import AuthorizationPolicy
from mesh.policy.conditions import Condition, ConditionType, Problem, Reason, accepted, listed, refused
from mesh.policy.limits import MAX_PARTS, count_parts
from mesh.policy.model import Authorization, PolicyAction, Rule
from mesh.policy.rules import RuleReader
from mesh.policy.selectors import scope_of
from mesh.policy.spec import WAYPOINT_ACTIONS, find_problems, is_dry_run
from mesh.settings import MeshSettings

_ACTIONS = {"ALLOW": PolicyAction.ALLOW, "DENY": PolicyAction.DENY}
_EVERYTHING: Rule = ()
_IN_DRY_RUN = "; in dry run, what it would deny is logged and let in"


@dataclass(frozen=True, slots=True)
class Converted:
    """Args:
    authorization: what the node proxies enforce; None: nothing, the policy is not for them.
    """

    authorization: Authorization | None
    conditions: tuple[Condition, ...]


def convert_policy(policy: AuthorizationPolicy, settings: MeshSettings) -> Converted:
    """Converts one policy. It never fails: what is wrong stands in the conditions.

    Source: Istio's reference of AuthorizationPolicy; how its node proxy takes HTTP fields.
    """
    spec = policy.spec
    reader = RuleReader(policy.metadata.namespace)
    rules = tuple(_read_rules(policy, reader))
    problems = [*find_problems(policy), *reader.problems]
    if count_parts(rules) > MAX_PARTS:
        problems.append(Problem("spec.rules", Reason.TOO_LARGE, f"more than {MAX_PARTS} rules, clauses and values"))
    targeted = spec.target_ref is not None or bool(spec.target_refs)
    if targeted and spec.selector is None:
        return Converted(None, _status_at_waypoint(problems))
    if spec.action in WAYPOINT_ACTIONS:
        unsupported = Problem("spec.action", Reason.UNSUPPORTED_VALUE, f"{spec.action} needs a waypoint: name one in targetRefs")
        return Converted(None, refused([*problems, unsupported], "nothing is enforced"))
    action = _ACTIONS.get(spec.action, PolicyAction.DENY)
    if problems:
        return Converted(_authorization(policy, settings, action, _instead(action)), refused(problems, _said_instead(action, policy)))
    return Converted(_authorization(policy, settings, action, rules), (accepted(), _enforcement(policy, rules, reader.beyond_l4)))


def _read_rules(policy: AuthorizationPolicy, reader: RuleReader) -> Iterator[Rule]:
    for position, one in enumerate(policy.spec.rules):
        before = len(reader.beyond_l4)
        rule = reader.read(one, f"spec.rules.{position}")
        if policy.spec.action != "ALLOW" or len(reader.beyond_l4) == before:
            yield rule


def _authorization(policy: AuthorizationPolicy, settings: MeshSettings, action: PolicyAction, rules: tuple[Rule, ...]) -> Authorization:
    scope = scope_of(policy, settings.root_namespace)
    return Authorization(policy.metadata.name, policy.metadata.namespace, scope, action, rules, is_dry_run(policy))


def _instead(action: PolicyAction) -> tuple[Rule, ...]:
    return () if action is PolicyAction.ALLOW else (_EVERYTHING,)


def _said_instead(action: PolicyAction, policy: AuthorizationPolicy) -> str:
    does = "allows nothing" if action is PolicyAction.ALLOW else "denies everything"
    return f"until it is repaired, it {does} to the workloads that it selects{_IN_DRY_RUN if is_dry_run(policy) else ''}"


def _status_at_waypoint(problems: list[Problem]) -> tuple[Condition, ...]:
    if problems:
        return refused(problems, "nothing is enforced: it is meant for a waypoint")
    message = "it is meant for a waypoint; node proxies enforce nothing of it"
    return accepted(), Condition(ConditionType.ENFORCED_AT_L4, False, Reason.TARGETS_WAYPOINT, message)


def _enforcement(policy: AuthorizationPolicy, rules: tuple[Rule, ...], beyond_l4: list[str]) -> Condition:
    status, reason, message = True, Reason.ENFORCED, "as it is written"
    if beyond_l4:
        status, reason = False, Reason.REQUIRES_WAYPOINT
        message = f"only a waypoint can enforce {listed(beyond_l4)}. {_without(policy.spec.action, rules)}"
    elif not rules:
        message = f"it has no rules, and so {'allows' if policy.spec.action == 'ALLOW' else 'denies'} nothing"
    if is_dry_run(policy):
        status, reason, message = False, Reason.DRY_RUN, message + _IN_DRY_RUN
    return Condition(ConditionType.ENFORCED_AT_L4, status, reason, message)


def _without(action: str, rules: tuple[Rule, ...]) -> str:
    """Says what is left of a policy without what only a waypoint can enforce."""
    if action == "DENY":
        return "Without that it denies " + ("everything" if _EVERYTHING in rules else "more than is written")
    return "A rule with that never matches" + ("" if rules else ", and no other is left: it allows nothing")
