"""HTTP/2 as a tunnel needs it: CONNECT and the bytes behind it, without I/O."""

from ztunnel.hbone.blocks import connect_block, literal_field
from ztunnel.hbone.codes import ErrorCode
from ztunnel.hbone.connection import Connection
from ztunnel.hbone.events import (
    ConnectAnswered,
    ConnectionFailed,
    ConnectRequested,
    Data,
    Ended,
    Event,
    GoAway,
    Pong,
    Rejected,
    Reset,
    Settled,
    Writable,
)
from ztunnel.hbone.lifecycle import Role
from ztunnel.hbone.limits import Budget, Limits
from ztunnel.hbone.stream import Stream

__all__ = [
    "Budget",
    "ConnectAnswered",
    "ConnectRequested",
    "Connection",
    "ConnectionFailed",
    "Data",
    "Ended",
    "ErrorCode",
    "Event",
    "GoAway",
    "Limits",
    "Pong",
    "Rejected",
    "Reset",
    "Role",
    "Settled",
    "Stream",
    "Writable",
    "connect_block",
    "literal_field",
]
