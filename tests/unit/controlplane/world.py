"""A running control plane with a directory of manifests, and nodes that talk to it with grpcio's own client."""

import asyncio
import datetime as dt
import http.client
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jwt
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from controlplane.config import parse
from controlplane.resources import ADDRESS_TYPE
from controlplane.server import ControlPlane
from mesh.wire import ca_pb2, ca_pb2_grpc
from mesh.wire import workload_pb2 as pb

IDENTITY = "spiffe://cluster.local/ns/shop/sa/default"


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def ambient(name: str) -> dict[str, Any]:
    return namespace(name, **{"istio.io/dataplane-mode": "ambient"})


def pod(name: str, ip: str, node: str = "n1", app: str = "web", ready: bool = True, account: str = "default") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        # As if its node's agent had captured it; what it is to be is said by the namespace's label.
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": {"app": app},
            "annotations": {"ambient.istio.io/redirection": "enabled"},
        },
        "spec": {"nodeName": node, "serviceAccountName": account, "containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def service(name: str, ip: str, app: str = "web") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": ip, "selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


def uid(name: str) -> str:
    return f"Kubernetes//Pod/shop/{name}"


def hostname(name: str) -> str:
    return f"shop/{name}.shop.svc.cluster.local"


def csr(key: Any, *names: str, hash_: hashes.HashAlgorithm | None = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        uris = [x509.UniformResourceIdentifier(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=True)
    return builder.sign(key, hash_ or hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class Client:
    """One delta xDS stream of a node; `seen` is what the node knows after all responses so far, by primary name."""

    call: Any
    seen: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    nonce: str = ""

    async def ask(
        self, *subscribe: str, drop: Iterable[str] = (), versions: Mapping[str, str] | None = None, kind: str = ADDRESS_TYPE
    ) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=kind, resource_names_subscribe=subscribe, resource_names_unsubscribe=drop, initial_resource_versions=versions or {}
        )
        await self.call.write(request)

    async def receive(self, ack: bool = True) -> Any:
        """Takes in one response and acknowledges it."""
        response = await self.call.read()
        assert response is not grpc.aio.EOF, "the stream ended"
        self.nonce = response.nonce
        self.removed = list(response.removed_resources)
        for name in self.removed:
            self.seen.pop(name, None)
            self.versions.pop(name, None)
        for resource in response.resources:
            assert resource.resource.type_url == response.type_url
            self.seen[resource.name] = pb.Address.FromString(resource.resource.value)
            self.versions[resource.name] = resource.version
        if ack:
            await self.acknowledge(response.type_url)
        return response

    async def acknowledge(self, kind: str = ADDRESS_TYPE, error: str = "") -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=kind, response_nonce=self.nonce)
        if error:
            request.error_detail.code = 3
            request.error_detail.message = error
        await self.call.write(request)

    async def names(self) -> list[str]:
        """Receives one response and returns the names in it."""
        return [resource.name for resource in (await self.receive()).resources]

    async def failure(self) -> grpc.StatusCode:
        """Waits for the stream to end."""
        try:
            while await self.call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError:
            pass
        return await self.call.code()


class World:
    """Everything that a control plane needs, in a temporary directory."""

    def __init__(self, directory: Path) -> None:
        self.manifests = directory / "manifests"
        self.state = directory / "state"
        self.manifests.mkdir()
        self.token_key = ec.generate_private_key(ec.SECP256R1())
        public = self.token_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.token_file = directory / "token-key.pub.pem"
        self.token_file.write_bytes(public)

    def write(self, *objects: dict[str, Any], file: str = "all.yaml") -> None:
        self.write_text(yaml.safe_dump_all(objects), file)

    def write_text(self, text: str, file: str = "all.yaml") -> None:
        """Replaces a file at once, as the lab does."""
        scratch = self.manifests / f".{file}"
        scratch.write_text(text)
        scratch.rename(self.manifests / file)

    def settings(self) -> dict[str, str]:
        return {
            "MANIFESTS_DIR": str(self.manifests),
            "STATE_DIR": str(self.state),
            "TOKEN_KEY": str(self.token_file),
            "LISTEN_ADDR": "127.0.0.1:0",
            "READINESS_ADDR": "[::]:0",
        }

    def token(self, node: str = "n1", key: Any = None, algorithm: str = "ES256", lifetime_s: float = 600, **changes: Any) -> str:
        claims = {
            "iss": "ambient-lab",
            "aud": "istio-ca",
            "sub": "system:serviceaccount:istio-system:ztunnel",
            "exp": time.time() + lifetime_s,
            "kubernetes.io": {"node": {"name": node}},
        }
        kept = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jwt.encode(kept, key or self.token_key, algorithm=algorithm)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Plane"]:
        control_plane = ControlPlane(parse(self.settings()))
        ports = await control_plane.start()
        stopping = asyncio.Event()
        source = asyncio.create_task(control_plane.follow_source(stopping))
        try:
            async with self._channel(ports.grpc) as channel:
                yield Plane(self, channel, ports.readiness, control_plane)
        finally:
            stopping.set()
            await source
            await control_plane.stop()

    def _channel(self, port: int) -> grpc.aio.Channel:
        root = (self.state / "bundle" / "root-cert.pem").read_bytes()
        options = [("grpc.ssl_target_name_override", "controlplane.ambient")]
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(root), options)


@dataclass
class Plane:
    """The running control plane, as a client reaches it."""

    world: World
    channel: grpc.aio.Channel
    readiness_port: int
    control_plane: ControlPlane

    @asynccontextmanager
    async def stream(self, token: str | None = None) -> AsyncIterator[Client]:
        metadata = (("authorization", f"Bearer {token if token is not None else self.world.token()}"),)
        call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(self.channel).DeltaAggregatedResources(metadata=metadata)
        try:
            yield Client(call)
        finally:
            call.cancel()

    async def sign(self, request: ca_pb2.IstioCertificateRequest, authorization: str | None) -> ca_pb2.IstioCertificateResponse:
        metadata = (("authorization", authorization),) if authorization is not None else ()
        stub = ca_pb2_grpc.IstioCertificateServiceStub(self.channel)
        return await stub.CreateCertificate(request, metadata=metadata, wait_for_ready=True)

    async def page(self, path: str) -> Any:
        """Returns the JSON that the readiness port answers."""

        def get() -> Any:
            connection = http.client.HTTPConnection("127.0.0.1", self.readiness_port, timeout=5)
            connection.request("GET", path)
            return json.load(connection.getresponse())

        return await asyncio.to_thread(get)

    async def ready(self) -> None:
        """Waits until the first snapshot is published: certificates are refused before."""
        async with self.stream() as client:
            await client.ask()
            await client.receive()


def certificate_request(csr_pem: str, identity: Any = IDENTITY, duration: int = 0) -> ca_pb2.IstioCertificateRequest:
    request = ca_pb2.IstioCertificateRequest(csr=csr_pem, validity_duration=duration)
    if identity is not None:
        request.metadata["ImpersonatedIdentity"] = identity
    return request


def parse_chain(response: ca_pb2.IstioCertificateResponse) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(pem.encode()) for pem in response.cert_chain]


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
