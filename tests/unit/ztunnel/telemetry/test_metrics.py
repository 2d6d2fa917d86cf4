"""What a scrape says: the ecosystem's names, live bytes, refusals, and no key of anybody's."""

import os

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.ztunnel.fakes import FakeEngine
from tests.unit.ztunnel.telemetry.test_access import STRANGER, TUNNEL, Log, story
from ztunnel.engine.interface import Counters
from ztunnel.telemetry.metrics import MeshCollector, make_registry, render
from ztunnel.telemetry.output import Output


class Scrape:
    def __init__(self) -> None:
        self.log, self.engine = Log(enabled=False), FakeEngine()
        self.drained = 0
        self.output = Output(os.open("/dev/null", os.O_WRONLY))
        self.registry = make_registry(
            MeshCollector(self.engine, self.log.reports, self.log.access, {"shop/a": 3}, self.output, "0.1.0", self._drain)
        )

    def _drain(self) -> None:
        self.drained += 1

    def value(self, name: str, **labels: str) -> float | None:
        families = text_string_to_metric_families(render(self.registry).decode())
        samples = (sample for family in families for sample in family.samples)
        found = [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]
        assert len(found) <= 1, f"{name} {labels} is ambiguous"
        return found[0] if found else None


def test_the_ecosystems_metrics() -> None:
    scrape = Scrape()
    story(scrape.log)
    number = scrape.log.reports.number(TUNNEL)
    scrape.engine.totals = {number: Counters(number, 1, 1, 1, 120, 4096)}
    labels = {"reporter": "source", "destination_workload": "web", "source_principal": "spiffe://cluster.local/ns/shop/sa/buyer"}
    assert scrape.value("istio_tcp_connections_opened_total", response_flags="-", **labels) == 1
    assert scrape.value("istio_tcp_connections_closed_total", response_flags="-", **labels) == 1
    assert scrape.value("istio_tcp_connections_closed_total", response_flags="CONNECT", **labels) == 1
    assert scrape.value("istio_tcp_sent_bytes_total", **labels) == 4096, "what the server answered"
    assert scrape.value("istio_tcp_received_bytes_total", **labels) == 120
    assert scrape.value("istio_tcp_connections_opened_total", connection_security_policy="mutual_tls", response_flags="-", **labels) == 1
    assert scrape.value("istio_tcp_connections_opened_total", destination_service="web.shop.svc.cluster.local", response_flags="-") == 1
    assert scrape.drained > 0


def test_bytes_of_open_connections_count() -> None:
    scrape = Scrape()
    story(scrape.log)
    number = scrape.log.reports.number(STRANGER)
    for sent in (10, 20):
        scrape.engine.totals = {number: Counters(number, 1, 0, 0, sent, 0)}
        assert scrape.value("istio_tcp_received_bytes_total", reporter="source", destination_workload="unknown") == sent


def test_what_is_our_own() -> None:
    scrape = Scrape()
    story(scrape.log)
    assert scrape.value("ztunnel_refused_total", listener="inbound_hbone", cause="tls_failure") == 1
    assert scrape.value("ztunnel_tunnels") == 2
    assert scrape.value("ztunnel_policy_dry_run_denied_total", policy="shop/a") == 3
    assert scrape.value("ztunnel_build_info", engine="fake", version="0.1.0") == 1
    assert scrape.value("ztunnel_log_dropped_lines_total") == 0
    resident = scrape.value("process_resident_memory_bytes")
    assert resident is not None
    assert resident > 1e6
