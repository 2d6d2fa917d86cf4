"""The configurations of the Envoys: HBONE's demands, and one route per application."""

from pathlib import Path
from typing import Any

from bench.envoy import CredentialFiles, client, server

FILES = CredentialFiles(Path("/c"), Path("/k"), Path("/r"))


def tls_of(configuration: dict[str, Any]) -> dict[str, Any]:
    context: dict[str, Any] = configuration["transport_socket"]["typed_config"]["common_tls_context"]
    return context


def test_client_carries_each_port_to_its_authority() -> None:
    resources = client("10.0.0.2:16008", {7080: "10.0.0.2:80", 7201: "10.0.0.2:5201"}, FILES, "spiffe://t/ns/n/sa/s")["static_resources"]
    ports = [listener["address"]["socket_address"] for listener in resources["listeners"]]
    assert ports == [{"address": "127.0.0.1", "port_value": 7080}, {"address": "127.0.0.1", "port_value": 7201}]
    authorities = [
        listener["filter_chains"][0]["filters"][0]["typed_config"]["tunneling_config"]["hostname"] for listener in resources["listeners"]
    ]
    assert authorities == ["10.0.0.2:80", "10.0.0.2:5201"]
    assert tls_of(resources["clusters"][0])["alpn_protocols"] == ["h2"]


def test_both_ends_prove_themselves_with_tls_1_3() -> None:
    outbound = client("10.0.0.2:16008", {7080: "10.0.0.2:80"}, FILES, "spiffe://server")["static_resources"]["clusters"][0]
    chain = server("10.0.0.2:16008", ["10.0.0.2:80"], FILES, "spiffe://client")["static_resources"]["listeners"][0]["filter_chains"][0]
    assert chain["transport_socket"]["typed_config"]["require_client_certificate"] is True
    for side, peer in ((outbound, "spiffe://server"), (chain, "spiffe://client")):
        context = tls_of(side)
        assert context["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
        assert context["validation_context"]["match_typed_subject_alt_names"] == [{"san_type": "URI", "matcher": {"exact": peer}}]


def test_server_reaches_its_applications_and_nothing_else() -> None:
    resources = server("10.0.0.2:16008", ["10.0.0.2:80", "10.0.0.2:5201"], FILES, "spiffe://client")["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    hosts = manager["route_config"]["virtual_hosts"]
    assert [host["domains"] for host in hosts] == [["10.0.0.2:80"], ["10.0.0.2:5201"]]
    assert [host["routes"][0]["route"]["cluster"] for host in hosts] == [cluster["name"] for cluster in resources["clusters"]]
