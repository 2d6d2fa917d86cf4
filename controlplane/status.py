"""The gRPC statuses that calls are refused with, as numbers that pure code can raise in a RemoteProtocolError."""

import enum

import grpc

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Status(enum.IntEnum):
    """Source: gRPC, "Status codes and their use in gRPC"."""

    INVALID_ARGUMENT = 3
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


def grpc_code(status: int) -> grpc.StatusCode:
    return _CODES[status]
