"""ZDS packets to messages and back. No I/O; file descriptors are only counted here.

Source: istio/ztunnel, proto/zds.proto.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from mesh.errors import RemoteProtocolError
from mesh.wire import zds_pb2 as pb
from ztunnel.pods import PodInfo

# A name of Kubernetes has at most 253 characters; a uid is 36.
MAX_NAME_LENGTH = 253
# The longest packet: four such names, their tags and lengths. Twice that is read, so that a longer one is seen to be longer.
MAX_PACKET_BYTES = 2048
# An error in an acknowledgement is for people; the agent's buffer is its own.
MAX_ERROR_LENGTH = 512

HELLO = pb.ZdsHello(version=pb.V1).SerializeToString()


@dataclass(frozen=True, slots=True)
class Add:
    pod: PodInfo


@dataclass(frozen=True, slots=True)
class Keep:
    uid: str


@dataclass(frozen=True, slots=True)
class Delete:
    uid: str


@dataclass(frozen=True, slots=True)
class SnapshotSent:
    """Everything was named."""


Message = Add | Keep | Delete | SnapshotSent


def decode(packet: bytes, fds: int) -> Message:
    """Reads one packet of the agent.

    Args:
        fds: how many file descriptors came with it: one with Add, none with the others.
    Raises:
        RemoteProtocolError: it is not a message that we know, or its parts do not fit together.
    """
    try:
        request = pb.WorkloadRequest.FromString(packet)
    except DecodeError:
        raise RemoteProtocolError(0, "not a WorkloadRequest") from None
    message = _message(request)
    expected = 1 if isinstance(message, Add) else 0
    if fds != expected:
        raise RemoteProtocolError(0, f"{type(message).__name__} came with {fds} file descriptors, expected {expected}")
    return message


def encode_ack(error: str = "") -> bytes:
    """Returns the answer to a message; an empty error: all is well."""
    return pb.WorkloadResponse(ack=pb.Ack(error=error[:MAX_ERROR_LENGTH])).SerializeToString()


def _message(request: pb.WorkloadRequest) -> Message:
    match request.WhichOneof("payload"):
        case "add":
            return Add(_pod(request.add))
        case "keep":
            return Keep(_name("keep.uid", request.keep.uid))
        case "del":
            return Delete(_name("del.uid", getattr(request, "del").uid))
        case "snapshot_sent":
            return SnapshotSent()
        case _:
            raise RemoteProtocolError(0, "a WorkloadRequest without a payload that version 1 knows")


def _pod(add: pb.AddWorkload) -> PodInfo:
    info = add.workload_info
    return PodInfo(
        uid=_name("add.uid", add.uid),
        name=_name("add.workload_info.name", info.name),
        namespace=_name("add.workload_info.namespace", info.namespace),
        service_account=_name("add.workload_info.service_account", info.service_account or "default"),
    )


def _name(field: str, value: str) -> str:
    """A name becomes a part of identities and log lines: no separators, nothing unprintable."""
    if not value or len(value) > MAX_NAME_LENGTH or not value.isascii() or not value.isprintable() or "/" in value or " " in value:
        raise RemoteProtocolError(0, f"{field} is {value[:64]!r}, expected a name of 1 to {MAX_NAME_LENGTH} characters")
    return value
