"""The whole of ztunnel: what is made from what, started in order, drained at the end."""

import asyncio
import gc
import signal
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog

from mesh.identity import Identity
from ztunnel.admin import dump
from ztunnel.admin.readiness import obstacles
from ztunnel.admin.server import AdminServer, Pages
from ztunnel.certificates.authority import CertificateClient
from ztunnel.certificates.keeper import CertificateKeeper
from ztunnel.certificates.request import Certificate
from ztunnel.certificates.trust_files import TrustFiles
from ztunnel.config import Settings
from ztunnel.discovery.client import Discovery
from ztunnel.enforcement import Enforcement
from ztunnel.engine import make_engine
from ztunnel.enrolment import Enrolment
from ztunnel.hostnames import Hostnames
from ztunnel.notices import NoticePump
from ztunnel.pods import LocalPods
from ztunnel.resolver import Resolver
from ztunnel.surroundings import Surroundings
from ztunnel.telemetry.access import AccessLog
from ztunnel.telemetry.dry_run import DryRun
from ztunnel.telemetry.lines import FORMATS
from ztunnel.telemetry.logs import LogLevel, configure
from ztunnel.telemetry.metrics import MeshCollector, make_registry, render
from ztunnel.telemetry.output import Output
from ztunnel.telemetry.reports import Reports
from ztunnel.upkeep import Upkeep
from ztunnel.zds.client import ZdsClient

log = structlog.get_logger(scope="ztunnel")


async def serve(settings: Settings) -> None:
    """Runs ztunnel until SIGTERM or SIGINT, then drains.

    Raises:
        ConfigError: the engine that was asked for is not there.
        OSError: an admin port cannot be had.
    """
    output = Output(sys.stdout.fileno())
    try:
        level = LogLevel(settings.logs.level)
        configure(FORMATS[settings.logs.format], output, level)
        await Process(settings, output, level).run()
    finally:
        output.close()


class Process:
    """Owns all parts. Made inside the running loop."""

    def __init__(self, settings: Settings, output: Output, level: LogLevel) -> None:
        self._settings = settings
        self._pods = LocalPods(settings.node.cluster_id, settings.node.trust_domain)
        self._reports = Reports()
        self._pump = NoticePump()
        self._engine = make_engine(settings.engine, self._pump.wake)
        dry_run = DryRun()
        self._upkeep = Upkeep(self._engine, self._reports, self._pump.drain)
        self._hostnames = Hostnames(self._upkeep.invalidate)
        self._certificates = CertificateKeeper(self._fetch, self._engine)
        self._trust = TrustFiles(settings.control_plane.root_cert, settings.control_plane.crl_path, self._certificates.believe)
        self._ca = CertificateClient(settings.control_plane, self._trust.read)
        self._discovery = Discovery(
            settings.node, settings.control_plane, self._upkeep.invalidate, enforce=self._enforce, roots=lambda: self._trust.read().roots
        )
        around = Surroundings(
            settings.node,
            self._discovery.store,
            self._pods,
            self._discovery.policies,
            self._reports.number,
            addresses_of=self._hostnames.addresses_of,
        )
        self._enforcement = Enforcement(self._engine, around)
        self._resolver = Resolver(self._engine, self._discovery, self._hostnames, self._certificates, around, dry_run)
        style = FORMATS[settings.logs.format]
        self._access = AccessLog(self._reports, style, output.write, self._pod_name, time.time, lambda: level.allows("info"))
        self._pump.attach(self._engine, self._resolver.miss, self._access)
        enrolment = Enrolment(
            self._pods, self._engine, self._certificates, self._discovery, self._upkeep.invalidate, settings.drain_timeout_s
        )
        self._zds = ZdsClient(settings.inpod_uds, enrolment)
        collector = MeshCollector(self._engine, self._reports, self._access, dry_run.counts, output, _version(), self._pump.drain)
        registry = make_registry(collector)
        self._admin = AdminServer(settings.admin, Pages(self._dump, lambda: render(registry), self._obstacles, level))

    async def run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        node = self._settings.node
        log.info("ztunnel starts", engine=self._engine.name, node=node.name, version=_version(), trust_domain=node.trust_domain)
        # What is there by now stays: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        try:
            await self._admin.start()
            await self._serve_until(stop)
        finally:
            await self._admin.stop()

    async def _serve_until(self, stop: asyncio.Event) -> None:
        async with self._ca, asyncio.TaskGroup() as group:
            enrolling = group.create_task(self._zds.run())
            parts = (self._discovery, self._trust, self._certificates, self._resolver, self._hostnames, self._enforcement)
            tasks = [group.create_task(part.run()) for part in parts]
            tasks.append(group.create_task(self._upkeep.run(self._discovery)))
            await stop.wait()
            log.info("ztunnel drains", timeout_s=self._settings.drain_timeout_s, connections=self._engine.state().connections)
            enrolling.cancel()
            await self._engine.stop(self._settings.drain_timeout_s)
            self._pump.drain()
            for task in tasks:
                task.cancel()
        log.info("ztunnel stopped")

    async def _fetch(self, identity: Identity) -> Certificate:
        return await self._ca.fetch(identity)

    def _enforce(self) -> None:
        self._enforcement.changed()

    def _pod_name(self, number: int) -> str:
        pod = self._pods.by_number(number)
        return f"{pod.info.namespace}/{pod.info.name}" if pod else f"pod {number}, which has left"

    def _obstacles(self) -> tuple[str, ...]:
        return obstacles(self._discovery.synced, self._zds.snapshot_received, self._certificates.missing())

    def _dump(self) -> dict[str, Any]:
        self._pump.drain()
        store, policies = self._discovery.store, self._discovery.policies
        workloads, services = dump.dump_resources(store.resources())
        return {
            "version": _version(),
            "node": self._settings.node.name,
            "control_plane": {
                "connected": self._discovery.connected,
                "synced": self._discovery.synced,
                "policies_synced": policies.synced,
            },
            "agent": {"connected": self._zds.connected, "snapshot_received": self._zds.snapshot_received},
            "engine": dump.dump_engine(self._engine.name, self._engine.state()),
            "pods": dump.dump_pods(self._pods, lambda pod: dump.effective_policies(pod, store.workload(pod.workload_uid), policies)),
            "trust": dump.dump_trust(self._trust.believed),
            "certificates": dump.dump_certificates(self._certificates.held(), self._certificates.missing(), time.time()),
            "workloads": workloads,
            "services": services,
            "policies": dump.dump_policies(policies),
            "policies_refused": dict(sorted(policies.refused.items())),
            "flows": dump.dump_flows(self._reports, self._engine.counters()),
        }


def _version() -> str:
    try:
        return version("ambient-mesh")
    except PackageNotFoundError:
        return "unknown"
