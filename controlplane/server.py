"""The control plane as a whole: source, discovery, certificates and readiness, started and stopped together."""

import asyncio
import datetime as dt
from dataclasses import dataclass

import grpc
import structlog
from envoy.service.discovery.v3 import ads_pb2_grpc  # type: ignore[import-untyped]  # xds-protos has no types

from controlplane.certificates import CertificateService
from controlplane.config import ListenAddress, Settings
from controlplane.feed import SnapshotFeed
from controlplane.readiness import ReadinessServer
from controlplane.root_store import load_or_create_root
from controlplane.server_certificate import ServerCertificate
from controlplane.source import ManifestDirectory
from controlplane.tokens import load_token_key
from controlplane.xds import DiscoveryService
from mesh.errors import ConfigError
from mesh.manifests import Manifests
from mesh.snapshot import build_snapshot
from mesh.wire import ca_pb2_grpc

_log = structlog.get_logger()
# Streams are for ever, certificate calls take milliseconds: after this the rest is cut.
STOP_GRACE_S = 1.0
# One stream for each node, and a burst of certificate calls.
MAX_CALLS = 4096
_OPTIONS = (
    # Nodes that vanished without a word free their streams within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A node proxy pings every 10 s. Source: HBONE and xDS connections of istio/ztunnel.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    # Two control planes on one port would each serve half of the nodes.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that are listened on; they differ from the settings where those say 0."""

    grpc: int
    readiness: int


class ControlPlane:
    """Runs from `start` to `stop`; `follow_source` is to run in between.

    Raises (constructor):
        ConfigError, OSError: the token key or the root cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._feed = SnapshotFeed()
        token_key = load_token_key(_read(settings), "TOKEN_KEY")
        root = load_or_create_root(settings.authority.state_dir, _now())
        self._credentials = ServerCertificate(root, _now).credentials()
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(DiscoveryService(self._feed, token_key), self._server)
        ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(CertificateService(root, self._feed, token_key, _now), self._server)
        self._readiness = ReadinessServer(lambda: self._feed.snapshot is not None)

    async def start(self) -> Ports:
        """Listens.

        Raises:
            ConfigError: an address cannot be had.
        """
        address = self._settings.listen
        try:
            port = self._server.add_secure_port(str(address), self._credentials)
        except RuntimeError:
            raise ConfigError("LISTEN_ADDR", str(address), "an address of this machine and a port that is free") from None
        await self._server.start()
        readiness_address = self._settings.readiness
        try:
            readiness = await self._readiness.start(readiness_address)
        except OSError as error:
            raise ConfigError("READINESS_ADDR", str(readiness_address), f"an address that can be listened on ({error.strerror})") from None
        _log.info("listening", grpc=str(ListenAddress(address.host, port)), readiness=str(ListenAddress(readiness_address.host, readiness)))
        return Ports(port, readiness)

    async def follow_source(self, stopping: asyncio.Event) -> None:
        """Publishes snapshots of the manifests until `stopping` is set."""
        await ManifestDirectory(self._settings.manifests_dir, self._publish).follow(stopping)

    async def stop(self) -> None:
        await asyncio.gather(self._server.stop(STOP_GRACE_S), self._readiness.stop())

    def _publish(self, manifests: Manifests) -> None:
        settings, before = self._settings, self._feed.snapshot
        snapshot = build_snapshot(manifests, before, settings.trust_domain, settings.cluster_id, settings.cluster_domain)
        self._feed.publish(snapshot)
        if snapshot is not before:
            counts = {"workloads": len(snapshot.workloads), "services": len(snapshot.services)}
            _log.info("snapshot_published", generation=snapshot.generation, **counts)


def _read(settings: Settings) -> bytes:
    try:
        return settings.token_key.read_bytes()
    except OSError as error:
        raise ConfigError("TOKEN_KEY", str(settings.token_key), f"a readable file ({error.strerror})") from None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
