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
    path,
    trust_domain,
    trust_domains,
)

# Source: RFC 1123, as Kubernetes names namespaces.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# It is the first part of a workload's uid, before the first "/".
_CLUSTER_ID = re.compile(r"[A-Za-z0-9._-]{1,253}")
_DAY_S = 86_400
# What ends within seconds could not be renewed in time.
_LEAST_S = 10


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """Where the certificate authority comes from, and where what it stands for goes.

    Args:
        state_dir: the authority that the control plane makes itself is kept here.
        ca_dir: an authority that others made; None: the control plane makes its own.
        bundle_dir: the trust bundle and the revocation lists for the nodes are written here.
        max_lifetime: of any certificate that is signed.
        spread: until every node and every replica has acted on a change of the bundle; a rotation waits that long.
    """

    state_dir: Path
    ca_dir: Path | None
    bundle_dir: Path
    max_lifetime: dt.timedelta
    spread: dt.timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """What docs/runtime.md lists under ambient-controlplane.

    Args:
        manifests_dir: the source.
        token_key: file of the public key that verifies the nodes' tokens.
    """

    manifests_dir: Path
    authority: AuthoritySettings
    token_key: Path
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
    settings = Settings(
        manifests_dir=reader.read("MANIFESTS_DIR", None, path, "a directory of Kubernetes manifests"),
        authority=AuthoritySettings(
            state_dir=reader.read("STATE_DIR", None, path, "a directory to keep the authority's keys in"),
            ca_dir=reader.read_optional("CA_DIR", path, "a directory with ca-cert.pem, ca-key.pem and root-cert.pem"),
            bundle_dir=reader.read("BUNDLE_DIR", f"{env.get('STATE_DIR', '')}/bundle", path, "a directory for the nodes' trust bundle"),
            max_lifetime=reader.read("CERT_MAX_LIFETIME_S", "86400", _seconds_from(_LEAST_S), f"whole seconds, {_LEAST_S} to {_DAY_S}"),
            spread=reader.read("ROOT_SPREAD_S", "600", _seconds_from(1), f"whole seconds, 1 to {_DAY_S}"),
        ),
        token_key=reader.read("TOKEN_KEY", None, path, "a PEM file with the P-256 public key of the nodes' tokens"),
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


def _seconds_from(least: int) -> Callable[[str], dt.timedelta | None]:
    def convert(text: str) -> dt.timedelta | None:
        sound = re.fullmatch(r"[0-9]{1,5}", text) is not None and least <= int(text) <= _DAY_S
        return dt.timedelta(seconds=int(text)) if sound else None

    return convert
