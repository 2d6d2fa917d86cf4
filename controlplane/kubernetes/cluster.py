"""A cluster as the surroundings of a control plane, which may be one of several replicas."""

import asyncio
import datetime as dt
from collections.abc import Callable
from contextlib import AsyncExitStack

from controlplane.authority import Authority
from controlplane.config import AuthoritySettings, KubernetesSettings
from controlplane.feed import Feed
from controlplane.given_store import GivenAuthority
from controlplane.kubernetes.cluster_authority import ClusterAuthority, MountedAuthority, SecretAuthority
from controlplane.kubernetes.leadership import Leadership
from controlplane.kubernetes.reviewed_tokens import ReviewedTokens
from controlplane.kubernetes.server_checks import ServerChecks
from controlplane.kubernetes.source import ClusterSource
from controlplane.kubernetes.status_writer import StatusWriter
from controlplane.publisher import Publisher
from controlplane.rotation import Pace
from controlplane.tokens import Authenticator
from runtime.kubernetes import Api, load_access

# To hand the Lease on takes milliseconds; a server that does not answer is not waited for. Kubernetes gives a pod 30 s.
STOP_WITHIN_S = 5.0


class Cluster:
    """Every replica serves; the one that leads writes. Args: see controlplane.directory.Directory."""

    authenticator: Authenticator
    _source: ClusterSource
    _leadership: Leadership
    _status: StatusWriter
    _checks: ServerChecks

    def __init__(
        self,
        settings: KubernetesSettings,
        authority: AuthoritySettings,
        names: tuple[str, str],
        feed: Feed,
        publisher: Publisher,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._settings = settings
        self._authority_settings = authority
        self._names = names
        self._feed = feed
        self._publisher = publisher
        self._clock = clock
        self._connection = AsyncExitStack()
        self._authority: ClusterAuthority | None = None
        self._entered = False

    async def enter(self) -> None:
        kubeconfig, namespace = self._settings.kubeconfig, self._settings.namespace
        api = await self._connection.enter_async_context(Api(await load_access(kubeconfig), kubeconfig))
        self._checks = ServerChecks(api)
        self._leadership = Leadership(api, namespace, self._settings.pod_name)
        self._status = StatusWriter(api, self._feed.catalogue.conditions, self._leadership.leading)
        self._source = ClusterSource(api, self._publisher, self._status)
        self.authenticator = ReviewedTokens(api, self._settings.node_proxy_accounts, self._feed.node_of_pod)
        kept = self._authority_settings
        own = SecretAuthority(api, namespace, Pace(kept.spread, kept.max_lifetime))
        source = own if kept.ca_dir is None else MountedAuthority(GivenAuthority(kept.ca_dir, self._names))
        self._authority = ClusterAuthority(api, namespace, source, self._leadership.leading, self._clock)
        await self._authority.enter()
        self._entered = True

    async def follow(self, stopping: asyncio.Event) -> None:
        assert self._authority is not None, "enter has not returned"
        parts = (self._checks, self._leadership, self._authority, self._source, self._status)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.follow(stopping)) for part in parts]
            await stopping.wait()
            await asyncio.wait(tasks, timeout=STOP_WITHIN_S)
            for task in tasks:
                task.cancel()

    async def leave(self) -> None:
        await self._connection.aclose()

    @property
    def authority(self) -> Authority:
        assert self._authority is not None, "enter has not returned"
        return self._authority.current

    @property
    def unready(self) -> str:
        if self._entered:
            return f"not listed yet: {self._source.missing}"
        return f"there is no authority yet: {self._authority.trouble if self._authority is not None else ''}"

    def kinds(self) -> list[dict[str, object]]:
        return self._source.report() if self._entered else []
