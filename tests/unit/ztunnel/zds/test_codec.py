"""ZDS packets: what is read, and what is refused with the reason."""

import pytest

from mesh.errors import RemoteProtocolError
from mesh.wire import zds_pb2 as pb
from ztunnel.pods import PodInfo
from ztunnel.zds import codec


def add(**changes: str) -> bytes:
    fields = {"uid": "u-1", "name": "client", "namespace": "shop", "service_account": "buyer", **changes}
    uid = fields.pop("uid")
    return pb.WorkloadRequest(add=pb.AddWorkload(uid=uid, workload_info=pb.WorkloadInfo(**fields))).SerializeToString()


def test_what_each_packet_means() -> None:
    assert codec.decode(add(), 1) == codec.Add(PodInfo("u-1", "client", "shop", "buyer"))
    assert codec.decode(pb.WorkloadRequest(keep=pb.KeepWorkload(uid="u-1")).SerializeToString(), 0) == codec.Keep("u-1")
    assert codec.decode(pb.WorkloadRequest(**{"del": pb.DelWorkload(uid="u-1")}).SerializeToString(), 0) == codec.Delete("u-1")
    assert codec.decode(pb.WorkloadRequest(snapshot_sent=pb.SnapshotSent()).SerializeToString(), 0) == codec.SnapshotSent()


def test_a_pod_without_a_service_account_has_the_default_one() -> None:
    message = codec.decode(add(service_account=""), 1)
    assert isinstance(message, codec.Add)
    assert message.pod.service_account == "default"


@pytest.mark.parametrize("fds", [0, 2])
def test_a_pod_comes_with_one_descriptor(fds: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"Add came with {fds} file descriptors, expected 1"):
        codec.decode(add(), fds)


def test_nothing_else_comes_with_any() -> None:
    with pytest.raises(RemoteProtocolError, match="Keep came with 1 file descriptors, expected 0"):
        codec.decode(pb.WorkloadRequest(keep=pb.KeepWorkload(uid="u")).SerializeToString(), 1)


@pytest.mark.parametrize("field", ["uid", "name", "namespace", "service_account"])
@pytest.mark.parametrize("value", ["a/b", "a b", "a\nb", "é", "x" * 254])
def test_a_name_that_could_forge_another_is_refused(field: str, value: str) -> None:
    with pytest.raises(RemoteProtocolError, match=field):
        codec.decode(add(**{field: value}), 1)


@pytest.mark.parametrize("field", ["uid", "name", "namespace"])
def test_a_missing_name_is_refused(field: str) -> None:
    with pytest.raises(RemoteProtocolError, match=field):
        codec.decode(add(**{field: ""}), 1)


@pytest.mark.parametrize("packet", [b"\xff\xff", b"\x0a\x05x", pb.WorkloadRequest().SerializeToString(), b"\x12\x02\x10\x01"])
def test_what_is_no_message(packet: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        codec.decode(packet, 0)


def test_an_acknowledgement_says_what_went_wrong() -> None:
    assert pb.WorkloadResponse.FromString(codec.encode_ack()).ack.error == ""
    assert pb.WorkloadResponse.FromString(codec.encode_ack("no listener")).ack.error == "no listener"
    assert len(pb.WorkloadResponse.FromString(codec.encode_ack("x" * 10_000)).ack.error) == codec.MAX_ERROR_LENGTH


def test_the_longest_message_fits_a_packet() -> None:
    longest = "x" * codec.MAX_NAME_LENGTH
    assert len(add(uid=longest, name=longest, namespace=longest, service_account=longest)) <= codec.MAX_PACKET_BYTES
