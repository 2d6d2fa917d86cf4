"""What a node may send to the control plane, and the control plane to a node: tokens, CSRs, xDS requests, workloads and services."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import UInt32Value
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.certificates import asked_identity
from controlplane.requests import read_csr
from controlplane.resources import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.stream import Stream
from controlplane.tokens import authenticate
from mesh.errors import ConfigError, CredentialError, RemoteProtocolError
from mesh.identity import Identity
from mesh.model import RoutingScope
from mesh.wire import ca_pb2
from mesh.wire import workload_pb2 as pb
from mesh.wire.balancing import MAX_AFFINITY_S, SESSION_AFFINITY
from mesh.wire.convert import service_from_wire, workload_from_wire
from tests.unit.controlplane.meshes import SmallMesh, policy, workload

KEY = ec.generate_private_key(ec.SECP256R1())
IDENTITY = Identity("cluster.local", "shop", "web")


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


parts = st.sampled_from(
    [
        encoded(text)
        for text in ('{"alg":"ES256"}', '{"alg":"none"}', '{"alg":["ES256"]}', '{"alg":"ES256","crit":[7]}', "{}", "[]", "[" * 3000)
    ]
) | st.text(st.sampled_from("ABCabc019-_="), max_size=40)


@given(st.text(max_size=60) | st.lists(parts, min_size=1, max_size=4).map(".".join))
@example(f"{encoded('[' * 5000)}.e30.AA")
@example(f"{encoded('{' + chr(34) + 'alg' + chr(34) + ':' + '9' * 5000 + '}')}.e30.AA")
def test_tokens_are_refused_as_credentials(token: str) -> None:
    with pytest.raises(CredentialError) as refused:
        authenticate([("authorization", f"Bearer {token}")], KEY.public_key())
    assert len(token) < 8 or token not in str(refused.value)


@given(st.lists(st.tuples(st.sampled_from(["authorization", "x"]), st.text(max_size=20) | st.binary(max_size=20)), max_size=3))
def test_metadata_without_a_token_is_refused(metadata: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(CredentialError):
        authenticate(metadata, KEY.public_key())


def valid_csr() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(IDENTITY))])
    return builder.add_extension(san, critical=True).sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


CSR = valid_csr()


def pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE REQUEST-----\n"


@given(st.text() | st.binary().map(pem))
def test_any_text_for_a_csr(text: str) -> None:
    with pytest.raises(CredentialError):
        read_csr(text, IDENTITY)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_csr_with_any_byte_changed_certifies_no_other_key_or_name(mask: int) -> None:
    signed = CSR.index(x509.load_der_x509_csr(CSR).tbs_certrequest_bytes)
    unsigned = signed + len(x509.load_der_x509_csr(CSR).tbs_certrequest_bytes)
    for position in range(len(CSR)):
        changed = bytearray(CSR)
        changed[position] ^= mask
        try:
            key = read_csr(pem(bytes(changed)), IDENTITY)
        except CredentialError:
            continue
        # DER has redundant bits beside what is signed, such as the count of unused bits before the signature.
        assert position >= unsigned
        assert key == KEY.public_key()


def test_a_csr_cut_anywhere_is_refused() -> None:
    for end in range(len(CSR)):
        with pytest.raises(CredentialError):
            read_csr(pem(CSR[:end]), IDENTITY)


@given(st.binary())
def test_any_certificate_request(wire: bytes) -> None:
    try:
        asked_identity(ca_pb2.IstioCertificateRequest.FromString(wire))
    except (DecodeError, RemoteProtocolError):
        pass


names = st.text(max_size=8) | st.sampled_from(["*", "/10.0.0.1", "x" * 1101])
requests = st.builds(
    discovery_pb2.DeltaDiscoveryRequest,
    type_url=st.sampled_from(["", ADDRESS_TYPE, AUTHORIZATION_TYPE, "other"]) | st.text(max_size=5),
    resource_names_subscribe=st.lists(names, max_size=4),
    resource_names_unsubscribe=st.lists(names, max_size=4),
    initial_resource_versions=st.dictionaries(names, names, max_size=3),
    response_nonce=st.sampled_from(["", "1", "2", "x"]),
)


def mesh_of_two() -> SmallMesh:
    mesh = SmallMesh(scopes={"n1": frozenset({"ns/a"})})
    mesh.put(workload("Kubernetes//Pod/shop/web-1", 1), policy("a"))
    return mesh


@given(st.lists(requests, max_size=20), st.sampled_from([None, "n1"]))
def test_any_xds_conversation(conversation: list[object], node: str | None) -> None:
    """One response a type is under way at most, whatever the client says; the only way out is RemoteProtocolError."""
    count = iter(range(1, 1000))
    stream = Stream(lambda: str(next(count)), mesh_of_two(), node)
    for request in conversation:
        try:
            stream.receive(request)
        except RemoteProtocolError:
            return
        sent = [response.type_url for response in stream.responses()]
        assert len(sent) == len(set(sent))
        assert set(sent) <= stream.outstanding.keys()
        assert stream.responses() == []


@given(st.binary())
@example(b"\xa2\x01\x02\xff\xff")
def test_any_address(wire: bytes) -> None:
    try:
        address = pb.Address.FromString(wire)
    except DecodeError:
        return
    for convert in (lambda: workload_from_wire(address.workload, "cluster.local"), lambda: service_from_wire(address.service)):
        try:
            convert()
        except ConfigError:
            pass


short = st.text(max_size=4) | st.sampled_from(["a/b", "a b", "x" * 1025])
ports = st.lists(st.builds(pb.Port, service_port=st.integers(0, 2**32 - 1), target_port=st.integers(0, 2**32 - 1)), max_size=2)


@given(
    st.builds(
        pb.Workload,
        uid=short,
        namespace=short,
        service_account=short,
        trust_domain=short,
        node=short,
        addresses=st.lists(st.binary(max_size=17), max_size=3),
        tunnel_protocol=st.integers(0, 9),
        services=st.dictionaries(short, st.builds(pb.PortList, ports=ports), max_size=2),
        hostname=short,
        authorization_policies=st.lists(short | st.just("shop/a"), max_size=2),
        locality=st.builds(pb.Locality, region=short, zone=short, subzone=short),
        capacity=st.none() | st.builds(UInt32Value, value=st.integers(0, 2**32 - 1)),
    )
)
def test_any_workload_is_refused_by_field_or_is_whole(wire: pb.Workload) -> None:
    try:
        read = workload_from_wire(wire, "cluster.local")
    except ConfigError as error:
        refused = error
    else:
        assert str(read.identity).count("/") == 6
        assert all(ip.version == 4 or ip.ipv4_mapped is None for ip in read.addresses)
        assert all(key.count("/") == 1 for key in read.policies)
        return
    assert refused.key.startswith("workload.")
    assert len(str(refused)) < 1000


@given(
    st.builds(
        pb.Service,
        name=short,
        namespace=short | st.just("shop"),
        hostname=short | st.just("web"),
        ports=ports,
        subject_alt_names=st.lists(short | st.just(str(IDENTITY)), max_size=2),
        load_balancing=st.builds(
            pb.LoadBalancing,
            routing_preference=st.lists(st.integers(0, 9), max_size=9),
            mode=st.integers(0, 5),
            health_policy=st.integers(0, 3),
        ),
        extensions=st.lists(
            st.builds(
                pb.Extension,
                name=short | st.just(SESSION_AFFINITY),
                config=st.builds(Any, type_url=st.just("x/istio.workload.SessionAffinity") | short, value=st.binary(max_size=6)),
            ),
            max_size=2,
        ),
    )
)
def test_any_service_is_refused_by_field_or_is_whole(wire: pb.Service) -> None:
    try:
        read = service_from_wire(wire)
    except ConfigError as error:
        refused = error
    else:
        assert read.key.count("/") == 1
        assert 0 <= read.load_balancing.affinity_s <= MAX_AFFINITY_S
        assert len(read.load_balancing.preference) <= len(RoutingScope)
        return
    assert refused.key.startswith("service.")
    assert len(str(refused)) < 1000
