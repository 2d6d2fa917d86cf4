"""A cluster in memory, and control planes on it."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from controlplane.config import parse
from controlplane.server import ControlPlane
from mesh.wire import ca_pb2, ca_pb2_grpc
from tests.kubernetes_server import write_kubeconfig
from tests.kubernetes_store import Store, serving

SUBJECT = "system:serviceaccount:mesh:ambient"


def token(node: str = "n1", lifetime_s: float = 600.0, subject: str = SUBJECT, **claims: Any) -> str:
    """What looks like a bound token; the store believes it."""
    payload = {"sub": subject, "exp": time.time() + lifetime_s, "node": node, **claims}
    return f"x.{base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.y"


def review(text: str) -> dict[str, Any]:
    payload = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
    extra = {"authentication.kubernetes.io/node-name": [payload["node"]]} if payload["node"] else {}
    extra["authentication.kubernetes.io/pod-name"] = [payload.get("pod", "ambient-x")]
    return {"authenticated": True, "audiences": ["istio-ca"], "user": {"username": payload["sub"], "extra": extra}}


class InCluster:
    """Args:
    directory: for kubeconfigs.
    """

    def __init__(self, directory: Path) -> None:
        self.store = Store(review=review)
        self._directory = directory

    async def put(self, plural: str, *objects: dict[str, Any]) -> None:
        for one in objects:
            await self.store.put(plural, one)

    def settings(self, url: str, name: str) -> dict[str, str]:
        kubeconfig = write_kubeconfig(self._directory / "kubeconfig", url, token="t")
        return {
            "SOURCE": "kubernetes",
            "KUBECONFIG": str(kubeconfig),
            "POD_NAMESPACE": "mesh",
            "POD_NAME": name,
            "NODE_PROXY_ACCOUNTS": "mesh/ambient",
            "LISTEN_ADDR": "127.0.0.1:0",
            "READINESS_ADDR": "127.0.0.1:0",
        }

    @asynccontextmanager
    async def api(self) -> AsyncIterator[str]:
        async with serving(self.store) as url:
            yield url

    @asynccontextmanager
    async def plane(self, url: str, name: str = "plane-1") -> AsyncIterator["Replica"]:
        control_plane = ControlPlane(parse(self.settings(url, name)))
        ports = await control_plane.start()
        stopping = asyncio.Event()
        following = asyncio.create_task(control_plane.follow_source(stopping))
        try:
            yield Replica(self, control_plane, ports.grpc, ports.readiness)
        finally:
            stopping.set()
            await following
            await control_plane.stop()

    def bundle(self) -> dict[str, str]:
        return dict(self.store.objects["configmaps", "mesh", "istio-ca-root-cert"]["data"])


@dataclass
class Replica:
    """A running control plane."""

    cluster: InCluster
    control_plane: ControlPlane
    grpc_port: int
    readiness_port: int

    async def published(self) -> None:
        """Waits for the next publication; at once when there was none."""
        feed = self.control_plane._feed
        if not feed.known:
            await feed.changed.wait()

    async def page(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.readiness_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()

    async def sign(self, csr: str, identity: str, bearer: str) -> list[str]:
        bundle = self.cluster.bundle()["root-cert.pem"].encode()
        options = [("grpc.ssl_target_name_override", "controlplane.ambient")]
        channel = grpc.aio.secure_channel(f"127.0.0.1:{self.grpc_port}", grpc.ssl_channel_credentials(bundle), options)
        request = ca_pb2.IstioCertificateRequest(csr=csr)
        request.metadata["ImpersonatedIdentity"] = identity
        async with channel:
            stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
            response = await stub.CreateCertificate(request, metadata=(("authorization", f"Bearer {bearer}"),))
            return list(response.cert_chain)
