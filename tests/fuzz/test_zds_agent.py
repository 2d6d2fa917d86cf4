"""Whatever a ztunnel sends the agent: a hello, an acknowledgement, or RemoteProtocolError, and nothing else."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from daemonset.zds.codec import MAX_PACKET_BYTES, check_hello, decode_ack
from mesh.errors import RemoteProtocolError
from mesh.wire import zds_pb2 as pb

responses = st.builds(lambda error: pb.WorkloadResponse(ack=pb.Ack(error=error)), st.text(max_size=300))
hellos = st.builds(lambda version: pb.ZdsHello(version=version), st.integers(0, 5))


def attempt(packet: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        check_hello(packet)
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(decode_ack(packet), str)


@given(st.binary(max_size=MAX_PACKET_BYTES))
def test_any_bytes(packet: bytes) -> None:
    attempt(packet)


@given(st.one_of(responses, hellos), st.data())
def test_a_message_that_is_cut_or_bent(message, data: st.DataObject) -> None:
    packet = bytearray(message.SerializeToString())
    for end in range(len(packet) + 1):
        attempt(bytes(packet[:end]))
    if packet:
        packet[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
        attempt(bytes(packet))


@given(st.text(max_size=300))
def test_an_error_comes_through(error: str) -> None:
    assert decode_ack(pb.WorkloadResponse(ack=pb.Ack(error=error)).SerializeToString()) == error
