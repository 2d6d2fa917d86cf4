"""A pod joins or leaves this ztunnel: the engine's listeners, its identity's certificate, and the subscription to its workload."""

import os
from collections.abc import Callable
from typing import Protocol

import structlog

from mesh.identity import Identity
from mesh.model import IPAddress
from ztunnel.engine.interface import Engine
from ztunnel.own_addresses import own_addresses
from ztunnel.pods import LocalPod, LocalPods, PodInfo
from ztunnel.zds.client import namespace_id

log = structlog.get_logger(scope="enrolment")


class Certificates(Protocol):
    """The part of the keeper that enrolment needs."""

    def keep(self, identities: frozenset[Identity]) -> None: ...


class Subscriptions(Protocol):
    """The part of discovery that enrolment needs."""

    def pin(self, name: str) -> None: ...

    def unpin(self, name: str) -> None: ...


class Enrolment:
    """Serves ZDS (see ztunnel.zds.client.Enroller).

    Args:
        addresses_in: of a pod's network namespace.
        changed: called after every change of who is served, when cached decisions may be wrong.
        drain_timeout_s: how long connections of a leaving pod may go on.
    """

    def __init__(
        self,
        pods: LocalPods,
        engine: Engine,
        certificates: Certificates,
        discovery: Subscriptions,
        changed: Callable[[], None],
        drain_timeout_s: float,
        addresses_in: Callable[[int], tuple[IPAddress, ...]] = own_addresses,
    ) -> None:
        self._addresses_in = addresses_in
        self._pods = pods
        self._engine = engine
        self._certificates = certificates
        self._discovery = discovery
        self._changed = changed
        self._drain_timeout_s = drain_timeout_s

    def add(self, pod: PodInfo, netns_fd: int) -> None:
        try:
            netns = namespace_id(netns_fd)
        except OSError:
            os.close(netns_fd)
            raise
        held = self._pods.by_uid(pod.uid)
        if held is not None and held.info == pod and held.netns == netns:
            os.close(netns_fd)  # The agent came back and names what we have.
            return
        try:
            if held is not None:
                self._release(held)
            local = self._pods.describe(pod, netns, self._addresses_in(netns_fd))
            self._engine.add_pod(local.number, netns_fd, str(local.identity))
            self._pods.put(local)
        finally:
            self._certificates.keep(self._pods.identities())
        self._discovery.pin(local.workload_uid)
        self._changed()
        log.info("pod added", pod=f"{pod.namespace}/{pod.name}", uid=pod.uid, number=local.number, identity=str(local.identity))

    def keeps(self, uid: str) -> bool:
        return self._pods.by_uid(uid) is not None

    def delete(self, uid: str) -> None:
        pod = self._pods.by_uid(uid)
        if pod is not None:
            self._release(pod)
            self._certificates.keep(self._pods.identities())

    def retain(self, uids: frozenset[str]) -> None:
        for pod in self._pods.absent_from(uids):
            self._release(pod)
        self._certificates.keep(self._pods.identities())

    def _release(self, pod: LocalPod) -> None:
        self._pods.remove(pod)
        self._engine.remove_pod(pod.number, self._drain_timeout_s)
        if self._pods.by_workload(pod.workload_uid) is None:
            self._discovery.unpin(pod.workload_uid)
        self._changed()
        log.info("pod removed", pod=f"{pod.info.namespace}/{pod.info.name}", uid=pod.info.uid, number=pod.number)
