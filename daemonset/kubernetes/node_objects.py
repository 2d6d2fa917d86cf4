"""The pods of one node and all namespaces, as the cluster has them now."""

import asyncio
from collections.abc import Collection

from mesh.kubernetes import Namespace, Pod
from runtime.kubernetes import Api, Batch, Following, Reflector, Selection
from runtime.kubernetes.objects import ObjectReader
from runtime.kubernetes.resources import NAMESPACES, PODS


class NodeObjects:
    """Args:
    node_name: whose pods.
    """

    def __init__(self, api: Api, node_name: str) -> None:
        self.changed = asyncio.Event()
        self.namespaces: dict[str, Namespace] = {}
        self._pods: dict[tuple[str, str], Pod] = {}
        self._read_pod, self._read_namespace = ObjectReader(Pod), ObjectReader(Namespace)
        # Thousands of nodes ask, each for little: the server answers from its cache.
        pods = Following((PODS,), Selection(fields=f"spec.nodeName={node_name}", from_cache=True))
        namespaces = Following((NAMESPACES,), Selection(metadata_only=True, from_cache=True))
        self._followings = (pods, namespaces)
        self.reflectors = (Reflector(api, pods, self._take_pods), Reflector(api, namespaces, self._take_namespaces))

    @property
    def complete(self) -> bool:
        """Whether everything was told once."""
        return all(one.settled for one in self._followings)

    @property
    def pods(self) -> Collection[Pod]:
        return self._pods.values()

    def expect(self, pod: Pod) -> None:
        """A pod that was asked for by name, of which the API server will tell in a moment."""
        self._pods.setdefault((pod.metadata.namespace, pod.metadata.name), pod)
        self.changed.set()

    async def _take_pods(self, batch: Batch) -> None:
        for change in batch.changes:
            value = self._read_pod.read(change).value
            if isinstance(value, Pod):
                self._pods[change.name] = value
            else:
                self._pods.pop(change.name, None)
        self.changed.set()

    async def _take_namespaces(self, batch: Batch) -> None:
        for change in batch.changes:
            value = self._read_namespace.read(change).value
            if isinstance(value, Namespace):
                self.namespaces[change.name.name] = value
            else:
                self.namespaces.pop(change.name.name, None)
        self.changed.set()
