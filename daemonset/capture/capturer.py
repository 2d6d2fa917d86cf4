"""Capture as the agent uses it: the functions over plans, in one mode, off the event loop."""

import asyncio
from pathlib import Path

from daemonset.capture import apply as over
from daemonset.capture import chains
from daemonset.capture.apply import Finding
from daemonset.capture.connections import count_carried
from daemonset.capture.items import Mode, Phase, Plan, Programs
from daemonset.capture.kernel import Site
from daemonset.capture.plan import plan_capture
from daemonset.capture.steps import Add, Step
from ebpf import pins
from ebpf.sockets import SocketWalker
from mesh.errors import CaptureError
from mesh.model import IPAddress


class Capturer:
    """Every method but `site` raises CaptureError when the kernel refuses or the namespace is gone.

    Args:
        directory: where pods' programs are pinned, one directory a pod.
    Raises:
        OSError: eBPF is asked for, and the kernel or libbpf lacks something.
    """

    def __init__(self, mode: Mode, directory: Path) -> None:
        self._mode = mode
        self._directory = directory
        # Asked here, in the node's own namespace, and remembered.
        chains.backend()
        self._walker = SocketWalker() if mode is Mode.EBPF else None

    def site(self, uid: str, name: str, netns: int) -> Site:
        """Where a pod is captured; `netns` stays the caller's."""
        return Site(name, netns, self._directory / uid)

    def pinned(self) -> frozenset[str]:
        """The uids that something is pinned for."""
        return frozenset(path.name for path in self._directory.iterdir()) if self._directory.is_dir() else frozenset()

    def unpin(self, uid: str) -> None:
        """Removes the pins of a pod whose namespace is gone."""
        pins.remove(self._directory / uid)

    async def addresses(self, site: Site) -> frozenset[IPAddress]:
        """The addresses of the namespace's devices, but its loopback's."""
        survey = await asyncio.to_thread(over.survey, site)
        return frozenset(ip for ip in survey.addresses if not ip.is_loopback and not ip.is_link_local)

    async def holds_anything(self, site: Site) -> bool:
        """Whether anything of capture is in the pod's namespace."""
        return await asyncio.to_thread(over.holds_anything, site)

    async def capture(self, site: Site) -> tuple[Step, ...]:
        """Captures the pod; nothing happens when it is captured as planned.

        Raises:
            CaptureError: also when ztunnel has no listener; a pod that was not captured before is then let go again.
        """
        return await asyncio.to_thread(self._capture, site)

    def _capture(self, site: Site) -> tuple[Step, ...]:
        steps = over.apply(site, self._plan(site, Phase.CAPTURE), self._walker)
        try:
            self._adopt(site)
        except CaptureError:
            if Add(Programs()) in steps:
                over.undo(site, self._walker)
            raise
        return steps

    def _plan(self, site: Site, phase: Phase) -> Plan:
        return plan_capture(self._mode, phase, over.survey(site))

    async def adopt(self, site: Site) -> None:
        """Puts ztunnel's listeners into the pod's map; raises CaptureError when one is missing."""
        await asyncio.to_thread(self._adopt, site)

    def _adopt(self, site: Site) -> None:
        missing = over.adopt(site, self._walker)
        if missing:
            raise CaptureError(site.name, f"ztunnel has no listener on {', '.join(map(str, missing))}", 0)

    async def verify(self, site: Site) -> tuple[Finding, ...]:
        """The differences between the plan of a captured pod, made anew, and the kernel."""
        return await asyncio.to_thread(lambda: over.verify(site, self._plan(site, Phase.CAPTURE)))

    async def drain(self, site: Site) -> None:
        """Ends capture of new connections; those that ztunnel carries go on."""
        await asyncio.to_thread(lambda: over.apply(site, self._plan(site, Phase.DRAIN), self._walker))

    async def carried(self, site: Site) -> int:
        """How many connections ztunnel carries for the pod."""
        return await asyncio.to_thread(count_carried, site)

    async def undo(self, site: Site) -> None:
        """Leaves no trace."""
        await asyncio.to_thread(over.undo, site, self._walker)
