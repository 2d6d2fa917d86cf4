"""Certificates over a real connection: what a node gets, and the table of what it is refused."""

import base64
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.authority import issuer_of
from controlplane.certificates import sign
from controlplane.status import Status
from mesh.errors import RemoteProtocolError
from mesh.identity import parse_identity
from tests.unit.controlplane.authorities import authority, secret
from tests.unit.controlplane.world import IDENTITY, Plane, World, certificate_request, csr, namespace, parse_chain, pod, utc_now

PEM = "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n"
P256 = ec.generate_private_key(ec.SECP256R1())
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "books", "namespace": "shop"}}
SHOP = (namespace("shop"), ACCOUNT, pod("a", "10.0.0.1", node="n1"), pod("b", "10.0.0.2", node="n2", account="books"))
BOOKS = IDENTITY.replace("default", "books")


async def test_a_node_gets_a_certificate_for_its_pod(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane:
        await plane.ready()
        before = utc_now().replace(microsecond=0)
        response = await plane.sign(certificate_request(csr(P256, IDENTITY), duration=3600), f"Bearer {world.token()}")
    leaf, root = parse_chain(response)
    leaf.verify_directly_issued_by(root)
    assert root == x509.load_pem_x509_certificate((world.state / "root-cert.pem").read_bytes())
    assert leaf.public_key() == P256.public_key()
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (san.critical, list(san.value)) == (True, [x509.UniformResourceIdentifier(IDENTITY)])
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_before_utc <= before - dt.timedelta(seconds=59)
    assert dt.timedelta(0) <= leaf.not_valid_after_utc - before - dt.timedelta(seconds=3600) < dt.timedelta(seconds=30)


@pytest.mark.parametrize("asked_s", [0, 7 * 86_400, 2**62])
async def test_a_certificate_lives_for_a_day_at_most(world: World, asked_s: int) -> None:
    world.write(*SHOP)
    async with world.running() as plane:
        await plane.ready()
        response = await plane.sign(certificate_request(csr(P256), duration=asked_s), f"Bearer {world.token()}")
        left = parse_chain(response)[0].not_valid_after_utc - utc_now()
    assert dt.timedelta(hours=23, minutes=59) < left <= dt.timedelta(hours=24)


@dataclass(frozen=True)
class Refusal:
    """A call, and what it is refused with."""

    code: grpc.StatusCode
    reason: str
    csr: Callable[[], str] = lambda: csr(P256, IDENTITY)
    identity: Any = IDENTITY
    duration: int = 0
    authorization: Callable[[World], str | None] = lambda world: f"Bearer {world.token()}"


def with_token(**changes: Any) -> Callable[[World], str]:
    return lambda world: f"Bearer {world.token(**changes)}"


def forged_csr() -> str:
    """A CSR whose last byte, which belongs to the signature, is another."""
    lines = csr(P256, IDENTITY).splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-1] ^= 1
    return PEM.format(base64.b64encode(der).decode())


def san(other: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(IDENTITY), other])


def csr_with(*extensions: x509.ExtensionType, key: ec.EllipticCurve | None = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    signed = builder.sign(ec.generate_private_key(key) if key else P256, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


WHO, MAY, BAD = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT
REFUSALS = {
    "no token": Refusal(WHO, "no bearer token", authorization=lambda _: None),
    "another scheme": Refusal(WHO, "no bearer token", authorization=lambda world: f"Basic {world.token()}"),
    "no JWT": Refusal(WHO, "DecodeError", authorization=lambda _: "Bearer rubbish"),
    "absurd JWT": Refusal(WHO, "malformed|DecodeError", authorization=lambda _: "Bearer W1tbW1tbW1tb.e30.AA"),
    "expired": Refusal(WHO, "ExpiredSignature", authorization=with_token(lifetime_s=-5)),
    "without an end": Refusal(WHO, "MissingRequiredClaim", authorization=with_token(exp=None)),
    "other audience": Refusal(WHO, "InvalidAudience", authorization=with_token(aud="vault")),
    "other issuer": Refusal(WHO, "InvalidIssuer", authorization=with_token(iss="someone")),
    "foreign key": Refusal(WHO, "InvalidSignature", authorization=with_token(key=ec.generate_private_key(ec.SECP256R1()))),
    "shared-secret algorithm": Refusal(WHO, "InvalidAlgorithm", authorization=with_token(key="k" * 32, algorithm="HS256")),
    "not a node proxy": Refusal(WHO, "not a node proxy's", authorization=with_token(sub="system:serviceaccount:shop:default")),
    "no node": Refusal(WHO, "names no node", authorization=with_token(**{"kubernetes.io": {"node": "n1"}})),
    "identity of another node's pod": Refusal(MAY, "n1 runs no pod", identity=BOOKS, csr=lambda: csr(P256, BOOKS)),
    "node without such a pod": Refusal(MAY, "n3 runs no pod", authorization=with_token(node="n3")),
    "foreign trust domain": Refusal(MAY, "runs no pod", identity=IDENTITY.replace("cluster.local", "evil.example"), csr=lambda: csr(P256)),
    "nobody's identity": Refusal(BAD, "lacks ImpersonatedIdentity", identity=None),
    "identity that is no text": Refusal(BAD, "lacks ImpersonatedIdentity", identity=7),
    "identity that is no SPIFFE id": Refusal(BAD, "not a SPIFFE identity", identity="https://shop"),
    "no CSR": Refusal(BAD, "malformed", csr=lambda: ""),
    "rubbish for a CSR": Refusal(BAD, "malformed", csr=lambda: PEM.format("AAAA")),
    "endless CSR": Refusal(BAD, "longer than", csr=lambda: "x" * 20_000),
    "CSR for P-384": Refusal(BAD, "not on P-256", csr=lambda: csr(ec.generate_private_key(ec.SECP384R1()), IDENTITY)),
    "CSR for RSA": Refusal(BAD, "not on P-256", csr=lambda: csr(rsa.generate_private_key(65537, 2048), IDENTITY)),
    "CSR with a broken signature": Refusal(BAD, "signature is wrong", csr=forged_csr),
    "CSR with another name": Refusal(BAD, "something else", csr=lambda: csr(P256, BOOKS)),
    "CSR with one name more": Refusal(BAD, "something else", csr=lambda: csr(P256, IDENTITY, BOOKS)),
    "CSR with a DNS name more": Refusal(BAD, "something else", csr=lambda: csr_with(san(x509.DNSName("controlplane.ambient")))),
    "CSR with an address more": Refusal(BAD, "something else", csr=lambda: csr_with(san(x509.IPAddress(ip_address("10.0.0.1"))))),
    "CSR for an authority": Refusal(BAD, "asks for", csr=lambda: csr_with(x509.BasicConstraints(ca=True, path_length=None))),
    "CSR for a curve that is too small": Refusal(BAD, "not on P-256|malformed", csr=lambda: csr_with(key=ec.SECP192R1())),
    "negative duration": Refusal(BAD, "negative", duration=-1),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS.keys())
async def test_refusals(world: World, case: Refusal, capsys: pytest.CaptureFixture[str]) -> None:
    world.write(*SHOP)
    authorization = case.authorization(world)
    async with world.running() as plane:
        await plane.ready()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await plane.sign(certificate_request(case.csr(), case.identity, case.duration), authorization)
    assert refused.value.code() is case.code
    assert any(reason in (refused.value.details() or "") for reason in case.reason.split("|"))
    log = capsys.readouterr().out
    (refusal,) = [line for line in log.splitlines() if "certificate_refused" in line]
    assert "127.0.0.1" in refusal, "who asked, by address"
    assert case.code is WHO or "node" in refusal, "and by name once that is proven"
    assert authorization is None or authorization.split()[1] not in log


async def test_nothing_is_signed_before_the_first_snapshot(world: World) -> None:
    world.write_text("kind: [")
    async with world.running() as plane:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await plane.sign(certificate_request(csr(P256)), f"Bearer {world.token()}")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_pod_that_left_the_node_takes_the_right_with_it(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane, plane.stream() as client:
        await client.ask()
        await client.receive()
        await plane.sign(certificate_request(csr(P256)), f"Bearer {world.token()}")
        world.write(SHOP[0])
        await client.receive()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await plane.sign(certificate_request(csr(P256)), f"Bearer {world.token()}")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_node_that_asks_too_often_is_held_back_and_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.certificates.NodeRates.allow", lambda _rates, node, _now_s: node != "n1")
    world.write(*SHOP)
    async with world.running() as plane:
        await plane.ready()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await plane.sign(certificate_request(csr(P256)), f"Bearer {world.token()}")
        await plane.sign(certificate_request(csr(P256), BOOKS), f"Bearer {world.token('n2')}")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def hanging_call(plane: Plane, authorization: str) -> Any:
    """Begins a call whose message does not come."""
    method = plane.channel.stream_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate")
    return method(metadata=(("authorization", authorization),))


async def test_who_is_nobody_is_refused_before_a_message_is_waited_for(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane:
        call = hanging_call(plane, "Bearer rubbish")
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_message_is_waited_for_for_a_bounded_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.certificates.MESSAGE_WITHIN_S", 0.1)
    world.write(*SHOP)
    async with world.running() as plane:
        call = hanging_call(plane, f"Bearer {world.token()}")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_call_without_a_message_is_refused(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as plane:
        call = hanging_call(plane, f"Bearer {world.token()}")
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("message", [b"\xff" * 100, bytes(70_000)])
async def test_a_message_that_is_no_request_is_refused(world: World, message: bytes) -> None:
    world.write(*SHOP)
    async with world.running() as plane:
        call = hanging_call(plane, f"Bearer {world.token()}")
        await call.write(message)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


def mount(world: World, files: dict[str, bytes]) -> None:
    directory = world.state.parent / "ca"
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


async def test_an_intermediate_signs_and_its_chain_is_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    root = authority("root", now=utc_now())
    middle = authority("middle", root, now=utc_now())
    issuer = authority("ca", middle, now=utc_now())
    mount(world, secret(issuer, root, chain=(middle,)))
    settings = {**world.settings(), "CA_DIR": str(world.state.parent / "ca"), "CERT_MAX_LIFETIME_S": "20"}
    monkeypatch.setattr(world, "settings", lambda: settings)
    world.write(*SHOP)
    async with world.running() as plane:
        await plane.ready()
        response = await plane.sign(certificate_request(csr(P256, IDENTITY), duration=3600), f"Bearer {world.token()}")
    chain = parse_chain(response)
    for below, above in pairwise(chain):
        below.verify_directly_issued_by(above)
    assert [one.subject.rfc4514_string() for one in chain] == ["", "CN=ca", "CN=middle", "CN=root"]
    assert chain[0].not_valid_after_utc <= utc_now() + dt.timedelta(seconds=20), "no longer than the control plane allows"


async def test_replicas_that_start_at_once_sign_under_one_root(world: World) -> None:
    world.write(*SHOP)
    async with world.running() as one, world.running() as other:
        for plane in (one, other):
            await plane.ready()
        chains = [parse_chain(await plane.sign(certificate_request(csr(P256)), f"Bearer {world.token()}")) for plane in (one, other)]
    assert chains[0][1] == chains[1][1]
    for leaf, root in chains:
        leaf.verify_directly_issued_by(root)
    assert chains[0][0].serial_number != chains[1][0].serial_number


def test_an_authority_that_has_ended_signs_nothing() -> None:
    ended = authority("ended", now=utc_now(), ends=dt.timedelta(seconds=-1))
    with pytest.raises(RemoteProtocolError, match="certificate ended") as refused:
        sign(
            certificate_request(csr(P256, IDENTITY)),
            parse_identity(IDENTITY),
            issuer_of(ended.key, ended.certificate),
            dt.timedelta(days=1),
            utc_now(),
        )
    assert refused.value.status == Status.UNAVAILABLE
