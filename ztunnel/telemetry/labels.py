"""What is said of a connection's two ends, and how it becomes fields of a log line and labels of a metric. Pure."""

from dataclasses import dataclass
from typing import Literal

from ztunnel.engine.interface import Cause

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a connection; "" for what is not known.

    Args:
        identity: SPIFFE URI, proven or expected.
    """

    pod: str = ""
    workload: str = ""
    namespace: str = ""
    canonical_service: str = ""
    canonical_revision: str = ""
    cluster: str = ""
    identity: str = ""


@dataclass(frozen=True, slots=True)
class ServiceName:
    """The service that was asked for; "" for what is not known."""

    hostname: str = ""
    name: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """What one report stands for.

    Args:
        reporter: which side of the connection this node is.
        hbone_address: the intended destination inside a tunnel, "" without one.
        secure: both identities are known to be true.
    """

    reporter: Literal["source", "destination"]
    source: Party
    destination: Party
    service: ServiceName = ServiceName()
    hbone_address: str = ""
    secure: bool = False


# Names and order are the ecosystem's; dashboards read them.
METRIC_LABELS = (
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "connection_security_policy",
)

# The ecosystem's flags; what has none of its own there ended as connections end.
_FLAGS = {
    Cause.CONNECT_REFUSED: "CONNECT",
    Cause.CONNECT_TIMEOUT: "CONNECT",
    Cause.CONNECT_UNREACHABLE: "CONNECT",
    Cause.TUNNEL_REFUSED: "CONNECT",
    Cause.BAD_AUTHORITY: "CONNECT",
    Cause.NO_UPSTREAM: "CONNECT",
    Cause.TLS_FAILURE: "TLS_FAILURE",
    Cause.H2_FAILURE: "H2_HANDSHAKE_FAILURE",
    Cause.DENIED: "DENY",
    Cause.CERTIFICATE_REVOKED: "CERT_REVOKED",
}


def response_flags(cause: Cause) -> str:
    return _FLAGS.get(cause, "-")


def metric_values(labels: Labels) -> tuple[str, ...]:
    """Returns the values of METRIC_LABELS."""
    service = labels.service
    values = (
        labels.reporter,
        *_party_values(labels.source),
        service.hostname,
        service.name,
        service.namespace,
        *_party_values(labels.destination),
        "tcp",
        "mutual_tls" if labels.secure else UNKNOWN,
    )
    return tuple(value or UNKNOWN for value in values)


def source_fields(labels: Labels) -> tuple[tuple[str, str | None], ...]:
    """Returns the fields of an access-log line between src.addr and dst.addr."""
    source = labels.source
    return ("src.workload", source.pod or None), ("src.namespace", source.namespace or None), ("src.identity", source.identity or None)


def destination_fields(labels: Labels) -> tuple[tuple[str, str | None], ...]:
    """Returns the fields of an access-log line after dst.addr."""
    destination = labels.destination
    return (
        ("dst.hbone_addr", labels.hbone_address or None),
        ("dst.service", labels.service.hostname or None),
        ("dst.workload", destination.pod or None),
        ("dst.namespace", destination.namespace or None),
        ("dst.identity", destination.identity or None),
        ("direction", "outbound" if labels.reporter == "source" else "inbound"),
    )


def _party_values(party: Party) -> tuple[str, ...]:
    return (
        party.workload,
        party.namespace,
        party.canonical_service,
        party.canonical_revision,
        party.identity,
        party.canonical_service,
        party.canonical_revision,
        party.cluster,
    )
