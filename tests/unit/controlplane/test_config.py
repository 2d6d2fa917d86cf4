"""The settings: what is read, and every error at once."""

import datetime as dt
from pathlib import Path

import pytest

from controlplane.config import AuthoritySettings, DirectorySettings, KubernetesSettings, Settings, parse
from mesh.errors import ConfigErrors
from runtime.settings import ListenAddress, LogFormat

REQUIRED = {"MANIFESTS_DIR": "/m", "STATE_DIR": "/s", "TOKEN_KEY": "/k"}


def test_defaults() -> None:
    assert parse(REQUIRED) == Settings(
        source=DirectorySettings(Path("/m"), Path("/s"), Path("/s/bundle"), Path("/k")),
        authority=AuthoritySettings(None, dt.timedelta(days=1), dt.timedelta(minutes=10)),
        listen=ListenAddress("::", 15012),
        readiness=ListenAddress("::", 15021),
        trust_domain="cluster.local",
        trust_domain_aliases=(),
        root_namespace="istio-system",
        cluster_id="Kubernetes",
        cluster_domain="cluster.local",
        log_format=LogFormat.PLAIN,
    )


def test_an_authority_of_others() -> None:
    settings = parse({**REQUIRED, "CA_DIR": "/ca", "BUNDLE_DIR": "/b", "CERT_MAX_LIFETIME_S": "20", "ROOT_SPREAD_S": "3"})
    assert settings.authority == AuthoritySettings(Path("/ca"), dt.timedelta(seconds=20), dt.timedelta(seconds=3))
    assert settings.source == DirectorySettings(Path("/m"), Path("/s"), Path("/b"), Path("/k"))


IN_KUBERNETES = {"SOURCE": "kubernetes", "POD_NAMESPACE": "mesh", "POD_NAME": "plane-1", "NODE_PROXY_ACCOUNTS": "mesh/ambient, mesh/other"}


def test_kubernetes() -> None:
    accounts = frozenset(("mesh/ambient", "mesh/other"))
    assert parse(IN_KUBERNETES).source == KubernetesSettings(None, "mesh", "plane-1", accounts)
    assert parse({**IN_KUBERNETES, "KUBECONFIG": "/k"}).source == KubernetesSettings(Path("/k"), "mesh", "plane-1", accounts)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOURCE", "cluster"),
        ("POD_NAMESPACE", ""),
        ("POD_NAME", "a/b"),
        *[("NODE_PROXY_ACCOUNTS", one) for one in ("", "a", "a/b,", "a/b/c")],
    ],
)
def test_what_kubernetes_needs(key: str, value: str) -> None:
    with pytest.raises(ConfigErrors) as wrong:
        parse({**IN_KUBERNETES, **({"MANIFESTS_DIR": "/m", "STATE_DIR": "/s", "TOKEN_KEY": "/k"} if key == "SOURCE" else {}), key: value})
    assert [error.key for error in wrong.value.errors] == [key]


def test_older_trust_domains_and_the_root_namespace() -> None:
    settings = parse({**REQUIRED, "TRUST_DOMAIN_ALIASES": "old.example,older.example", "ROOT_NAMESPACE": "mesh"})
    assert (settings.trust_domain_aliases, settings.root_namespace) == (("old.example", "older.example"), "mesh")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("[::]:1", "::", 1), (":15012", "::", 15012), ("127.0.0.1:0", "127.0.0.1", 0), ("[fd00::1]:65535", "fd00::1", 65535)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse({**REQUIRED, "LISTEN_ADDR": text}).listen == ListenAddress(host, port)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("LISTEN_ADDR", "15012"),
        ("LISTEN_ADDR", "[::]:65536"),
        ("LISTEN_ADDR", "::1:80"),
        ("READINESS_ADDR", ""),
        ("TRUST_DOMAIN", "a/b"),
        ("TRUST_DOMAIN", ""),
        ("TRUST_DOMAIN_ALIASES", "old.example,"),
        ("TRUST_DOMAIN_ALIASES", "a/b"),
        ("ROOT_NAMESPACE", "a/b"),
        ("CLUSTER_ID", "a/b"),
        ("CLUSTER_DOMAIN", "-x"),
        ("LOG_FORMAT", "xml"),
        ("STATE_DIR", ""),
        ("BUNDLE_DIR", ""),
        ("CA_DIR", "a\0b"),
        ("CERT_MAX_LIFETIME_S", "9"),
        ("CERT_MAX_LIFETIME_S", "86401"),
        ("ROOT_SPREAD_S", "0"),
        ("ROOT_SPREAD_S", "1m"),
        ("TOKEN_KEY", "a\0b"),
    ],
)
def test_wrong_values(key: str, value: str) -> None:
    with pytest.raises(ConfigErrors) as wrong:
        parse({**REQUIRED, key: value})
    assert [(error.key, error.value) for error in wrong.value.errors] == [(key, value)]


def test_all_errors_at_once() -> None:
    with pytest.raises(ConfigErrors) as wrong:
        parse({"LISTEN_ADDR": "nowhere", "LOG_FORMAT": "xml"})
    assert [error.key for error in wrong.value.errors] == ["MANIFESTS_DIR", "STATE_DIR", "TOKEN_KEY", "LISTEN_ADDR", "LOG_FORMAT"]
