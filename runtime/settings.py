"""Reads settings, one by one, from an environment that is handed in; what is wrong with them is told all at once.

Imports nothing heavy: ztunnel reads its settings before OpenSSL may be loaded.
"""

import enum
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from mesh.errors import ConfigError, ConfigErrors

_T = TypeVar("_T")
# Source: Kubernetes, "Object Names and IDs": a DNS subdomain.
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Source: SPIFFE-ID standard, section 2.1.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_HOST_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})")

# What is expected where a trust domain, or some, is to be named.
TRUST_DOMAIN = "a SPIFFE trust domain, such as cluster.local"
TRUST_DOMAINS = "SPIFFE trust domains, comma-separated"


class LogFormat(enum.Enum):
    """`plain` is for people, `json` for machines."""

    PLAIN = "plain"
    JSON = "json"


class ListenAddress(NamedTuple):
    """Where to listen: "::" is every address of both families; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SettingsReader:
    """Args:
    env: the environment; nothing else is read.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._errors: list[ConfigError] = []

    def read(self, key: str, default: str | None, convert: Callable[[str], _T | None], expected: str) -> _T:
        """Returns one setting; where it is wrong, a value that nobody may look at before `check`.

        Args:
            default: None: the setting must be given.
            convert: returns None for a text that is no such value.
            expected: what is said to whoever gave none, or another.
        """
        text = self._env.get(key, default)
        value = convert(text) if text is not None else None
        if value is None:
            self._errors.append(ConfigError(key, text, expected))
        return value  # type: ignore[return-value]  # None is never used: `check` raises first

    def read_optional(self, key: str, convert: Callable[[str], _T | None], expected: str) -> _T | None:
        """Returns one setting; None: it is not given, or empty."""
        return self.read(key, None, convert, expected) if self._env.get(key) else None

    def check(self) -> None:
        """Raises ConfigErrors: everything that was wrong."""
        if self._errors:
            raise ConfigErrors(tuple(self._errors))


def path(text: str) -> Path | None:
    return Path(text) if text and "\0" not in text else None


def dns_name(text: str) -> str | None:
    return text if _DNS_NAME.fullmatch(text) else None


def trust_domain(text: str) -> str | None:
    return text if _TRUST_DOMAIN.fullmatch(text) else None


def trust_domains(text: str) -> tuple[str, ...] | None:
    """Trust domains with commas between them; "" is none."""
    domains = tuple(trust_domain(one.strip()) for one in text.split(",")) if text else ()
    sound = tuple(one for one in domains if one is not None)
    return sound if len(sound) == len(domains) else None


def matching(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    return lambda text: text if pattern.fullmatch(text) else None


def one_of(values: tuple[str, ...]) -> Callable[[str], str | None]:
    return lambda text: text if text in values else None


def listen_address(text: str) -> ListenAddress | None:
    """Reads ADDRESS:PORT, an IPv6 address in brackets; no address is every address."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        return None
    return ListenAddress(match[1] or match[2] or "::", int(match[3]))


def log_format(text: str) -> LogFormat | None:
    return next((one for one in LogFormat if one.value == text), None)
