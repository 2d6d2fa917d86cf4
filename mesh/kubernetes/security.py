"""Istio's security API as far as layer 4 goes: AuthorizationPolicy and PeerAuthentication.

A policy that says what nobody understands must not vanish behind an error of its file: it is read as far as its types are right, what
is unknown is kept and can be listed, and mesh.policy says in its status what became of it. Wrong types are errors.
Source: istio/api, security/v1 and security/v1beta1 (the two are alike).
"""

from collections.abc import Iterator

from pydantic import ConfigDict, Field, StrictStr
from pydantic.alias_generators import to_camel

from mesh.kubernetes.fields import KubernetesObject, Metadata

Texts = tuple[StrictStr, ...]


class PolicyMetadata(Metadata):
    """creation_timestamp is RFC 3339 in UTC, to the second, as Kubernetes prints it; "" where nobody wrote one."""

    creation_timestamp: StrictStr = ""


class PolicyPart(KubernetesObject):
    """What stands in a policy's spec; unknown fields are kept.

    Fields are read by Kubernetes' spelling alone: one that Kubernetes does not know is to be reported, and not to take effect here.
    """

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, validate_by_name=False, validate_by_alias=True)

    def unknown_fields(self, path: str) -> Iterator[str]:
        """Yields the path of every field at any depth that is not in the schema; `path` is where this part stands."""
        for name in self.model_extra or {}:
            yield f"{path}.{name}"
        for name, field in type(self).model_fields.items():
            yield from _unknown_fields(getattr(self, name), f"{path}.{field.alias or name}")


def _unknown_fields(value: object, path: str) -> Iterator[str]:
    if isinstance(value, PolicyPart):
        yield from value.unknown_fields(path)
    elif isinstance(value, tuple):
        for position, one in enumerate(value):
            yield from _unknown_fields(one, f"{path}.{position}")
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _unknown_fields(one, f"{path}.{key}")


class WorkloadSelector(PolicyPart):
    match_labels: dict[StrictStr, StrictStr] = Field(default_factory=dict)


class TargetReference(PolicyPart):
    group: StrictStr = ""
    kind: StrictStr = ""
    name: StrictStr = ""
    namespace: StrictStr = ""


class Source(PolicyPart):
    principals: Texts = ()
    not_principals: Texts = ()
    request_principals: Texts = ()
    not_request_principals: Texts = ()
    namespaces: Texts = ()
    not_namespaces: Texts = ()
    service_accounts: Texts = ()
    not_service_accounts: Texts = ()
    ip_blocks: Texts = ()
    not_ip_blocks: Texts = ()
    remote_ip_blocks: Texts = ()
    not_remote_ip_blocks: Texts = ()
    trust_domains: Texts = ()
    not_trust_domains: Texts = ()


class Operation(PolicyPart):
    hosts: Texts = ()
    not_hosts: Texts = ()
    ports: Texts = ()
    not_ports: Texts = ()
    methods: Texts = ()
    not_methods: Texts = ()
    paths: Texts = ()
    not_paths: Texts = ()


class From(PolicyPart):
    source: Source | None = None


class To(PolicyPart):
    operation: Operation | None = None


class When(PolicyPart):
    key: StrictStr = ""
    values: Texts = ()
    not_values: Texts = ()


class PolicyRule(PolicyPart):
    """None: not given, so that it does not narrow the rule; an empty list is a contradiction."""

    from_: tuple[From, ...] | None = Field(default=None, alias="from")
    to: tuple[To, ...] | None = None
    when: tuple[When, ...] | None = None


class Provider(PolicyPart):
    name: StrictStr = ""


class AuthorizationPolicySpec(PolicyPart):
    selector: WorkloadSelector | None = None
    target_ref: TargetReference | None = None
    target_refs: tuple[TargetReference, ...] = ()
    action: StrictStr = "ALLOW"
    provider: Provider | None = None
    rules: tuple[PolicyRule, ...] = ()


class AuthorizationPolicy(KubernetesObject):
    metadata: PolicyMetadata
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()


class MutualTlsMode(PolicyPart):
    mode: StrictStr = "UNSET"


class PeerAuthenticationSpec(PolicyPart):
    """port_level_mtls is by the workload's port, in decimal."""

    selector: WorkloadSelector | None = None
    mtls: MutualTlsMode = MutualTlsMode()
    port_level_mtls: dict[StrictStr, MutualTlsMode] = Field(default_factory=dict)


class PeerAuthentication(KubernetesObject):
    metadata: PolicyMetadata
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()
