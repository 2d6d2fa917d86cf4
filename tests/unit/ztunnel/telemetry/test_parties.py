"""Labels from the model."""

from tests.unit.ztunnel.fakes import service, store_of, workload
from ztunnel.telemetry.labels import ServiceName
from ztunnel.telemetry.parties import baggage, inbound_service, party

WEB = "shop/web.shop.svc.cluster.local"


def test_a_workload_is_called_by_its_controller_where_it_has_one() -> None:
    assert party(workload("web-7d4-x", "10.0.0.1", workload_name="web")).workload == "web"
    assert party(workload("web-7d4-x", "10.0.0.1")).workload == "web-7d4-x"


def test_the_identity_can_be_withheld() -> None:
    assert party(workload("a", "10.0.0.1")).identity == "spiffe://cluster.local/ns/shop/sa/default"
    assert party(workload("a", "10.0.0.1"), identity="").identity == ""


def test_baggage_cannot_be_forged_by_a_name() -> None:
    text = baggage(workload("a", "10.0.0.1", canonical_revision="v1,k8s.namespace.name=admin;é"))
    assert text.count("k8s.namespace.name=") == 1
    assert text.isascii()
    assert "," not in text.partition("service.version=")[2]


def test_the_service_of_an_inbound_port() -> None:
    web = service("web", "10.96.0.1")
    store = store_of(web)
    backed = workload("a", "10.0.0.1", services={WEB: {80: 8080}})
    assert inbound_service(backed, 8080, store.service) == ServiceName(web.hostname, "web", "shop")
    assert inbound_service(backed, 9090, store.service) == ServiceName()
    twice = workload("a", "10.0.0.1", services={WEB: {80: 8080}, "shop/other": {80: 8080}})
    assert inbound_service(twice, 8080, store.service) == ServiceName(), "the connection does not say which"
