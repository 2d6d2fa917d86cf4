"""Where an agent lives: what tells it of its node's pods, and whom it tells."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from daemonset.news import PodNews
from daemonset.pods import NodePods
from daemonset.reconcile import NetnsId


@dataclass(frozen=True, slots=True)
class Look:
    """What there is now.

    Args:
        netns: the network namespaces of the node's pods that have one, by uid.
    """

    node: NodePods
    netns: Mapping[str, NetnsId]


class Reporter(Protocol):
    """The agent, as those see it who tell of it."""

    def captured(self) -> Mapping[str, bool | None]:
        """Each held pod by uid: whether it is captured and verified; None: it may be, from before this agent's time."""

    def errors(self) -> Mapping[str, str]:
        """What holds up a pod, by uid."""

    def owns(self) -> bool:
        """Whether this agent acts; another one may have taken over."""


class Surroundings(Protocol):
    """A directory of manifests, or a cluster. An async context manager."""

    async def __aenter__(self) -> Self:
        """Raises ConfigError, OSError: it cannot be used at all."""

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def looks(self, stopping: asyncio.Event) -> AsyncIterator[Look]:
        """Yields when all is known for the first time, whenever something may have changed, and once a second; ends with `stopping`."""

    def open_netns(self, uid: str) -> int:
        """A descriptor of a pod's namespace, which is the caller's. Raises OSError: it is gone."""

    def tell(self, news: PodNews) -> None:
        """Takes news of a pod. Never waits."""

    def ready(self, agent: Reporter) -> bool:
        """Whether all is done that there is to do at first."""

    async def report(self, agent: Reporter) -> None:
        """Tells the cluster how pods fare, until cancelled; starts when the agent acts."""
