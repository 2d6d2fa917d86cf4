"""ztunnel's settings: what docs/runtime.md names, read from the environment once, every mistake told at once."""

import ipaddress
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.settings import TRUST_DOMAIN, TRUST_DOMAINS, SettingsReader, one_of, path, trust_domain, trust_domains
from ztunnel.engine.interface import Endpoint

ENGINES = ("auto", "python", "native")
LOG_FORMATS = ("plain", "json")
LOG_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# Kubernetes gives a pod 30 s to end; longer drains than an hour are a mistake in the unit.
MAX_DRAIN_S = 3600.0
# The authority signs for a day at most; what ends within seconds could not be renewed in time.
MIN_CERTIFICATE_LIFETIME_S, MAX_CERTIFICATE_LIFETIME_S = 10, 86_400

# What is said of several settings when they are wrong.
_NAME = "a name that is not empty, without spaces and '/'"
_ENDPOINT = "host:port with a port from 1 to 65535, an IPv6 address in brackets"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Where this ztunnel stands in the mesh: the name of its node, its network, and whom it trusts.

    Args:
        trust_domain_aliases: peers of these domains are accepted as if they were of `trust_domain`.
        root_namespace: of policies that hold for the whole mesh.
    """

    name: str
    trust_domain: str
    cluster_id: str
    network: str
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"


@dataclass(frozen=True, slots=True)
class ControlPlaneSettings:
    """How the control plane is reached and believed.

    Args:
        server_name: the name that its certificate must carry.
        root_cert, auth_token: files, read anew whenever they are needed.
        on_demand: subscribe to what is asked for; otherwise to everything.
        crl_path: file of revocation lists, watched; None: there are none.
        certificate_lifetime_s: asked for when a certificate is signed.
    """

    xds: Endpoint
    ca: Endpoint
    server_name: str
    root_cert: Path
    auth_token: Path
    on_demand: bool
    crl_path: Path | None = None
    certificate_lifetime_s: int = MAX_CERTIFICATE_LIFETIME_S


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Where the admin page, the metrics and the readiness probe are served."""

    admin: Endpoint
    stats: Endpoint
    readiness: Endpoint


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`format`: "plain" or "json"; `level`: a key of LOG_LEVELS."""

    format: str
    level: str


@dataclass(frozen=True, slots=True)
class Settings:
    node: NodeSettings
    control_plane: ControlPlaneSettings
    inpod_uds: Path
    engine: str
    admin: AdminSettings
    logs: LogSettings
    drain_timeout_s: float


def parse(env: Mapping[str, str]) -> Settings:
    """Reads all settings.

    Raises:
        ConfigErrors: one ConfigError for each setting that is missing or wrong.
    """
    reader = SettingsReader(env)
    settings = Settings(
        node=NodeSettings(
            name=reader.read("NODE_NAME", None, _word, _NAME),
            trust_domain=reader.read("TRUST_DOMAIN", "cluster.local", trust_domain, TRUST_DOMAIN),
            cluster_id=reader.read("CLUSTER_ID", "Kubernetes", _word, _NAME),
            network=reader.read("NETWORK", "", str, "a name, or nothing"),
            trust_domain_aliases=reader.read("TRUST_DOMAIN_ALIASES", "", trust_domains, TRUST_DOMAINS),
            root_namespace=reader.read("ROOT_NAMESPACE", "istio-system", _word, _NAME),
        ),
        control_plane=ControlPlaneSettings(
            xds=reader.read("XDS_ADDRESS", None, parse_endpoint, _ENDPOINT),
            ca=reader.read("CA_ADDRESS", None, parse_endpoint, _ENDPOINT),
            server_name=reader.read("XDS_SERVER_NAME", "controlplane.ambient", _word, _NAME),
            root_cert=reader.read("ROOT_CERT", None, path, "a path"),
            auth_token=reader.read("AUTH_TOKEN", None, path, "a path"),
            on_demand=reader.read("XDS_ON_DEMAND", "true", _switch, "true or false"),
            crl_path=reader.read_optional("CRL_PATH", path, "a path"),
            certificate_lifetime_s=reader.read(
                "CERT_LIFETIME_S",
                str(MAX_CERTIFICATE_LIFETIME_S),
                _certificate_lifetime,
                f"whole seconds, from {MIN_CERTIFICATE_LIFETIME_S} to {MAX_CERTIFICATE_LIFETIME_S}",
            ),
        ),
        inpod_uds=reader.read("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock", path, "a path"),
        engine=reader.read("ENGINE", "auto", one_of(ENGINES), "one of " + ", ".join(ENGINES)),
        admin=AdminSettings(
            admin=reader.read("ADMIN_ADDR", "127.0.0.1:15000", parse_endpoint, _ENDPOINT),
            stats=reader.read("STATS_ADDR", "[::]:15020", parse_endpoint, _ENDPOINT),
            readiness=reader.read("READINESS_ADDR", "[::]:15021", parse_endpoint, _ENDPOINT),
        ),
        logs=LogSettings(
            format=reader.read("LOG_FORMAT", "plain", one_of(LOG_FORMATS), "one of " + ", ".join(LOG_FORMATS)),
            level=reader.read("LOG_LEVEL", "info", one_of(tuple(LOG_LEVELS)), "one of " + ", ".join(LOG_LEVELS)),
        ),
        drain_timeout_s=reader.read("DRAIN_TIMEOUT_S", "5", _drain, f"seconds, from 0 to {MAX_DRAIN_S:.0f}"),
    )
    reader.check()
    return settings


def parse_endpoint(text: str) -> Endpoint | None:
    """Reads "host:port", "address:port" or "[v6 address]:port"; port 0 is none."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
        return None
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        except ValueError:
            return None
    return (host, int(port)) if host and not any(character in host for character in ":[]/ ") else None


def _word(text: str) -> str | None:
    return text if text.isprintable() and not any(character in text for character in " /") and text else None


def _switch(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _drain(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= MAX_DRAIN_S else None


def _certificate_lifetime(text: str) -> int | None:
    # No day has more digits; int() would take its time with a long number.
    sound = text.isascii() and text.isdigit() and MIN_CERTIFICATE_LIFETIME_S <= int(text[:9]) <= MAX_CERTIFICATE_LIFETIME_S
    return int(text) if sound else None
