"""The process ambient-agent."""

import asyncio
import os
import signal
import sys

import structlog

from daemonset.admin import AdminPage
from daemonset.agent import Agent
from daemonset.bpffs import mount_bpffs
from daemonset.capture.capturer import Capturer
from daemonset.capture.items import Mode
from daemonset.config import Settings, parse
from daemonset.pods import pods_of_node
from daemonset.source import ManifestReader, rounds, scan_netns
from mesh.errors import ConfigErrors
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
        if settings.capture is Mode.EBPF:
            mount_bpffs(settings.bpffs)
        asyncio.run(_run(settings, Capturer(settings.capture, settings.pins)))
    except* OSError as failures:
        _log.error("cannot_run", errors=[str(failure) for failure in failures.exceptions], capture=settings.capture.value)
        status = os.EX_CONFIG
    return status


async def _run(settings: Settings, capturer: Capturer) -> None:
    """Runs until a signal asks to stop; then everything under way ends where it stands, and the next agent goes on from there."""
    stopping, serving = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        async with asyncio.TaskGroup() as group:
            agent = Agent(settings.pod_netns_dir, settings.inpod_uds, capturer, group)
            page = AdminPage(settings.readiness, serving.is_set, agent.pods)
            await page.start()
            _log.info("agent_starts", node=settings.node_name, capture=settings.capture.value)
            try:
                await _follow(settings, agent, group, stopping, serving)
            finally:
                await page.stop()
            raise _StoppedError
    except* _StoppedError:
        _log.info("agent_stops")


async def _follow(settings: Settings, agent: Agent, group: asyncio.TaskGroup, stopping: asyncio.Event, serving: asyncio.Event) -> None:
    """Tells the agent of every change. ztunnel is served once the first good reading says which pods there are."""
    reader = ManifestReader(settings.manifests_dir)
    async for _ in rounds((settings.manifests_dir, settings.pod_netns_dir), stopping):
        manifests = await asyncio.to_thread(reader.refresh)
        netns = await asyncio.to_thread(scan_netns, settings.pod_netns_dir)
        if manifests is None:
            continue
        node = pods_of_node(manifests, settings.node_name)
        if serving.is_set():
            agent.update(node, netns)
            continue
        await agent.adopt_held(node, netns)
        for part in (agent.zds.run(), agent.run(), agent.patrol()):
            group.create_task(part)
        serving.set()


class _StoppedError(Exception):
    """Ends the task group, and everything that it owns."""
