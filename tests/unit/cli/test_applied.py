"""What is said of objects that were applied."""

from cli.applied import applied_lines, judged, warnings
from cli.manifests import catalogue_of
from mesh.manifests import parse_manifests
from mesh.settings import MeshSettings

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, annotations: {{istio.io/dry-run: "{dry_run}"}}}}
spec: {{action: DENY, rules: [{{from: [{{source: {{{field}: [cluster.local/ns/a/sa/b]}}}}]}}]}}
"""
DEFAULT = "AuthorizationPolicy", "default"


def policy(name: str, field: str = "principals", dry_run: str = "false") -> str:
    return POLICY.format(name=name, field=field, dry_run=dry_run)


def test_objects_are_named_once_and_with_a_namespace_that_is_not_the_usual() -> None:
    keys = [("Pod", "default", "a"), ("Pod", "shop", "a"), ("Pod", "default", "a"), ("Namespace", "shop", "shop"), ("Node", "", "node1")]
    assert list(applied_lines(keys)) == ["pod/a applied", "pod/a in shop applied", "namespace/shop applied", "node/node1 applied"]


def test_only_what_has_a_status_is_judged() -> None:
    assert judged([("Pod", "default", "a"), (*DEFAULT, "a"), (*DEFAULT, "a")]) == ((*DEFAULT, "a"),)


def test_a_typo_is_named_and_what_it_leads_to() -> None:
    manifests = parse_manifests({"a.yaml": "---".join((policy("good"), policy("typo", "principal"), policy("later", dry_run="true")))})
    conditions = catalogue_of(manifests, MeshSettings()).conditions
    (warning,) = warnings([(*DEFAULT, "good"), (*DEFAULT, "typo"), (*DEFAULT, "later"), ("Pod", "default", "typo")], conditions)
    assert warning.startswith("authorizationpolicy/typo: not as it is written: spec.rules.0.from.0.source.principal: no such field; ")
    assert "denies everything" in warning
