"""What /metrics says: rendered when it is asked for, from the books; nothing is counted twice on the byte path."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ztunnel.engine.interface import Engine, EngineState
from ztunnel.telemetry.access import AccessLog
from ztunnel.telemetry.labels import METRIC_LABELS
from ztunnel.telemetry.output import Output
from ztunnel.telemetry.reports import Reports, Series, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABELS = (*METRIC_LABELS, "response_flags")


class MeshCollector(Collector):
    """Reads the engine and the books.

    Args:
        dry_run: by policy, how many decisions let in what it would have refused.
        drain: handles what the engine has noticed so far, so that counts and bytes are of one moment.
    """

    def __init__(
        self,
        engine: Engine,
        reports: Reports,
        access: AccessLog,
        dry_run: Mapping[str, int],
        output: Output,
        version: str,
        drain: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._reports = reports
        self._access = access
        self._dry_run = dry_run
        self._output = output
        self._version = version
        self._drain = drain

    def describe(self) -> list[Metric]:
        """Nothing at registration: collecting needs a running engine."""
        return []

    def collect(self) -> Iterator[Metric]:
        self._drain()
        yield from _connections(self._reports.totals(self._engine.counters()))
        yield from _state(self._engine.state())
        refused = CounterMetricFamily("ztunnel_refused", "Turned away before a decision.", labels=("listener", "cause"))
        for key, count in self._access.refused.items():
            refused.add_metric(key, count)
        yield refused
        would_deny = CounterMetricFamily(
            "ztunnel_policy_dry_run_denied", "Decisions that a policy in dry run would have turned into refusals.", labels=("policy",)
        )
        for policy, count in self._dry_run.items():
            would_deny.add_metric((policy,), count)
        yield would_deny
        yield CounterMetricFamily("ztunnel_log_dropped_lines", "Log lines that nobody read in time.", value=self._output.dropped_lines)
        yield GaugeMetricFamily("ztunnel_reports", "Kinds of connections that are told apart.", value=len(self._reports))
        yield InfoMetricFamily("ztunnel_build", "What runs.", value={"version": self._version, "engine": self._engine.name})


def make_registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry) -> bytes:
    return generate_latest(registry)


def _connections(totals: Mapping[Series, Totals]) -> Iterator[Metric]:
    opened = CounterMetricFamily("istio_tcp_connections_opened", "TCP connections opened.", labels=_LABELS)
    closed = CounterMetricFamily("istio_tcp_connections_closed", "TCP connections closed.", labels=_LABELS)
    sent = CounterMetricFamily("istio_tcp_sent_bytes", "Bytes that the server sent.", labels=_LABELS)
    received = CounterMetricFamily("istio_tcp_received_bytes", "Bytes that the server received.", labels=_LABELS)
    for series, total in totals.items():
        for family, counts in ((opened, total.opened), (closed, total.closed)):
            for flags, count in counts.items():
                family.add_metric((*series, flags), count)
        if "-" in total.opened:
            sent.add_metric((*series, "-"), total.sent_bytes)
            received.add_metric((*series, "-"), total.received_bytes)
    yield from (opened, closed, sent, received)


def _state(state: EngineState) -> Iterator[Metric]:
    for name, value, meaning in (
        ("pods", state.pods, "Pods served."),
        ("connections", state.connections, "Connections open."),
        ("tunnels", state.tunnels, "Tunnels open."),
        ("flows", state.flows, "Decisions cached."),
        ("buffered_bytes", state.buffered_bytes, "Bytes held for slow readers."),
    ):
        yield GaugeMetricFamily(f"ztunnel_{name}", meaning, value=value)
