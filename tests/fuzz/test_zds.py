"""Whatever the agent's socket brings: a message or RemoteProtocolError, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import RemoteProtocolError
from mesh.wire import zds_pb2 as pb
from ztunnel.zds.codec import MAX_PACKET_BYTES, Message, decode

names = st.text(max_size=300)
infos = st.builds(pb.WorkloadInfo, name=names, namespace=names, service_account=names)
requests = st.one_of(
    st.builds(lambda uid, info: pb.WorkloadRequest(add=pb.AddWorkload(uid=uid, workload_info=info)), names, infos),
    st.builds(lambda uid: pb.WorkloadRequest(keep=pb.KeepWorkload(uid=uid)), names),
    st.builds(lambda uid: pb.WorkloadRequest(**{"del": pb.DelWorkload(uid=uid)}), names),
    st.just(pb.WorkloadRequest(snapshot_sent=pb.SnapshotSent())),
)


def attempt(packet: bytes, fds: int) -> Message | None:
    reason = ""
    try:
        return decode(packet, fds)
    except RemoteProtocolError as error:
        reason = error.reason
    assert 0 < len(reason) < 500
    return None


@given(st.binary(max_size=MAX_PACKET_BYTES), st.integers(0, 8))
def test_any_bytes(packet: bytes, fds: int) -> None:
    attempt(packet, fds)


@given(requests, st.integers(0, 2))
def test_any_message(request: pb.WorkloadRequest, fds: int) -> None:
    attempt(request.SerializeToString(), fds)


@given(requests, st.data())
def test_a_message_that_is_cut_or_bent(request: pb.WorkloadRequest, data: st.DataObject) -> None:
    packet = bytearray(request.SerializeToString())
    for end in range(len(packet)):
        attempt(bytes(packet[:end]), 1)
    if packet:
        packet[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
        attempt(bytes(packet), 1)
