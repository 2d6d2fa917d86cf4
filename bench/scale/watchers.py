"""A process that plays the proxies of many nodes, each with a stream of its own that is subscribed to one service, as ours subscribe.

    python -m bench.scale.watchers SPEC        (a file: JSON of a Spec)

Prints "ready" when each node has been sent the service, then a line for each response: the time that it was read at, in seconds of
CLOCK_MONOTONIC, which is the same clock in all processes.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2  # type: ignore[import-untyped]  # xds-protos has no types

ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization"
# Each node has its own connection.
_OPTIONS = (("grpc.ssl_target_name_override", "controlplane.ambient"), ("grpc.use_local_subchannel_pool", 1))


@dataclass(frozen=True, slots=True)
class Spec:
    """Args: tokens: one for each node. root_cert: a path."""

    address: str
    root_cert: str
    tokens: tuple[str, ...]
    service: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))


async def watch(spec: Spec, credentials: grpc.ChannelCredentials, token: str, ready: "asyncio.Event") -> None:
    """Subscribes to the policies of the node and to the service, acknowledges everything, and tells when addresses come."""
    async with grpc.aio.secure_channel(spec.address, credentials, _OPTIONS) as channel:
        call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources(
            metadata=(("authorization", f"Bearer {token}"),)
        )
        await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=AUTHORIZATION_TYPE))
        await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=ADDRESS_TYPE, resource_names_subscribe=[spec.service]))
        while (response := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
            read_at = time.monotonic()
            await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))
            if response.type_url == ADDRESS_TYPE:
                if ready.is_set():
                    print(read_at, flush=True)
                ready.set()


async def main(spec: Spec, root_cert: bytes) -> None:
    credentials = grpc.ssl_channel_credentials(root_cert)
    first = [asyncio.Event() for _ in spec.tokens]
    async with asyncio.TaskGroup() as group:
        for token, ready in zip(spec.tokens, first, strict=True):
            group.create_task(watch(spec, credentials, token, ready))
        for ready in first:
            await ready.wait()
        print("ready", flush=True)


if __name__ == "__main__":
    given = Spec(**json.loads(Path(sys.argv[1]).read_text()))
    asyncio.run(main(given, Path(given.root_cert).read_bytes()))
