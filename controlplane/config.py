"""The settings of the control plane, from its environment."""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.settings import (
    TRUST_DOMAIN,
    TRUST_DOMAINS,
    ListenAddress,
    LogFormat,
    SettingsReader,
    dns_name,
    listen_address,
    log_format,
    matching,
    one_of,
    path,
    trust_domain,
    trust_domains,
)

# Source: RFC 1123, as Kubernetes names namespaces.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ACCOUNT = re.compile(rf"{_NAMESPACE.pattern}/[a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?")
# It is the first part of a workload's uid, before the first "/".
_CLUSTER_ID = re.compile(r"[A-Za-z0-9._-]{1,253}")
_DAY_S = 86_400
# What ends within seconds could not be renewed in time.
_LEAST_S = 10


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """Where the certificate authority comes from, and where what it stands for goes.

    Args:
        ca_dir: an authority that others made; None: the control plane makes its own.
        max_lifetime: of any certificate that is signed.
        spread: until every node and every replica has acted on a change of the bundle; a rotation waits that long.
    """

    ca_dir: Path | None
    max_lifetime: dt.timedelta
    spread: dt.timedelta


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """SOURCE=directory: no Kubernetes is needed.

    Args:
        manifests_dir: what would be in the cluster.
        state_dir: the authority that the control plane makes itself is kept here.
        bundle_dir: the trust bundle and the revocation lists for the nodes are written here.
        token_key: file of the public key that verifies the nodes' tokens.
    """

    manifests_dir: Path
    state_dir: Path
    bundle_dir: Path
    token_key: Path


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """SOURCE=kubernetes.

    Args:
        kubeconfig: None: this process runs in a pod.
        namespace: where the authority's Secret, the trust bundle and the Lease are.
        pod_name: of this replica; no two have the same.
        node_proxy_accounts: the service accounts of node proxies, as "namespace/name".
    """

    kubeconfig: Path | None
    namespace: str
    pod_name: str
    node_proxy_accounts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Settings:
    """What docs/runtime.md lists under ambient-controlplane."""

    source: DirectorySettings | KubernetesSettings
    authority: AuthoritySettings
    listen: ListenAddress
    readiness: ListenAddress
    trust_domain: str
    trust_domain_aliases: tuple[str, ...]
    root_namespace: str
    cluster_id: str
    cluster_domain: str
    log_format: LogFormat


def parse(env: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Raises:
        ConfigErrors: everything that is wrong.
    """
    reader = SettingsReader(env)
    kubernetes = reader.read("SOURCE", "directory", one_of(("directory", "kubernetes")), "directory or kubernetes") == "kubernetes"
    settings = Settings(
        source=_read_kubernetes(reader) if kubernetes else _read_directory(reader, env),
        authority=AuthoritySettings(
            ca_dir=reader.read_optional("CA_DIR", path, "a directory with ca-cert.pem, ca-key.pem and root-cert.pem"),
            max_lifetime=reader.read("CERT_MAX_LIFETIME_S", "86400", _seconds_from(_LEAST_S), f"whole seconds, {_LEAST_S} to {_DAY_S}"),
            spread=reader.read("ROOT_SPREAD_S", "600", _seconds_from(1), f"whole seconds, 1 to {_DAY_S}"),
        ),
        listen=reader.read("LISTEN_ADDR", "[::]:15012", listen_address, "ADDRESS:PORT"),
        readiness=reader.read("READINESS_ADDR", "[::]:15021", listen_address, "ADDRESS:PORT"),
        trust_domain=reader.read("TRUST_DOMAIN", "cluster.local", trust_domain, TRUST_DOMAIN),
        trust_domain_aliases=reader.read("TRUST_DOMAIN_ALIASES", "", trust_domains, TRUST_DOMAINS),
        root_namespace=reader.read("ROOT_NAMESPACE", "istio-system", matching(_NAMESPACE), "the name of a namespace"),
        cluster_id=reader.read("CLUSTER_ID", "Kubernetes", matching(_CLUSTER_ID), "letters, digits, '.', '_' or '-'"),
        cluster_domain=reader.read("CLUSTER_DOMAIN", "cluster.local", dns_name, "a DNS name, such as cluster.local"),
        log_format=reader.read("LOG_FORMAT", "plain", log_format, "plain or json"),
    )
    reader.check()
    return settings


def _read_directory(reader: SettingsReader, env: Mapping[str, str]) -> DirectorySettings:
    return DirectorySettings(
        manifests_dir=reader.read("MANIFESTS_DIR", None, path, "a directory of Kubernetes manifests"),
        state_dir=reader.read("STATE_DIR", None, path, "a directory to keep the authority's keys in"),
        bundle_dir=reader.read("BUNDLE_DIR", f"{env.get('STATE_DIR', '')}/bundle", path, "a directory for the nodes' trust bundle"),
        token_key=reader.read("TOKEN_KEY", None, path, "a PEM file with the P-256 public key of the nodes' tokens"),
    )


def _read_kubernetes(reader: SettingsReader) -> KubernetesSettings:
    return KubernetesSettings(
        kubeconfig=reader.read_optional("KUBECONFIG", path, "a kubeconfig file"),
        namespace=reader.read("POD_NAMESPACE", None, matching(_NAMESPACE), "the namespace of this pod"),
        pod_name=reader.read("POD_NAME", None, dns_name, "the name of this pod"),
        node_proxy_accounts=reader.read("NODE_PROXY_ACCOUNTS", None, _accounts, "namespace/name,... of the node proxies' service accounts"),
    )


def _accounts(text: str) -> frozenset[str] | None:
    accounts = [one.strip() for one in text.split(",")]
    return frozenset(accounts) if all(_ACCOUNT.fullmatch(one) for one in accounts) else None


def _seconds_from(least: int) -> Callable[[str], dt.timedelta | None]:
    def convert(text: str) -> dt.timedelta | None:
        sound = re.fullmatch(r"[0-9]{1,5}", text) is not None and least <= int(text) <= _DAY_S
        return dt.timedelta(seconds=int(text)) if sound else None

    return convert
