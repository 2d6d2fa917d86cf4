"""Certificates signed per second and core: the path of one call without gRPC, and calls over TLS to a server in a process of its own.

python -m bench.scale.signing [--seconds 5]
"""

import argparse
import asyncio
import datetime as dt
import logging
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import grpc
import jwt
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from controlplane.authority import Authority, issuer_of, make_authority, new_root
from controlplane.certificates import CertificateService, asked_identity, authorise, sign
from controlplane.server_certificate import SERVER_NAME, ServerCertificate
from controlplane.tokens import AUDIENCE, ISSUER, NODE_PROXY, SignedTokens, authenticate
from mesh.identity import Identity
from mesh.wire import ca_pb2, ca_pb2_grpc

DAY = dt.timedelta(days=1)
# A node may ask 500 times at once: with so many, none is held back while this measures.
NODES = 400
# What is under way at a time: enough to keep the server busy, few enough that it is no queue that is measured.
AT_ONCE = 16
_OPTIONS = (("grpc.ssl_target_name_override", SERVER_NAME),)


@dataclass(frozen=True, slots=True)
class Rates:
    """Certificates per second of processor time that the control plane spent.

    Args:
        path: token, checks, CSR, signature and encoding, without gRPC.
        kept: over gRPC, on a connection that is kept, as a ztunnel makes them that has many pods to ask for.
        fresh: over gRPC, with a connection for each call, as a node makes that asks now and then.
    """

    path: float
    kept: float
    fresh: float


class Everywhere:
    """Every node runs a pod of every identity."""

    known = True

    def runs(self, node: str, identity: Identity) -> bool:
        return True


def measure_signing(seconds: float) -> Rates:
    """Measures each of the three for so long, one after the other."""
    calls = Calls()
    return Rates(calls.path(seconds), calls.over_grpc(seconds, calls.keep_asking), calls.over_grpc(seconds, calls.ask_anew))


class Calls:
    """The calls of many nodes, made in advance."""

    def __init__(self) -> None:
        self._token_key = ec.generate_private_key(ec.SECP256R1())
        key = ec.generate_private_key(ec.SECP256R1())
        self._authority = _authority()
        identities = [Identity("cluster.local", "shop", f"account-{number}") for number in range(NODES)]
        self._requests = [_request(key, identity) for identity in identities]
        self._metadata = [(("authorization", f"Bearer {self._token(number)}"),) for number in range(NODES)]

    def path(self, seconds: float) -> float:
        """Signs in this process; returns certificates per second of processor time."""
        issuer, public, place = self._authority.issuer, self._token_key.public_key(), Everywhere()
        count, started = 0, time.process_time()
        while time.process_time() - started < seconds:
            request = self._requests[count % NODES]
            caller = authenticate(self._metadata[count % NODES], public)
            identity = asked_identity(request)
            authorise(caller, identity, place)
            sign(request, identity, issuer, DAY, dt.datetime.now(dt.UTC)).public_bytes(Encoding.PEM)
            count += 1
        return count / (time.process_time() - started)

    def over_grpc(self, seconds: float, ask: Callable[[int, float], object]) -> float:
        """Serves in a process of its own; returns certificates per second of its processor time."""
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        public = self._token_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, public))
        server.start()
        try:
            port, self._roots = ours.recv()
            count = asyncio.run(self._ask_at_once(ask, port, seconds))
            ours.send("enough")
            spent_s: float = ours.recv()
        finally:
            server.join(5)
            server.kill()
        return count / spent_s

    async def _ask_at_once(self, ask: Callable[[int, float], object], port: int, seconds: float) -> int:
        self._asked = 0
        until_s = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(ask(port, until_s))  # type: ignore[arg-type]  # both are coroutine functions
        return self._asked

    async def keep_asking(self, port: int, until_s: float) -> None:
        async with self._channel(port) as channel:
            while time.monotonic() < until_s:
                await self._ask(channel)

    async def ask_anew(self, port: int, until_s: float) -> None:
        while time.monotonic() < until_s:
            async with self._channel(port) as channel:
                await self._ask(channel)

    async def _ask(self, channel: grpc.aio.Channel) -> None:
        number = self._asked % NODES
        self._asked += 1
        await ca_pb2_grpc.IstioCertificateServiceStub(channel).CreateCertificate(self._requests[number], metadata=self._metadata[number])

    def _channel(self, port: int) -> grpc.aio.Channel:
        # Channels of one address and options share a connection unless they are told not to.
        options = [*_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(self._roots), options)

    def _token(self, number: int) -> str:
        node = {"node": {"name": f"n{number}"}}
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": NODE_PROXY, "exp": time.time() + 3600, "kubernetes.io": node}
        return jwt.encode(claims, self._token_key, algorithm="ES256")


def _request(key: ec.EllipticCurvePrivateKey, identity: Identity) -> ca_pb2.IstioCertificateRequest:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=True)
    csr = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    request = ca_pb2.IstioCertificateRequest(csr=csr, validity_duration=86_400)
    request.metadata["ImpersonatedIdentity"] = str(identity)
    return request


def _authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    root = new_root(dt.datetime.now(dt.UTC), key)
    return make_authority(issuer_of(key, root), root.public_bytes(Encoding.PEM), b"")


def _serve(pipe: Connection, token_key: bytes) -> None:
    """The certificate service alone, as the control plane serves it; its log lines are made and thrown away."""
    logging.disable()
    with open("/dev/null", "w") as nowhere:  # noqa: PTH123  # no path of ours
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(nowhere))
        asyncio.run(_serve_until_told(pipe, token_key))


async def _serve_until_told(pipe: Connection, token_key: bytes) -> None:
    authority, public = _authority(), load_pem_public_key(token_key)
    assert isinstance(public, ec.EllipticCurvePublicKey)

    def now() -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    server = grpc.aio.server()
    service = CertificateService(lambda: authority, Everywhere(), SignedTokens(public), DAY, now)
    server.add_generic_rpc_handlers((service.handlers(),))
    port = server.add_secure_port("127.0.0.1:0", ServerCertificate(lambda: authority, DAY, now).credentials())
    await server.start()
    started = time.process_time()
    pipe.send((port, authority.bundle))
    await asyncio.to_thread(pipe.recv)
    pipe.send(time.process_time() - started)
    await server.stop(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    rates = measure_signing(parser.parse_args().seconds)
    print(
        f"certificates per second and core: {rates.path:.0f} without gRPC, {rates.kept:.0f} over it, {rates.fresh:.0f} with a TLS handshake"
    )
