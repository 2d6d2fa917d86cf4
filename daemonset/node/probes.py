"""Keeps the rules of probe_rules in the node's network namespace, for the pods that the agent holds."""

import asyncio
import json
import os
import subprocess
from ipaddress import ip_address
from pathlib import Path

import structlog

from daemonset.capture.namespace import inside
from daemonset.node.probe_rules import TABLE, table_of, without_table
from mesh.model import IPAddress

_log = structlog.get_logger(scope="probes")
# It takes milliseconds, unless another program holds the rules.
_TIMEOUT_S = 20


class ProbeRules:
    """Never raises: pods are captured without these rules, too. What is wrong is logged once, and is `trouble`.

    Args:
        node_netns: file of the node's own network namespace.
    Raises (constructor):
        OSError: it cannot be opened.
    """

    def __init__(self, node_netns: Path) -> None:
        self.trouble = ""
        self._netns = os.open(node_netns, os.O_RDONLY | os.O_CLOEXEC)
        self._lock = asyncio.Lock()
        self._addresses: frozenset[IPAddress] | None = None
        self._listed = ""

    async def cover(self, addresses: frozenset[IPAddress]) -> None:
        """Adds a pod, before it is captured. Pods that an earlier agent covered stay covered."""
        async with self._lock:
            await self._put(await self._covered() | addresses)

    async def keep(self, addresses: frozenset[IPAddress]) -> None:
        """Covers these pods and no others, and repairs what somebody changed."""
        async with self._lock:
            await self._covered()
            await self._put(addresses)

    async def _put(self, addresses: frozenset[IPAddress]) -> None:
        try:
            listed = await asyncio.to_thread(self._list)
            if addresses == self._addresses and listed == self._listed:
                return
            if addresses == self._addresses:
                _log.warning("probe_rules_differ", pods=len(addresses))
            await asyncio.to_thread(self._nft, "-f", "-", script=table_of(addresses) if addresses else without_table())
            self._addresses, self._listed = addresses, await asyncio.to_thread(self._list)
            self.trouble = ""
        except OSError as error:
            self._complain(f"{error.strerror or error}")

    async def _covered(self) -> frozenset[IPAddress]:
        """What is covered now, by this agent or an earlier one."""
        if self._addresses is None:
            try:
                self._addresses = await asyncio.to_thread(self._read)
            except OSError as error:
                self._complain(f"{error.strerror or error}")
        return self._addresses or frozenset()

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.error("probe_rules_failed", error=trouble, consequence="probes of the node fail where policy wants mutual TLS")
        self.trouble = trouble

    def _list(self) -> str:
        """The table as the kernel has it; "" where there is none."""
        if TABLE not in self._tables():
            return ""
        return self._nft("list", "table", "inet", TABLE)

    def _tables(self) -> set[str]:
        found = json.loads(self._nft("-j", "list", "tables", "inet"))["nftables"]
        return {one["table"]["name"] for one in found if "table" in one}

    def _read(self) -> frozenset[IPAddress]:
        if TABLE not in self._tables():
            return frozenset()
        found = json.loads(self._nft("-j", "list", "table", "inet", TABLE))["nftables"]
        elements = [element for one in found if "set" in one for element in one["set"].get("elem", ())]
        return frozenset(map(ip_address, elements))

    def _nft(self, *arguments: str, script: str = "") -> str:
        """Raises OSError: nft is missing, or refuses."""

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(["nft", *arguments], input=script, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)

        try:
            done = inside(self._netns, run)
        except subprocess.TimeoutExpired:
            raise OSError(0, f"nft {arguments[0]} takes longer than {_TIMEOUT_S} s") from None
        if done.returncode:
            raise OSError(done.returncode, f"nft {' '.join(arguments)}: {done.stderr.strip()[:400]}")
        return done.stdout
