"""The process ambient-agent."""

import asyncio
import os
import signal
import sys

import structlog

from daemonset.admin import AdminPage
from daemonset.agent import Agent
from daemonset.capture.capturer import Capturer
from daemonset.capture.items import Mode
from daemonset.config import DirectorySettings, Settings, parse
from daemonset.directory import Directory
from daemonset.kubernetes.cluster import Cluster
from daemonset.mounts import mount_bpffs, unlock_sysctls
from daemonset.node.probes import ProbeRules
from daemonset.ownership import Ownership
from daemonset.surroundings import Surroundings
from mesh.errors import ConfigError, ConfigErrors
from runtime.logs import configure_logs

_log = structlog.get_logger(scope="agent")


def main() -> int:
    """Runs until SIGTERM or SIGINT; capture stays. Returns the exit status."""
    try:
        settings = parse(os.environ)
    except ConfigErrors as errors:
        sys.stderr.write(f"ambient-agent: the settings are wrong\n{errors}\n")
        return os.EX_CONFIG
    configure_logs(settings.log_format)
    status = 0
    try:
        unlock_sysctls()
        if settings.capture is Mode.EBPF:
            mount_bpffs(settings.bpffs)
        asyncio.run(_run(settings, Capturer(settings.capture, settings.pins)))
    except* (ConfigError, OSError) as failures:
        _log.error("cannot_run", errors=[str(failure) for failure in failures.exceptions], capture=settings.capture.value)
        status = os.EX_CONFIG
    return status


async def _run(settings: Settings, capturer: Capturer) -> None:
    """Runs until a signal asks to stop; then everything under way ends where it stands, and the next agent goes on from there."""
    stopping, serving = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        async with surroundings(settings) as around, asyncio.TaskGroup() as group:
            probes = ProbeRules(settings.host_netns)
            ownership = Ownership(settings.ownership)
            agent = Agent(around.open_netns, settings.inpod_uds, capturer, probes, ownership, group, around.tell)
            page = AdminPage(settings.readiness, lambda: serving.is_set() and around.ready(agent), agent.pods)
            await page.start()
            _log.info("agent_starts", node=settings.node_name, capture=settings.capture.value)
            try:
                await _follow(around, agent, ownership, group, stopping, serving)
            finally:
                ownership.give_up()
                await page.stop()
            raise _StoppedError
    except* _StoppedError:
        _log.info("agent_stops")


def surroundings(settings: Settings) -> Surroundings:
    if isinstance(settings.source, DirectorySettings):
        return Directory(settings.source, settings.node_name)
    return Cluster(settings.source, settings.node_name, settings.host_netns)


async def _follow(
    around: Surroundings, agent: Agent, ownership: Ownership, group: asyncio.TaskGroup, stopping: asyncio.Event, serving: asyncio.Event
) -> None:
    """Tells the agent of every change. ztunnel is served once the first look says which pods there are."""
    async for look in around.looks(stopping):
        if serving.is_set():
            agent.update(look.node, look.netns)
            continue
        ownership.claim()
        await agent.adopt_held(look.node, look.netns)
        for part in (agent.zds.run(), agent.run(), agent.patrol(), around.report(agent)):
            group.create_task(part)
        serving.set()


class _StoppedError(Exception):
    """Ends the task group, and everything that it owns."""
