"""The control plane as a whole: source, discovery, certificates and readiness, started and stopped together."""

import asyncio
import datetime as dt
from dataclasses import dataclass

import grpc
import structlog

from controlplane.certificates import CertificateService
from controlplane.config import DirectorySettings, Settings
from controlplane.directory import Directory
from controlplane.feed import Feed
from controlplane.policy_status import as_json
from controlplane.publisher import Publisher
from controlplane.readiness import ReadinessServer
from controlplane.server_certificate import SERVER_NAME, ServerCertificate
from controlplane.surroundings import Surroundings
from controlplane.xds import DiscoveryService
from mesh.errors import ConfigError
from mesh.settings import MeshSettings
from runtime.settings import ListenAddress

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
    # What a node that had everything holds, it says when it reconnects: some 80 bytes for each of its resources.
    ("grpc.max_receive_message_length", 32 * 2**20),
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
        ConfigError, OSError: the token key or the authority cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._feed = Feed(mesh_settings(settings))
        self._surroundings = _surroundings(settings, self._feed)
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        self._readiness = ReadinessServer(
            lambda: "" if self._feed.known else self._surroundings.unready,
            {"/policies": lambda: as_json(self._feed.catalogue.conditions), "/kinds": self._surroundings.kinds},
        )

    async def start(self) -> Ports:
        """Listens, as soon as there is an authority.

        Raises:
            ConfigError, OSError: an address cannot be had, or never will there be an authority.
        """
        readiness_address, address = self._settings.readiness, self._settings.listen
        try:
            readiness = await self._readiness.start(readiness_address)
        except OSError as error:
            raise ConfigError("READINESS_ADDR", str(readiness_address), f"an address that can be listened on ({error.strerror})") from None
        await self._surroundings.enter()
        try:
            port = self._server.add_secure_port(str(address), self._serve())
        except RuntimeError:
            raise ConfigError("LISTEN_ADDR", str(address), "an address of this machine and a port that is free") from None
        await self._server.start()
        _log.info("listening", grpc=str(ListenAddress(address.host, port)), readiness=str(ListenAddress(readiness_address.host, readiness)))
        return Ports(port, readiness)

    def _serve(self) -> grpc.ServerCredentials:
        """Gives the server its calls, and returns what it proves itself with."""
        longest, where = self._settings.authority.max_lifetime, self._surroundings
        certificates = CertificateService(lambda: where.authority, self._feed, where.authenticator, longest, _now)
        self._server.add_generic_rpc_handlers((DiscoveryService(self._feed, where.authenticator).handlers(), certificates.handlers()))
        return ServerCertificate(lambda: where.authority, longest, _now).credentials()

    async def follow_source(self, stopping: asyncio.Event) -> None:
        """Publishes what the source holds, and keeps the authority, until `stopping` is set.

        Raises:
            ConfigError, OSError: the source cannot be followed.
        """
        await self._surroundings.follow(stopping)

    async def stop(self) -> None:
        await asyncio.gather(self._server.stop(STOP_GRACE_S), self._readiness.stop())
        await self._surroundings.leave()


def _surroundings(settings: Settings, feed: Feed) -> Surroundings:
    names, publisher = (settings.trust_domain, SERVER_NAME), Publisher(feed)
    if isinstance(settings.source, DirectorySettings):
        return Directory(settings.source, settings.authority, names, publisher, _now)
    # Whoever reads a directory need not load what speaks with a cluster: 15 MB.
    from controlplane.kubernetes.cluster import Cluster

    return Cluster(settings.source, settings.authority, names, feed, publisher, _now)


def mesh_settings(settings: Settings) -> MeshSettings:
    return MeshSettings(
        trust_domain=settings.trust_domain,
        trust_domain_aliases=settings.trust_domain_aliases,
        cluster_domain=settings.cluster_domain,
        cluster_id=settings.cluster_id,
        root_namespace=settings.root_namespace,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
