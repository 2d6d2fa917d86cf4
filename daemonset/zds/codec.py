"""ZDS packets of ztunnel to messages, and requests to packets. No I/O.

Source: istio/ztunnel, proto/zds.proto.
"""

from google.protobuf.message import DecodeError

from daemonset.pods import PodInfo
from mesh.errors import RemoteProtocolError
from mesh.wire import zds_pb2 as pb

# An acknowledgement's error is a sentence; what is longer is no acknowledgement.
MAX_PACKET_BYTES = 4096


def check_hello(packet: bytes) -> None:
    """Reads the first packet of a ztunnel.

    Raises:
        RemoteProtocolError: it is not a hello of a version that we speak.
    """
    try:
        hello = pb.ZdsHello.FromString(packet)
    except DecodeError:
        raise RemoteProtocolError(0, "not a ZdsHello") from None
    if hello.version != pb.V1:
        raise RemoteProtocolError(0, f"speaks version {hello.version} of the enrolment protocol, expected {pb.V1}")


def decode_ack(packet: bytes) -> str:
    """Reads an answer; returns its error, "" when all is well.

    Raises:
        RemoteProtocolError: it is not an acknowledgement.
    """
    try:
        response = pb.WorkloadResponse.FromString(packet)
    except DecodeError:
        raise RemoteProtocolError(0, "not a WorkloadResponse") from None
    if response.WhichOneof("payload") != "ack":
        raise RemoteProtocolError(0, "a WorkloadResponse without an acknowledgement")
    return response.ack.error


def encode_add(pod: PodInfo) -> bytes:
    """The pod's network namespace goes beside it."""
    info = pb.WorkloadInfo(name=pod.name, namespace=pod.namespace, service_account=pod.service_account)
    return pb.WorkloadRequest(add=pb.AddWorkload(uid=pod.uid, workload_info=info)).SerializeToString()


def encode_delete(uid: str) -> bytes:
    """Of "del", a word that Python keeps for itself."""
    request = pb.WorkloadRequest()
    getattr(request, "del").uid = uid
    return request.SerializeToString()


def encode_snapshot_sent() -> bytes:
    """Everything was named."""
    return pb.WorkloadRequest(snapshot_sent=pb.SnapshotSent()).SerializeToString()
