"""The pair of Envoys that the mesh is measured against: plain TCP in, HBONE between them, plain TCP out.

Envoy's own defaults everywhere but for what HBONE needs (CONNECT, mutual TLS 1.3, ALPN h2), so that it is not held back by us.
Source: Envoy's documentation, "HTTP upgrades", tunnelling TCP over HTTP/2 CONNECT; API v3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TYPE = "type.googleapis.com/envoy."
CONNECT_TIMEOUT = "5s"
HBONE_PORT = 15008


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """Paths of PEM files."""

    certificate: Path
    private_key: Path
    roots: Path


def client(tunnel: str, listeners: Mapping[int, str], credentials: CredentialFiles, peer: str) -> dict[str, Any]:
    """Listens on loopback ports and carries each connection to its authority, through `tunnel` ("address:port")."""
    protocol = {
        "@type": TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}},
    }
    upstream = _cluster("tunnel", tunnel)
    upstream["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol}
    upstream["transport_socket"] = _tls("UpstreamTlsContext", _context(credentials, peer))
    inputs = [_listener(f"127.0.0.1:{port}", _tcp_proxy(authority)) for port, authority in listeners.items()]
    return {"static_resources": {"listeners": inputs, "clusters": [upstream]}}


def server(address: str, applications: Sequence[str], credentials: CredentialFiles, peer: str) -> dict[str, Any]:
    """Accepts HBONE on `address` and connects to the authority asked for, one of `applications` ("address:port")."""
    manager = {
        "@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "hbone",
        "codec_type": "HTTP2",
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [_connect_route(application) for application in applications]},
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "extensions.filters.http.router.v3.Router"}}],
    }
    listener = _listener(address, {"name": "http", "typed_config": manager})
    downstream = {"require_client_certificate": True, **_context(credentials, peer)}
    listener["filter_chains"][0]["transport_socket"] = _tls("DownstreamTlsContext", downstream)
    clusters = [_cluster(application, application) for application in applications]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def command(binary: Path, configuration: Path, base_id: int) -> list[str]:
    """Envoy's command line. `--concurrency` is left to Envoy: as many workers as the machine has cores."""
    return [str(binary), "-c", str(configuration), "--base-id", str(base_id), "-l", "warn"]


def _tcp_proxy(authority: str) -> dict[str, Any]:
    proxy = {
        "@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "captured",
        "cluster": "tunnel",
        "tunneling_config": {"hostname": authority},
    }
    return {"name": "tcp", "typed_config": proxy}


def _connect_route(application: str) -> dict[str, Any]:
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    route = {"match": {"connect_matcher": {}}, "route": {"cluster": application, "upgrade_configs": [upgrade]}}
    return {"name": application, "domains": [application], "routes": [route]}


def _listener(address: str, network_filter: dict[str, Any]) -> dict[str, Any]:
    return {"name": address, "address": _address(address), "filter_chains": [{"filters": [network_filter]}]}


def _cluster(name: str, address: str) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(address)}}]}]
    assignment = {"cluster_name": name, "endpoints": endpoints}
    return {"name": name, "type": "STATIC", "connect_timeout": CONNECT_TIMEOUT, "load_assignment": assignment}


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _tls(kind: str, context: dict[str, Any]) -> dict[str, Any]:
    return {"name": "tls", "typed_config": {"@type": f"{TYPE}extensions.transport_sockets.tls.v3.{kind}", **context}}


def _context(credentials: CredentialFiles, peer: str) -> dict[str, Any]:
    pair = {"certificate_chain": _file(credentials.certificate), "private_key": _file(credentials.private_key)}
    names = [{"san_type": "URI", "matcher": {"exact": peer}}]
    common = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [pair],
        "validation_context": {"trusted_ca": _file(credentials.roots), "match_typed_subject_alt_names": names},
    }
    return {"common_tls_context": common}


def _file(path: Path) -> dict[str, str]:
    return {"filename": str(path)}
