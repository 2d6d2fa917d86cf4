"""Settings: defaults, every mistake at once, endpoints."""

from pathlib import Path

import pytest

from mesh.errors import ConfigErrors
from ztunnel.config import parse, parse_endpoint

REQUIRED = {
    "NODE_NAME": "n1",
    "XDS_ADDRESS": "172.30.0.1:15012",
    "CA_ADDRESS": "[fd00::1]:15012",
    "ROOT_CERT": "/etc/root.pem",
    "AUTH_TOKEN": "/run/token",
}


def test_defaults_are_those_of_the_runtime_contract() -> None:
    settings = parse(REQUIRED)
    assert (settings.node.trust_domain, settings.node.cluster_id, settings.node.network) == ("cluster.local", "Kubernetes", "")
    assert settings.control_plane.xds == ("172.30.0.1", 15012)
    assert settings.control_plane.ca == ("fd00::1", 15012)
    assert settings.control_plane.server_name == "controlplane.ambient"
    assert settings.control_plane.on_demand
    assert settings.inpod_uds == Path("/var/run/ztunnel/ztunnel.sock")
    assert (settings.admin.admin, settings.admin.stats, settings.admin.readiness) == (("127.0.0.1", 15000), ("::", 15020), ("::", 15021))
    assert (settings.engine, settings.logs.format, settings.logs.level, settings.drain_timeout_s) == ("auto", "plain", "info", 5.0)


def test_who_is_trusted_and_for_how_long_certificates_are_asked() -> None:
    settings = parse(REQUIRED)
    assert settings.node.trust_domain_aliases == ()
    assert (settings.control_plane.crl_path, settings.control_plane.certificate_lifetime_s) == (None, 86_400)
    given = {"TRUST_DOMAIN_ALIASES": "old.example, older.example", "CRL_PATH": "/etc/crl.pem", "CERT_LIFETIME_S": "20"}
    settings = parse({**REQUIRED, **given})
    assert settings.node.trust_domain_aliases == ("old.example", "older.example")
    assert (settings.control_plane.crl_path, settings.control_plane.certificate_lifetime_s) == (Path("/etc/crl.pem"), 20)


def test_every_mistake_is_told_at_once() -> None:
    wrong = {
        "XDS_ADDRESS": "nowhere",
        "XDS_ON_DEMAND": "yes",
        "ENGINE": "steam",
        "LOG_LEVEL": "loud",
        "DRAIN_TIMEOUT_S": "-1",
        "TRUST_DOMAIN": "a b",
        "TRUST_DOMAIN_ALIASES": "old.example,",
        "CERT_LIFETIME_S": "86401",
    }
    with pytest.raises(ConfigErrors) as caught:
        parse(wrong)
    keys = {error.key for error in caught.value.errors}
    assert keys == {"NODE_NAME", "CA_ADDRESS", "ROOT_CERT", "AUTH_TOKEN", *wrong}
    assert "ENGINE: 'steam': expected one of auto, python, native" in str(caught.value)


@pytest.mark.parametrize("seconds", ["nan", "inf", "3601", "", "5s"])
def test_a_drain_time_is_bounded(seconds: str) -> None:
    with pytest.raises(ConfigErrors, match="DRAIN_TIMEOUT_S"):
        parse({**REQUIRED, "DRAIN_TIMEOUT_S": seconds})


@pytest.mark.parametrize("seconds", ["", "9", "86401", "-20", "20.5", "1e3", "٢٠", "9" * 5000])
def test_a_certificate_s_lifetime_is_bounded(seconds: str) -> None:
    with pytest.raises(ConfigErrors, match="CERT_LIFETIME_S"):
        parse({**REQUIRED, "CERT_LIFETIME_S": seconds})


@pytest.mark.parametrize(
    "text", ["", ":80", "host", "host:", "host:0", "host:65536", "host:+1", "::1:80", "[::1]", "[::x]:80", "a/b:80", "h:٣"]
)
def test_what_is_no_endpoint(text: str) -> None:
    assert parse_endpoint(text) is None


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("istiod.istio-system.svc:15012", ("istiod.istio-system.svc", 15012)),
        ("[::]:15020", ("::", 15020)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
    ],
)
def test_what_is_one(text: str, endpoint: tuple[str, int]) -> None:
    assert parse_endpoint(text) == endpoint
