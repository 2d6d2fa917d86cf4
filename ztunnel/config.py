"""ztunnel's settings: what docs/runtime.md names, read from the environment once, every mistake told at once."""

import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mesh.errors import ConfigError, ConfigErrors
from ztunnel.engine.interface import Endpoint

T = TypeVar("T")

ENGINES = ("auto", "python", "native")
LOG_FORMATS = ("plain", "json")
LOG_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# Kubernetes gives a pod 30 s to end; longer drains than an hour are a mistake in the unit.
MAX_DRAIN_S = 3600.0
# The authority signs for a day at most; what ends within seconds could not be renewed in time.
MIN_CERTIFICATE_LIFETIME_S, MAX_CERTIFICATE_LIFETIME_S = 10, 86_400


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
    reader = _Reader(env)
    settings = Settings(
        node=NodeSettings(
            name=reader.read("NODE_NAME", _word, None),
            trust_domain=reader.read("TRUST_DOMAIN", _word, "cluster.local"),
            cluster_id=reader.read("CLUSTER_ID", _word, "Kubernetes"),
            network=reader.read("NETWORK", str, ""),
            trust_domain_aliases=reader.read("TRUST_DOMAIN_ALIASES", _words, ""),
            root_namespace=reader.read("ROOT_NAMESPACE", _word, "istio-system"),
        ),
        control_plane=ControlPlaneSettings(
            xds=reader.read("XDS_ADDRESS", parse_endpoint, None),
            ca=reader.read("CA_ADDRESS", parse_endpoint, None),
            server_name=reader.read("XDS_SERVER_NAME", _word, "controlplane.ambient"),
            root_cert=reader.read("ROOT_CERT", _path, None),
            auth_token=reader.read("AUTH_TOKEN", _path, None),
            on_demand=reader.read("XDS_ON_DEMAND", _switch, "true"),
            crl_path=reader.read("CRL_PATH", _optional_path, ""),
            certificate_lifetime_s=reader.read("CERT_LIFETIME_S", _certificate_lifetime, str(MAX_CERTIFICATE_LIFETIME_S)),
        ),
        inpod_uds=reader.read("INPOD_UDS", _path, "/var/run/ztunnel/ztunnel.sock"),
        engine=reader.read("ENGINE", _one_of(ENGINES), "auto"),
        admin=AdminSettings(
            admin=reader.read("ADMIN_ADDR", parse_endpoint, "127.0.0.1:15000"),
            stats=reader.read("STATS_ADDR", parse_endpoint, "[::]:15020"),
            readiness=reader.read("READINESS_ADDR", parse_endpoint, "[::]:15021"),
        ),
        logs=LogSettings(
            format=reader.read("LOG_FORMAT", _one_of(LOG_FORMATS), "plain"),
            level=reader.read("LOG_LEVEL", _one_of(tuple(LOG_LEVELS)), "info"),
        ),
        drain_timeout_s=reader.read("DRAIN_TIMEOUT_S", _drain, "5"),
    )
    if reader.errors:
        raise ConfigErrors(tuple(reader.errors))
    return settings


def parse_endpoint(text: str) -> Endpoint:
    """Reads "host:port", "address:port" or "[v6 address]:port". Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
        raise ValueError("host:port with a port from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if not host or any(character in host for character in ":[]/ "):
        raise ValueError("host:port, an IPv6 address in brackets")
    return host, int(port)


class _Reader:
    """Reads settings one by one and keeps what is wrong with them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.errors: list[ConfigError] = []

    def read(self, key: str, convert: Callable[[str], T], default: str | None) -> T:
        """Returns the setting converted; after an error a value that nobody sees, for parse() raises."""
        text = self._env.get(key, default)
        if text is None:
            self.errors.append(ConfigError(key, None, "a value: it has no default"))
            return None  # type: ignore[return-value]
        try:
            return convert(text)
        except ValueError as error:
            self.errors.append(ConfigError(key, text, str(error)))
            return None  # type: ignore[return-value]


def _word(text: str) -> str:
    if not text or not text.isprintable() or any(character in text for character in " /"):
        raise ValueError("a name that is not empty, without spaces and '/'")
    return text


def _words(text: str) -> tuple[str, ...]:
    """Names with commas between them; "" is none."""
    return tuple(_word(word.strip()) for word in text.split(",")) if text else ()


def _path(text: str) -> Path:
    if not text:
        raise ValueError("a path")
    return Path(text)


def _optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def _switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("true or false")
    return text == "true"


def _drain(text: str) -> float:
    expected = f"seconds, from 0 to {MAX_DRAIN_S:.0f}"
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(expected) from None
    if not 0 <= seconds <= MAX_DRAIN_S:
        raise ValueError(expected)
    return seconds


def _certificate_lifetime(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not MIN_CERTIFICATE_LIFETIME_S <= int(text[:9]) <= MAX_CERTIFICATE_LIFETIME_S:
        raise ValueError(f"whole seconds, from {MIN_CERTIFICATE_LIFETIME_S} to {MAX_CERTIFICATE_LIFETIME_S}")
    return int(text)


def _one_of(values: tuple[str, ...]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in values:
            raise ValueError("one of " + ", ".join(values))
        return text

    return convert
