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


class Cluster:
    """Every replica serves; the one that leads writes. Args: see controlplane.directory.Directory."""

    authenticator: Authenticator
    _authority: ClusterAuthority
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
        async with asyncio.TaskGroup() as group:
            for part in (self._checks, self._leadership, self._authority, self._source, self._status):
                group.create_task(part.follow(stopping))

    async def leave(self) -> None:
        await self._connection.aclose()

    @property
    def authority(self) -> Authority:
        return self._authority.current

    @property
    def unready(self) -> str:
        return f"not listed yet: {self._source.missing}" if self._entered else "there is no authority yet"

    def kinds(self) -> list[dict[str, object]]:
        return self._source.report() if self._entered else []
