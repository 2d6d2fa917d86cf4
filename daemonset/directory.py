"""A directory of manifests, and one of network namespaces, as an agent's surroundings: no Kubernetes is needed."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

from daemonset.config import DirectorySettings
from daemonset.news import PodNews, ignore
from daemonset.pods import pods_of_node
from daemonset.source import ManifestReader, rounds, scan_netns
from daemonset.surroundings import Look, Reporter


class Directory:
    """Args:
    node_name: whose pods.
    """

    def __init__(self, settings: DirectorySettings, node_name: str) -> None:
        self._manifests, self._netns = settings.manifests_dir, settings.pod_netns_dir
        self._node_name = node_name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    async def looks(self, stopping: asyncio.Event) -> AsyncIterator[Look]:
        reader = ManifestReader(self._manifests)
        async for _ in rounds((self._manifests, self._netns), stopping):
            manifests = await asyncio.to_thread(reader.refresh)
            netns = await asyncio.to_thread(scan_netns, self._netns)
            if manifests is not None:
                yield Look(pods_of_node(manifests.pods.values(), manifests.namespaces, self._node_name), netns)

    def open_netns(self, uid: str) -> int:
        return open_file(self._netns / uid)

    def tell(self, news: PodNews) -> None:
        """The log and /pods say it all."""
        ignore(news)

    def ready(self, agent: Reporter) -> bool:
        return True

    async def report(self, agent: Reporter) -> None:
        """Whoever keeps the manifests asks /pods."""


def open_file(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
